"""Learner and local sampler at the sizes of real models on a GPU: rows of tries against padded rows and their peers.

    python bench/gpu.py                         Qwen2.5-VL-3B's shape, random weights, bfloat16; JSON out
    python bench/gpu.py --shape 7b --repeats 9
    python bench/gpu.py --shape tiny            shows that the command works on this machine, and nothing else

One question of 1,500 tokens, most of them its image; 8 answers of 256 tokens. All weights are trained: float32,
multiplied in bfloat16. An update is forward and backward from pixels; a rollout is drawn from pixels, too.

    tries, padded, trl         as in learner.py
    shared, padded, generate   as in sampler.py

Before a system is timed, its gradient must be that of padded rows taken one by one, to a tenth of the norm (bfloat16
rounds; a wrong mask is several tenths away), and what the sampler reports must be what the learner scores (below the
alarm's threshold for `mismatch_kl`); otherwise the command fails. Each system has the card for itself, after the one
before it is gone; one for which memory does not suffice is named.

`mfu` is the share of the time that the card would need for the operations of the tries' update, at the rate of a large
matrix product in bfloat16 that is measured in the same run (`product_tflops`); with `--peak-tflops`, at the rate that
its maker gives. Operations are counted by PyTorch as they are done. Memory is the most that PyTorch's allocator held
during one update or rollout, above weights and gradients.
"""

import argparse
import gc
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

import sampler
from learner import SAMPLES, Update, difference, make_prompt, ours, random_group, timed_in_turn, trl_update
from machine import describe_machine
from scaling import PIXELS, image_side, open_image
from selfsight.errors import SelfsightError
from selfsight.methods.loop import MISMATCH_ALARM
from selfsight.policy import Group, LearnerOptions, LossOptions, ModelOptions, Policy
from selfsight.policy.kernels import kernel_for
from selfsight.starter.architecture import save_starter, starter_config, train_tokenizer

VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31], "initializer_range": 0.02,
}  # fmt: skip
ROTARY = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}


@dataclass(frozen=True)
class Shape:
    """Fields of a Qwen2.5-VL's configuration, the tokens of the prompt and of an answer, and the side of a product."""

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    prompt: int = 1500
    completion: int = 256
    product: int = 8192

    @property
    def longest(self) -> int:
        return self.prompt + SAMPLES * self.completion


SHAPES = {
    "3b": Shape(
        {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
         "num_key_value_heads": 2, "vocab_size": 151936, "rope_parameters": ROTARY, "initializer_range": 0.02},
        VISION | {"out_hidden_size": 2048},
    ),
    "7b": Shape(
        {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
         "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False, "rope_parameters": ROTARY,
         "initializer_range": 0.02},
        VISION | {"out_hidden_size": 3584},
    ),
    "tiny": Shape({"vocab_size": 8192}, {}, prompt=64, completion=8, product=256),
}  # fmt: skip


def config_of(shape: Shape, tokenizer: Any) -> Qwen2_5_VLConfig:
    """The starter's configuration with the sizes of a shape."""
    fields = starter_config(tokenizer).to_dict()
    text = {name: value for name, value in fields["text_config"].items() if name != "layer_types"}
    fields["text_config"] = text | {"max_position_embeddings": shape.longest} | shape.text
    fields["vision_config"] |= shape.vision
    fields["tie_word_embeddings"] = fields["text_config"]["tie_word_embeddings"]
    config: Qwen2_5_VLConfig = Qwen2_5_VLConfig.from_dict(fields)
    return config


def build_model(shape: Shape, folder: Path, device: torch.device) -> Path:
    """Random weights in bfloat16, in the plain Hugging Face layout."""
    tokenizer = train_tokenizer(["one two three four five six seven eight"] * 9)
    tokenizer.model_max_length = shape.longest
    torch.manual_seed(0)
    with device:  # the weights of a large model are drawn many times faster there
        model = Qwen2_5_VLForConditionalGeneration(config_of(shape, tokenizer))
    save_starter(model.to(device, dtype=torch.bfloat16), tokenizer, folder)
    return folder


def load_policy(folder: Path, shape: Shape, device: str, *, recompute: bool) -> Policy:
    policy = Policy.load(
        "bench", folder, open_image=open_image,
        options=ModelOptions(
            dtype="bfloat16", device=device, gradient_checkpointing=recompute, min_pixels=4 * PIXELS**2,
            max_pixels=shape.prompt * PIXELS**2,
        ),
        learning=LearnerOptions(loss=LossOptions(beta=0.0), token_budget=max(16384, SAMPLES * shape.longest)),
    )  # fmt: skip
    if policy.vlm.backend != "shared":
        raise SelfsightError("this model takes padded rows here, so there is nothing to compare")
    return policy


def timed(run: Callable[[], object], repeats: int, after: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Seconds of each repeat, after one that warms up, and the most memory that one held above what was held before."""

    def to_the_end() -> None:
        run()
        torch.cuda.synchronize()

    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    to_the_end()
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30
    after()
    seconds = timed_in_turn({"": to_the_end}, repeats, 0, after=after)[""]
    return {"median_seconds": statistics.median(seconds), "peak_gib": peak, "seconds": seconds}


def each_that_fits(
    systems: Mapping[str, Callable[[], dict[str, Any]]],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What every system's measurement says, and the names of those that ran out of memory."""
    found, too_large = {}, []
    for name, measure in systems.items():
        try:
            found[name] = measure()
        except torch.cuda.OutOfMemoryError:
            too_large.append(name)
        gc.collect()  # a failed one's tensors hang on its traceback
        torch.cuda.empty_cache()
    return found, too_large


def compared(found: Mapping[str, dict[str, Any]], too_large: list[str], to: str, tokens: int) -> dict[str, Any]:
    """The measurements, tokens per second, and times as fast as the others."""
    medians = {name: figures["median_seconds"] for name, figures in found.items()}
    others = [name for name in medians if name != to and to in medians]
    return {
        "systems": found,
        "tokens_per_second": {name: tokens / value for name, value in medians.items()},
        "times_faster_than": {name: medians[name] / medians[to] for name in others},
        "out_of_memory": too_large,
    }


def product_tflops(size: int, device: torch.device) -> float:
    """Rate of a product of two square matrices of random bfloat16, the median of ten."""
    one, other = (torch.randn((size, size), device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        torch.cuda.synchronize()
        started = time.perf_counter()
        one @ other
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(times[3:]) / 1e12


def update_tflop(policy: Policy, group: Group) -> float:
    """Operations of the tries' forward and backward pass, counted forward; a backward pass has twice as many."""
    policy.vlm.backend = "shared"
    pairs = [(group.prompt, rollout.token_ids) for rollout in group.rollouts]
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten._flash_attention_forward: _flash}) as counter:
        policy.logprobs(pairs)
    return 3 * counter.get_total_flops() / 1e12


def _flash(query: Any, key: Any, value: Any, *rest: Any, out_val: Any = None, **options: Any) -> int:
    """Tokens stand before heads in `FusedCuda`'s calls; PyTorch's own count expects them behind. Half if causal."""
    (n, Q, H, D), (_, M, _, _), causal = query, key, rest[5]
    return 4 * n * H * Q * M * D // (2 if causal else 1)


def learning(policy: Policy, shape: Shape, folder: Path, *, repeats: int, trl: bool) -> dict[str, Any]:
    """Updates by all systems that fit: the right gradient first, then seconds and memory."""
    policy.vlm.banned.fill_(False)  # TRL bans nothing
    policy.vlm.backend = "shared"
    prompt = make_prompt(policy, 0, image=image_side(shape.prompt), length=shape.prompt)
    group = random_group(policy, prompt, SAMPLES, shape.completion, np.random.default_rng(0))
    whole = policy.learner.options
    policy.learner.options = replace(whole, token_budget=shape.prompt + shape.completion)
    reference = gradient_of(ours(policy, [group], "padded"))
    policy.learner.options = whole
    builders: dict[str, Callable[[], Update]] = {
        "tries": lambda: ours(policy, [group], "shared"),
        "padded": lambda: ours(policy, [group], "padded"),
    }
    if trl:
        builders["trl"] = lambda: trl_update(policy, [group], folder)

    def measure(name: str) -> dict[str, Any]:
        update = builders[name]()
        try:
            apart = difference(gradient_of(update), reference)
            if not apart < 0.1:
                raise SelfsightError(f"{name} does not compute what padded rows compute: {apart:.2f} apart")
            update()  # its gradients are there from now on, as they are in training
            return timed(update, repeats) | {"difference_from_padded_rows": apart}
        finally:
            update.forget()

    found, too_large = each_that_fits({name: partial(measure, name) for name in builders})
    tokens = SAMPLES * shape.completion
    return compared(found, too_large, "tries", tokens) | {"tflop": update_tflop(policy, group)}


def gradient_of(update: Update) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of one update, which are then forgotten; on the CPU, since a card has no room for several."""
    loss = update()
    found = {name: p.grad.cpu() for name, p in update.parameters.items() if p.grad is not None}
    update.forget()
    return loss, found


def rollouts(policy: Policy, shape: Shape, *, repeats: int) -> dict[str, Any]:
    """Rollouts by the local sampler, by its fallback and by `generate`."""
    vlm = policy.vlm
    vlm.banned[[*vlm.encoder.placeholder_ids, *vlm.eos_ids]] = True
    vlm.backend = "shared"
    prompts = [make_prompt(policy, 0, image=image_side(shape.prompt), length=shape.prompt)]
    kl = sampler.mismatch_kl(policy, prompts, shape.completion)
    if not kl < MISMATCH_ALARM:
        raise SelfsightError(f"the sampler's log-probs are not the learner's: mismatch_kl {kl:.1e}")

    def generate() -> sampler.Draw:
        plain = AutoModelForImageTextToText.from_pretrained(vlm.folder, dtype=torch.bfloat16).to(vlm.device)
        return sampler.generate(policy, plain, prompts, shape.completion)

    builders: dict[str, Callable[[], sampler.Draw]] = {
        "shared": lambda: sampler.ours(policy, prompts, "shared", shape.completion),
        "padded": lambda: sampler.ours(policy, prompts, "padded", shape.completion),
        "generate": generate,
    }

    def measure(name: str) -> dict[str, Any]:
        return timed(partial(builders[name](), False), repeats)

    found, too_large = each_that_fits({name: partial(measure, name) for name in builders})
    return compared(found, too_large, "shared", SAMPLES * shape.completion) | {"mismatch_kl": kl}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="3b")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--recompute", action="store_true", help="layers are computed again backward, in all systems")
    parser.add_argument("--peak-tflops", type=float, help="of the card in bfloat16, as its maker gives it")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here that PyTorch can use; learner.py and sampler.py need none.")
    shape, device = SHAPES[options.shape], torch.device("cuda")
    with_trl = find_spec("trl") is not None
    product = product_tflops(shape.product, device)
    with tempfile.TemporaryDirectory() as place:
        folder = build_model(shape, Path(place) / "model", device)
        policy = load_policy(folder, shape, "cuda", recompute=options.recompute)
        learned = learning(policy, shape, Path(place), repeats=options.repeats, trl=with_trl)
        print(json.dumps(learned), file=sys.stderr)  # not lost, whatever becomes of the rest
        drawn = rollouts(policy, shape, repeats=options.repeats)
    if "tries" in learned["systems"]:
        rate = learned["tflop"] / learned["systems"]["tries"]["median_seconds"]
        rates = {"of_product": product} | ({} if options.peak_tflops is None else {"of_peak": options.peak_tflops})
        learned["mfu"] = {name: rate / whole for name, whole in rates.items()}
    print(json.dumps({
        "machine": describe_machine() | {"gpu": torch.cuda.get_device_name(), "product_tflops": product},
        "setting": {"shape": options.shape, "parameters": sum(p.numel() for p in policy.vlm.model.parameters()),
                    "prompt": shape.prompt, "samples": SAMPLES, "completion": shape.completion,
                    "recompute": options.recompute, "kernel": type(kernel_for("cuda")).__name__},
        "trl": version("trl") if with_trl else "not importable here, so not measured",
        "learner": learned,
        "sampler": drawn,
    }, indent=2))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
