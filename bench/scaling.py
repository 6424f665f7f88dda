"""How the cost of one GRPO update grows with the number of answers and with the length of the prompt.

    python bench/scaling.py --svg scaling.svg        G = 4 to 64 answers of 64 tokens, P = 64 to 4,096, medians of 5
    python bench/scaling.py --prompts 64 1024 --samples 4 8 16

Forward and backward of one group, from pixels, by the model of learner.py. Most of a prompt is its image, as large as
it fits in whole tokens of 28 x 28 pixels. The token budget is a run's default (`optim.max_tokens_per_microbatch`); it
must hold every case in one row, or prompts would be computed once for each row.

For each P a line is fitted, seconds = a + b x (G x C): `a` is what the prompt costs, once; `b` what one more token of
an answer costs. That growth is linear is told in two ways, since a high R2 alone can hide a bend:

    largest_residual   the largest distance of a point from the line, as a share of that point
    between            b from each point to the next; it would rise steadily if cost grew faster than linearly

Lines are fitted to relative errors: in seconds the largest G alone would decide. Before anything is timed, loss and
gradient of the smallest case must be the padded batch's to 1e-4 of the gradient's norm; otherwise the command fails.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from learner import build_model, difference, make_prompt, ours, outcome, random_group, timed_in_turn
from machine import describe_machine
from plot import Line, svg
from selfsight.config import OptimSettings
from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.policy import Group, LearnerOptions, LossOptions, ModelOptions, Policy

PIXELS = 28  # of an image token's side
WORDS = 44  # tokens of a prompt that are left for text, at least


def image_side(prompt: int) -> int:
    """The side in image tokens of the largest square image that leaves `WORDS` tokens of a prompt."""
    side = math.isqrt(max(prompt - WORDS, 0))
    if side < 2:
        raise SelfsightError(f"a prompt of {prompt} tokens holds no image", hint=f"take at least {WORDS + 4}")
    return side


def open_image(ref: ImageRef) -> Image.Image:
    """Noise; b-9 is 9 image tokens wide and high."""
    side = PIXELS * int(ref.id.removeprefix("b-"))
    return Image.fromarray(np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8))


def load_policy(folder: Path, longest: int) -> Policy:
    """The bench's model, which takes images and rows of these lengths as they are."""
    budget = OptimSettings().max_tokens_per_microbatch
    if longest > budget:
        raise SelfsightError(
            f"{longest} tokens do not fit into one row of {budget}",
            hint="take fewer samples or shorter prompts",
        )
    policy = Policy.load(
        "bench", folder, open_image=open_image,
        options=ModelOptions(min_pixels=4 * PIXELS**2, max_pixels=longest * PIXELS**2),
        learning=LearnerOptions(loss=LossOptions(beta=0.0), token_budget=budget),
    )  # fmt: skip
    policy.vlm.text_config.max_position_embeddings = longest  # rotary positions have no table that would end
    policy.vlm.encoder.tokenizer.model_max_length = longest
    return policy


def groups_of(
    policy: Policy, prompts: Sequence[int], samples: Sequence[int], length: int
) -> dict[tuple[int, int], Group]:
    """The group of each case (P, G)."""
    generator = np.random.default_rng(length)
    groups = {}
    for prompt in prompts:
        asked = make_prompt(policy, 0, image=image_side(prompt), length=prompt)
        for count in samples:
            groups[prompt, count] = random_group(policy, asked, count, length, generator)
    return groups


def fit(points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The line through (answer tokens, seconds) with the least relative errors, and how straight the points are."""
    x, y = np.array(points, dtype=float).T
    design = np.stack([np.ones_like(x), x], axis=1)
    (a, b), *_ = np.linalg.lstsq(design / y[:, None], np.ones_like(y), rcond=None)
    residual = y - (a + b * x)
    return {
        "a_seconds": float(a),
        "b_seconds_per_token": float(b),
        "r2": 1 - float((residual**2).sum() / ((y - y.mean()) ** 2).sum()),
        "largest_residual": float(np.abs(residual / y).max()),
        "between": (np.diff(y) / np.diff(x)).tolist(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[64, 256, 1024, 4096], metavar="P")
    parser.add_argument("--samples", type=int, nargs="+", default=[4, 8, 16, 32, 64], metavar="G")
    parser.add_argument("--completion", type=int, default=64, metavar="C")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draws points and lines")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    prompts, samples, length = sorted(set(options.prompts)), sorted(set(options.samples)), options.completion
    if len(samples) < 3:
        parser.error("two points always lie on a line: give three numbers of samples")
    with tempfile.TemporaryDirectory() as place:
        policy = load_policy(build_model(Path(place) / "model"), prompts[-1] + samples[-1] * length)
    groups = groups_of(policy, prompts, samples, length)
    updates = {f"{prompt} {count}": ours(policy, [group], "shared") for (prompt, count), group in groups.items()}
    smallest = prompts[0], samples[0]
    padded = outcome(ours(policy, [groups[smallest]], "padded"))
    apart = difference(outcome(updates[f"{smallest[0]} {smallest[1]}"]), padded)
    if not apart < 1e-4:
        raise SelfsightError(f"this does not compute what the padded batch computes: {apart:.1e} apart")
    seconds = timed_in_turn(updates, options.repeats, options.warmup, after=policy.learner.optimiser.zero_grad)
    cases, lines = {}, []
    for prompt in prompts:
        points = [(count * length, statistics.median(seconds[f"{prompt} {count}"])) for count in samples]
        found = fit(points)
        cases[f"P={prompt}"] = {
            "fit": found,
            "image_tokens": image_side(prompt) ** 2,
            "median_seconds": {f"G={count}": y for count, (_, y) in zip(samples, points, strict=True)},
            "seconds": {f"G={count}": seconds[f"{prompt} {count}"] for count in samples},
        }
        lines.append(Line(f"P = {prompt:,}", points, found["a_seconds"], found["b_seconds_per_token"]))
    if options.svg is not None:
        options.svg.write_text(
            svg(lines, title="One GRPO update", x_name=f"answer tokens (G answers of {length})", y_name="seconds"),
            encoding="utf-8",
        )
    setting = {"completion": length, "threads": torch.get_num_threads(), "difference_from_padded": apart}
    print(json.dumps({"machine": describe_machine(), "setting": setting, "cases": cases}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
