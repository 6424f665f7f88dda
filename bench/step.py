"""One whole GRPO step, from images to changed weights: this package against TRL's GRPOTrainer.

    python bench/step.py                1 and 4 prompts x 8 answers of 64 tokens, medians of 5 after one warm-up
    python bench/step.py --prompts 4 --completion 64 --repeats 9

A step samples, rewards, learns from what it sampled in one optimiser step, and hands the new weights to the sampler.
The model is that of learner.py; every step has new images and prompts of 300 tokens, 256 of them the image, and both
systems get the same ones. Tokens that end an answer and placeholders of images cannot be drawn, so that all draw the
same number of tokens; the reward is a function of an answer's tokens. No KL term; the loss averages over tokens.

Before anything is timed: on TRL's own rollouts and advantages, both must find the same loss and gradient, to 1e-4 of
the gradient's norm; and the local sampler must pass the checks of sampler.py. Otherwise the command fails.

    ours   `sample`, then `learn_from` (learn, step, publish), as the loops of this package use them
    trl    GRPOTrainer.train(), where trl can be imported (it is no requirement; the result says so if not): its loop,
           its generation by transformers, its optimiser. What `trl_trainer` does not name is left at its default

TRL's loop runs, and each of our steps is taken between two of its steps, so that a busy moment hits both alike.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Qwen2_5_VLForConditionalGeneration, TrainerCallback

import sampler
from learner import (
    PROMPT,
    SAMPLES,
    VOCABULARY,
    Update,
    build_model,
    difference,
    load_policy,
    make_prompt,
    open_image,
    outcome,
    timed_in_turn,
)
from machine import describe_machine
from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.methods.learning import learn_from
from selfsight.policy import Group, Policy, Rollout, SampleRequest, Sampling
from selfsight.policy.policy import Usage

LEARNING_RATE, WEIGHT_DECAY = 1e-6, 0.01  # the learner's defaults


@dataclass
class Work:
    """What one system was given to do: the prompts of every step. It counts the tokens that were drawn."""

    steps: Sequence[Sequence[Prompt]]
    length: int
    drawn: int = field(default=0)

    def rewards(self, answers: Sequence[Sequence[int]]) -> list[float]:
        """One reward per answer: the mean of its token ids, over the vocabulary. Two answers hardly ever tie."""
        self.drawn += sum(len(answer) for answer in answers)
        return [float(np.mean(answer)) / VOCABULARY for answer in answers]


def prompts_of_steps(policy: Policy, steps: int, per_step: int) -> list[list[Prompt]]:
    """Another image for every prompt of every step; the text is the same, which saves nobody anything."""
    text = make_prompt(policy, 0, image=0).user
    return [
        [Prompt(ImageRef(f"b-{1 + step * per_step + k}", "bench"), text) for k in range(per_step)]
        for step in range(steps)
    ]


def our_step(policy: Policy, work: Work) -> Callable[[], None]:
    """The next step each time it is called."""
    steps = enumerate(work.steps)

    def step() -> None:
        number, prompts = next(steps)
        requests = [
            SampleRequest(str(k), prompt, SAMPLES, number * len(prompts) + k) for k, prompt in enumerate(prompts)
        ]
        drawn = policy.sample(requests, Sampling(max_completion_length=work.length))
        groups = []
        for request in requests:
            rollouts = tuple(drawn[request.id])
            groups.append(Group(request.prompt, rollouts, np.array(work.rewards([r.token_ids for r in rollouts]))))
        metrics = learn_from(policy, groups, 1)
        if metrics["zero_variance_groups"] or metrics["skipped"]:
            raise SelfsightError(
                f"step {number} left out work: {metrics}", hint="longer answers have fewer equal rewards"
            )

    return step


def trl_trainer(policy: Policy, work: Work, folder: Path) -> Any:
    """GRPOTrainer on a model of its own, with the same weights, prompts, images, rewards and optimiser settings."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    settings = GRPOConfig(
        output_dir=str(folder / "trl"), use_cpu=not torch.cuda.is_available(), bf16=False, gradient_checkpointing=False,
        max_steps=len(work.steps), per_device_train_batch_size=SAMPLES,
        gradient_accumulation_steps=len(work.steps[0]), num_generations=SAMPLES,
        max_completion_length=work.length, shuffle_dataset=False, learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY, lr_scheduler_type="constant", beta=0.0, loss_type="bnpo", epsilon=0.2,
        epsilon_high=0.28, temperature=1.0, generation_kwargs={"suppress_tokens": never_drawn(policy)},
        report_to=[], logging_strategy="no", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    prompts = [prompt for prompts in work.steps for prompt in prompts]

    def shown(rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        # Made when asked for, as ours are: TRL would otherwise decode a stored image once for each of its answers.
        return {
            "prompt": [[{"role": "user", "content": prompts[number].user}] for number in rows["number"]],
            "image": [open_image(prompts[number].image) for number in rows["number"]],
        }

    def reward(completion_ids: list[list[int]], **_: object) -> list[float]:
        return work.rewards(completion_ids)

    return GRPOTrainer(
        model=Qwen2_5_VLForConditionalGeneration.from_pretrained(policy.vlm.folder, dtype=torch.float32),
        args=settings,
        reward_funcs=reward,
        train_dataset=Dataset.from_dict({"number": list(range(len(prompts)))}).with_transform(shown),
        processing_class=policy.vlm.encoder.processor,
    )


def never_drawn(policy: Policy) -> list[int]:
    """What would end an answer early, and what stands for images."""
    return sorted({*policy.vlm.encoder.placeholder_ids, *policy.vlm.eos_ids})


def same_loss(policy: Policy, trainer: Any, work: Work) -> float:
    """How far apart our loss and gradient and TRL's are on rollouts that TRL draws; raises if they are not the same.

    With TRL's own advantages: it adds 1e-4 to a group's deviation where we add 1e-6.
    """
    prompt = work.steps[0][0]
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()  # its way to be told that it trains; there is no dropout
    batch = trainer._generate_and_score_completions([trainer.train_dataset[0]] * SAMPLES)
    work.drawn = 0
    if not np.array_equal(batch["prompt_ids"][0].numpy(), policy.vlm.encoder.encode(prompt).input_ids):
        raise SelfsightError("TRL's prompt has other tokens than ours")
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    theirs = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    answers = [ids.numpy() for ids in batch["completion_ids"]]
    behaviour = policy.logprobs([(prompt, ids) for ids in answers])
    rollouts = tuple(
        Rollout("r", k, ids, logprobs, "", False, 0)
        for k, (ids, logprobs) in enumerate(zip(answers, behaviour, strict=True))
    )
    group = Group(prompt, rollouts, advantages=batch["advantages"].numpy())
    apart = difference(
        outcome(Update(lambda: policy.learn([group]).loss, policy.learner.parameters)), (float(loss.detach()), theirs)
    )
    trainer.model.zero_grad()
    if not apart < 1e-4:
        raise SelfsightError(f"our loss or gradient is not TRL's on its own rollouts: {apart:.1e} apart")
    return apart


class InTurn(TrainerCallback):
    """Times each of TRL's steps, and takes one of ours after each. The first ones of both are the warm-up.

    A step of TRL's begins where ours before it ended: fetching its prompts belongs to it.
    """

    def __init__(self, ours: Callable[[], None], warmup: int) -> None:
        self.ours, self.warmup = ours, warmup
        self.seconds: dict[str, list[float]] = {"ours": [], "trl": []}
        self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        ended = time.perf_counter()
        self.ours()
        again = time.perf_counter()
        if state.global_step > self.warmup:
            self.seconds["trl"].append(ended - self._began)
            self.seconds["ours"].append(again - ended)
        self._began = time.perf_counter()


def measure(folder: Path, per_step: int, length: int, repeats: int, warmup: int) -> dict[str, Any]:
    """One case: checks, then all steps of both systems in turn (of ours alone where trl is missing)."""
    policy = load_policy(folder)
    steps = prompts_of_steps(policy, warmup + repeats, per_step)
    work, checked = {"ours": Work(steps, length)}, {}
    trainer = None
    if find_spec("trl") is not None:
        work["trl"] = Work(steps, length)
        trainer = trl_trainer(policy, work["trl"], folder.parent)
        checked["loss_and_gradient_on_trls_rollouts"] = same_loss(policy, trainer, work["trl"])
    policy.vlm.banned[never_drawn(policy)] = True
    draws = {
        "shared": sampler.ours(policy, steps[0], "shared", length),
        "generate": sampler.generate(policy, policy.vlm.model, steps[0], length),
    }
    checked |= sampler.check(policy, steps[0], draws, length)
    policy.usage = Usage()
    step = our_step(policy, work["ours"])
    if trainer is None:
        seconds = timed_in_turn({"ours": step}, repeats, warmup)
    else:
        turns = InTurn(step, warmup)
        trainer.add_callback(turns)
        trainer.remove_callback(PrinterCallback)  # it prints where our figures go
        trainer.train()
        seconds = turns.seconds
    wanted = (warmup + repeats) * per_step * SAMPLES * length
    wrong = {name: own.drawn for name, own in work.items() if own.drawn != wanted}
    if wrong:
        raise SelfsightError(f"{wanted} tokens were to be drawn, but these were: {wrong}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "tokens_per_step": per_step * SAMPLES * length,
        "checked": checked,
        "median_seconds": medians,
        "times_faster_than": {name: value / medians["ours"] for name, value in medians.items() if name != "ours"},
        "our_mean_seconds_by_verb": {verb: s / (warmup + repeats) for verb, s in policy.usage.seconds.items()},
        "seconds": seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 4], metavar="N", help="of a step, a case each")
    parser.add_argument("--completion", type=int, default=64, metavar="C")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = build_model(Path(place) / "model")
        for per_step in options.prompts:
            name = f"{per_step} x {SAMPLES} answers, C={options.completion}"
            cases[name] = measure(folder, per_step, options.completion, options.repeats, options.warmup)
    setting = {"prompt": PROMPT, "samples": SAMPLES, "threads": torch.get_num_threads()}
    trl = version("trl") if find_spec("trl") is not None else "not importable here, so not measured"
    print(json.dumps({"machine": describe_machine(), "setting": setting, "trl": trl, "cases": cases}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
