"""Forward and backward of one GRPO update: rows of tries against a padded batch and against TRL.

    python bench/learner.py                          all cases, medians of 5 after one warm-up, as JSON
    python bench/learner.py --completions 64 --repeats 9
    python bench/learner.py --memory                 peak memory of one update instead, each in a process of its own

A Qwen2.5-VL of some 16 million random weights; a prompt of 300 tokens, 256 of them its image; 8 answers of C tokens.
One more case has one image, 4 questions about it and 8 answers each. Every system gets the same rollouts, their
behaviour log-probs and advantages, no KL term and the loss that averages over tokens, and starts from pixels.
No token is banned here, because TRL bans none.

Before anything is timed, loss and gradient must be equal to 1e-4 of the gradient's norm; otherwise the command fails.

    tries    this package as it is used
    padded   this package's fallback: one row per answer; an image is encoded once here too
    trl      GRPOTrainer's own loss, where trl can be imported (it is no requirement); the result says so if not
"""

import argparse
import ctypes
import gc
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from machine import describe_machine
from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy import Group, LearnerOptions, LossOptions, ModelOptions, Policy, Rollout
from selfsight.policy.loss import group_advantages
from selfsight.starter.architecture import save_starter, starter_config, train_tokenizer

PROMPT, SIDE, SAMPLES, VOCABULARY = 300, 448, 8, 8192
TOKEN_BUDGET = 4096  # of a micro-batch, as in the recipes for the starter
TRL_ROWS = 8  # answers per batch, as its per_device_train_batch_size


@dataclass(frozen=True)
class Update:
    """Adds the gradient to `parameters` and returns the loss."""

    run: Callable[[], float]
    parameters: Mapping[str, torch.nn.Parameter]

    def __call__(self) -> float:
        return self.run()

    def forget(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None


def build_model(folder: Path) -> Path:
    """Random weights in the plain Hugging Face layout."""
    tokenizer = train_tokenizer(["one two three four five six seven eight"] * 9)
    config = starter_config(tokenizer)
    for name, value in {
        "vocab_size": VOCABULARY, "hidden_size": 384, "intermediate_size": 1024, "num_attention_heads": 12,
        "num_key_value_heads": 4, "initializer_range": 0.05,
    }.items():  # fmt: skip
        setattr(config.text_config, name, value)
    for name, value in {"hidden_size": 256, "intermediate_size": 512, "num_heads": 8, "out_hidden_size": 384}.items():
        setattr(config.vision_config, name, value)
    torch.manual_seed(0)
    save_starter(Qwen2_5_VLForConditionalGeneration(config), tokenizer, folder)
    stored = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    stored["size"] = {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE}
    (folder / "preprocessor_config.json").write_text(json.dumps(stored), encoding="utf-8")
    return folder


def open_image(ref: ImageRef) -> Image.Image:
    """Noise, another for each number of an id such as b-1."""
    seed = int(ref.id.removeprefix("b-"))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))


def load_policy(folder: Path, token_budget: int = TOKEN_BUDGET) -> Policy:
    learning = LearnerOptions(loss=LossOptions(beta=0.0), token_budget=token_budget)
    policy = Policy.load("bench", folder, open_image=open_image, options=ModelOptions(), learning=learning)
    policy.vlm.banned.fill_(False)
    return policy


def make_prompt(policy: Policy, number: int, *, image: int, length: int | None = None) -> Prompt:
    """A question of `length` tokens (`PROMPT` by default) about an image."""
    length = PROMPT if length is None else length
    words = [["one", "two", "three", "four"][number]]
    encode = policy.vlm.encoder.encode
    while len(encode(prompt := Prompt(ImageRef(f"b-{image}", "bench"), " ".join(words)))) < length:
        words.append("six")
    if len(encode(prompt)) != length:
        raise SelfsightError(f"the prompt has {len(encode(prompt))} tokens, not {length}")
    return prompt


def make_groups(policy: Policy, questions: int, completion: int) -> list[Group]:
    """Groups of random answers of equal length to questions about one image, with exact behaviour log-probs."""
    generator = np.random.default_rng(completion)
    prompts = [make_prompt(policy, number, image=1) for number in range(questions)]
    return [random_group(policy, prompt, SAMPLES, completion, generator) for prompt in prompts]


def random_group(
    policy: Policy, prompt: Prompt, samples: int, completion: int, generator: np.random.Generator
) -> Group:
    """Random answers of equal length with random rewards and exact behaviour log-probs."""
    usable = np.setdiff1d(np.arange(VOCABULARY), [*policy.vlm.encoder.placeholder_ids, *policy.vlm.eos_ids])
    answers = [generator.choice(usable, size=completion) for _ in range(samples)]
    behaviour = policy.logprobs([(prompt, answer) for answer in answers])
    rollouts = tuple(
        Rollout("r", k, answer, logprobs, "", False, 0)
        for k, (answer, logprobs) in enumerate(zip(answers, behaviour, strict=True))
    )
    return Group(prompt, rollouts, generator.random(samples))


def ours(policy: Policy, groups: Sequence[Group], backend: str) -> Update:
    def update() -> float:
        policy.vlm.backend = backend
        return policy.learn(groups).loss

    return Update(update, policy.learner.parameters)


def trl_update(policy: Policy, groups: Sequence[Group], folder: Path) -> Update:
    """GRPOTrainer's loss on these rollouts, by a model of its own as transformers loads it; every answer carries its
    prompt and pixels, as TRL feeds them.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    length = len(groups[0].rollouts[0].token_ids)
    vlm = policy.vlm
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(vlm.folder, dtype=torch.float32).to(vlm.device)
    settings = GRPOConfig(
        output_dir=str(folder / "trl"), use_cpu=not torch.cuda.is_available(), bf16=False, report_to=[],
        per_device_train_batch_size=TRL_ROWS, num_generations=SAMPLES, max_completion_length=length,
        beta=0.0, loss_type="bnpo", epsilon=0.2, epsilon_high=0.28, temperature=1.0,
        gradient_checkpointing=vlm.options.gradient_checkpointing,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model,
        args=settings,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "one"}] * TRL_ROWS),
        processing_class=vlm.encoder.processor,
    )
    if settings.gradient_checkpointing:  # which its trainer turns on when training begins
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    batches = [trl_inputs(policy, group) for group in groups]
    trainer.current_gradient_accumulation_steps = len(batches)

    def update() -> float:
        total = 0.0
        for inputs in batches:
            with vlm.compute():
                loss = trainer._compute_loss(model, inputs)
            loss.backward()
            total += float(loss.detach())
        return total

    model.train()  # its way to be told that it accumulates; there is no dropout
    return Update(update, dict(model.named_parameters()))


def trl_inputs(policy: Policy, group: Group) -> dict[str, Any]:
    """One group as the tensors of `GRPOTrainer._compute_loss`."""
    vlm, rows = policy.vlm, len(group.rollouts)
    prompt = vlm.encoder.encode(group.prompt)
    (image,) = prompt.images
    pixels = vlm.encoder.image(image).pixels
    answers = torch.from_numpy(np.stack([rollout.token_ids for rollout in group.rollouts]))
    ids = torch.from_numpy(prompt.input_ids).expand(rows, -1)
    types = torch.from_numpy(prompt.token_types).expand(rows, -1)
    advantages, _ = group_advantages(torch.from_numpy(group.rewards))
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": answers,
        "completion_mask": torch.ones_like(answers),
        "advantages": advantages.float(),
        "old_per_token_logps": torch.from_numpy(np.stack([rollout.logprobs for rollout in group.rollouts])),
        "num_items_in_batch": torch.tensor(answers.numel()),
        "pixel_values": pixels["pixel_values"].repeat(rows, 1),
        "image_grid_thw": pixels["image_grid_thw"].repeat(rows, 1),
        "mm_token_type_ids": torch.cat([types, torch.zeros_like(answers)], dim=1),
    }
    return {name: tensor.to(vlm.device) for name, tensor in inputs.items()} | {"num_images": [1] * rows}


def outcome(update: Update) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of one update, which is then forgotten."""
    loss = update()
    found = {name: p.grad.clone() for name, p in update.parameters.items() if p.grad is not None}
    update.forget()
    return loss, found


def difference(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> float:
    """Norm of the gradients' difference over the gradient's norm, or the difference in loss if that is larger."""
    apart = torch.stack([(one[1][name] - gradient).norm() for name, gradient in other[1].items()]).norm()
    norm = torch.stack([gradient.norm() for gradient in other[1].values()]).norm()
    return max(float(apart / norm), abs(one[0] - other[0]))


def timed_in_turn(
    systems: Mapping[str, Callable[[], object]],
    repeats: int,
    warmup: int,
    *,
    after: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each repeat, all systems in turn, so that a busy moment hits all alike; `after` is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(warmup + repeats):
        for name, system in systems.items():
            started = time.perf_counter()
            system()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - started)
            after()
    return seconds


def measure(updates: dict[str, Update], repeats: int, warmup: int) -> dict[str, Any]:
    """Checks that all compute the same, then times them."""
    reference = outcome(updates["padded"])
    others = {name: update for name, update in updates.items() if name != "padded"}
    apart = {name: difference(outcome(update), reference) for name, update in others.items()}
    wrong = {name: value for name, value in apart.items() if not value < 1e-4}
    if wrong:
        raise SelfsightError(f"these do not compute what the padded batch computes: {wrong}")
    seconds = timed_in_turn(updates, repeats, warmup, after=lambda: [update.forget() for update in updates.values()])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "median_seconds": medians,
        "times_faster_than": {name: medians[name] / medians["tries"] for name in updates if name != "tries"},
        "difference_from_padded": apart,
        "seconds": seconds,
    }


def memory(name: str, questions: int, length: int, token_budget: int) -> int:
    """Bytes by which one update raises the process's largest size, above what model and rollouts take."""
    with tempfile.TemporaryDirectory() as place:
        policy = load_policy(build_model(Path(place) / "model"), token_budget)
        update = update_of(name, policy, make_groups(policy, questions, length), Path(place))
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what preparing has left over would be used again, unseen
        before = resident()
        Path("/proc/self/clear_refs").write_text("5")
        update()
        return peak_resident() - before


def resident() -> int:
    """Bytes of memory that the process has now (Linux)."""
    return _status("VmRSS")


def peak_resident() -> int:
    """The most bytes of memory it has had since the count was cleared."""
    return _status("VmHWM")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


def memory_of_all(names: Sequence[str], questions: int, length: int, token_budget: int) -> dict[str, Any]:
    """Peak memory of each system, measured in a process of its own, and how the tries' compares."""
    found = {}
    for name in names:
        asked = [sys.executable, __file__, "--peak", name, str(questions), str(length), str(token_budget)]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        found[name] = int(done.stdout)
    return {
        "peak_mib": {name: value / 2**20 for name, value in found.items()},
        "share_of": {name: found["tries"] / found[name] for name in names if name != "tries"},
    }


def update_of(name: str, policy: Policy, groups: Sequence[Group], folder: Path) -> Update:
    """The update of one of the systems."""
    if name == "trl":
        return trl_update(policy, groups, folder)
    return ours(policy, groups, {"tries": "shared", "padded": "padded"}[name])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, nargs="+", default=[16, 64, 256], metavar="C")
    parser.add_argument("--questions", type=int, default=4, help="of the case with one image; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of seconds (Linux)")
    parser.add_argument(
        "--token-budget", type=int, default=TOKEN_BUDGET, help="most tokens of a micro-batch, of tries and padded batch"
    )
    parser.add_argument("--peak", nargs=4, metavar=("SYSTEM", "QUESTIONS", "C", "BUDGET"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak is not None:
        system, *numbers = options.peak
        print(memory(system, *map(int, numbers)))
        return 0
    logging.basicConfig(level=logging.WARNING)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    cases = {f"1 question, C={length}": (1, length) for length in options.completions}
    if options.questions:
        length = options.completions[min(1, len(options.completions) - 1)]
        cases[f"{options.questions} questions of one image, C={length}"] = (options.questions, length)
    with_trl = find_spec("trl") is not None
    names = ("tries", "padded", *(["trl"] if with_trl else []))
    results: dict[str, Any] = {}
    if options.memory:
        results = {name: memory_of_all(names, *case, options.token_budget) for name, case in cases.items()}
        budget = {"token_budget": options.token_budget}
        print(json.dumps({"machine": describe_machine(), "setting": budget, "cases": results}, indent=2))
        return 0
    with tempfile.TemporaryDirectory() as place:
        folder = build_model(Path(place) / "model")
        policy = load_policy(folder, options.token_budget)
        for name, (questions, length) in cases.items():
            groups = make_groups(policy, questions, length)
            updates = {system: update_of(system, policy, groups, Path(place)) for system in names}
            results[name] = measure(updates, options.repeats, options.warmup)
        parameters = sum(p.numel() for p in policy.vlm.model.parameters())
    trl = version("trl") if with_trl else "not importable here, so not measured"
    setting = {"parameters": parameters, "prompt": PROMPT, "samples": SAMPLES, "threads": torch.get_num_threads(),
               "token_budget": options.token_budget}  # fmt: skip
    print(json.dumps({"machine": describe_machine(), "setting": setting, "trl": trl, "cases": results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
