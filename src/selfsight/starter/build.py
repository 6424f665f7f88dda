"""Builds the starter from nothing: `selfsight starter build`. Seeded, resumable, about two CPU hours.

Three stages. First descriptions only, one per picture, because seeing is the bottleneck; then everything that
careful authors write, verdicts and questions included; then a short stretch on the mixture of careful and careless
authors, which is what makes it a base model with something to win (see corpus.py). The checkpoint holds weights,
optimiser moments and the place in the schedule, so a build that is stopped goes on where it was. One seed gives the
same weights on one machine with the same number of threads.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from selfsight.errors import SelfsightError
from selfsight.policy.prefix import install
from selfsight.starter.architecture import save_starter, starter_config, train_tokenizer
from selfsight.starter.corpus import CAREFUL, MIXTURE, page
from selfsight.starter.pretrain import LinearPatches, Pages, Stage, batch_loss, loader

STAGES = (
    Stage("look", CAREFUL, steps=500, pages=64, lr=1.5e-3, final_lr=1.2e-3, warmup=50, segments=1),
    Stage("careful", CAREFUL, steps=3000, pages=24, lr=1.2e-3, final_lr=2e-5, warmup=50),
    Stage("mixture", MIXTURE, steps=220, pages=20, lr=2e-4, final_lr=2e-5, warmup=20),
)
SAVE_EVERY = 100


def build(
    out: Path,
    *,
    work: Path,
    seed: int = 0,
    scale: float = 1.0,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains the starter and writes it to `out`; `work` holds the checkpoint that a later call resumes from.

    `scale` multiplies the number of steps of every stage (tests build a tiny one). Raises SelfsightError when `work`
    belongs to a build with another seed, scale or number of threads.
    """
    work.mkdir(parents=True, exist_ok=True)
    stages = [replace(s, steps=max(1, round(s.steps * scale)), warmup=max(1, round(s.warmup * scale))) for s in STAGES]
    tokenizer = _tokenizer(seed)
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(starter_config(tokenizer))
    model.model.visual.patch_embed = LinearPatches(model.model.visual.patch_embed)
    install(model)
    model.train()
    plan = {
        "seed": seed,
        "scale": scale,
        "threads": torch.get_num_threads(),
        "stages": [asdict(stage) for stage in stages],
    }
    stage_index, first = _resume(work, plan, model)
    for i, stage in enumerate(stages):
        if i < stage_index:
            continue
        start = first if i == stage_index else 0
        _train(model, tokenizer, stage, i, start, stages, plan, work, workers, say)
        after = work / f"after-{stage.name}"
        if start < stage.steps or not (after / "model.safetensors").exists():
            _export(model, tokenizer, after)
    _export(model, tokenizer, out)
    return out


def _tokenizer(seed: int) -> PreTrainedTokenizerFast:
    pages = [page(i, seed=seed + 1, authors=CAREFUL) for i in range(1000)]
    lines = [t for p in pages for s in p.segments for t in (s.user, s.completion, " " + s.completion)]
    return train_tokenizer(lines)


def _train(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    index: int,
    first: int,
    stages: list[Stage],
    plan: dict[str, object],
    work: Path,
    workers: int,
    say: Callable[[str], None],
) -> None:
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=stage.lr, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    if first:
        _load_moments(work, optimiser)
    offset = sum(s.steps * s.pages for s in stages[:index])
    pages = Pages(tokenizer, stage, seed=seed_of(plan), first=first, offset=offset)
    began, running = time.monotonic(), 0.0
    for step, batch in enumerate(loader(pages, workers), start=first):
        for group in optimiser.param_groups:
            group["lr"] = stage.lr_at(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = batch_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        running = loss.item() if step == first else 0.95 * running + 0.05 * loss.item()
        if (step + 1) % 20 == 0:
            pace = (time.monotonic() - began) / (step + 1 - first)
            say(f"{stage.name} {step + 1}/{stage.steps} loss {running:.4f} {pace:.2f} s/step")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == stage.steps:
            _save(work, plan, model, optimiser, index, step + 1)


def seed_of(plan: dict[str, object]) -> int:
    """The seed a plan was made with."""
    return int(str(plan["seed"]))


def _save(
    work: Path,
    plan: dict[str, object],
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    stage: int,
    step: int,
) -> None:
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    for i, p in enumerate(parameters):
        for name, value in optimiser.state[p].items():
            tensors[f"moment.{i}.{name}"] = value.detach().clone()
    state = json.dumps({"plan": plan, "stage": stage, "step": step})
    save_file(tensors, work / "checkpoint.tmp", metadata={"state": state})
    (work / "checkpoint.tmp").replace(work / "checkpoint.safetensors")


def _resume(work: Path, plan: dict[str, object], model: torch.nn.Module) -> tuple[int, int]:
    path = work / "checkpoint.safetensors"
    if not path.exists():
        return 0, 0
    state = _state(path)
    if state["plan"] != json.loads(json.dumps(plan)):
        raise SelfsightError(
            f"{path} belongs to another build ({state['plan']})",
            hint="choose another --work folder, or remove this one",
        )
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    return int(state["stage"]), int(state["step"])


def _state(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["state"])


def _load_moments(work: Path, optimiser: torch.optim.Optimizer) -> None:
    tensors = load_file(work / "checkpoint.safetensors")
    for i, p in enumerate(p for g in optimiser.param_groups for p in g["params"]):
        optimiser.state[p] = {name: tensors[f"moment.{i}.{name}"].clone() for name in ("step", "exp_avg", "exp_avg_sq")}


def _export(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes the weights in bfloat16 as a plain model folder."""
    plain = Qwen2_5_VLForConditionalGeneration(starter_config(tokenizer))
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(own[name])
    save_starter(plain.to(torch.bfloat16), tokenizer, folder)
