"""Rollouts by the local sampler against transformers' `generate`.

    python bench/sampler.py                    4 prompts x 8 samples of 64 tokens, medians of 5 after one warm-up
    python bench/sampler.py --prompts 1

The model and the prompts are those of learner.py: a Qwen2.5-VL of some 17 million random weights, 300 tokens, 256 of
them the image, another image for every prompt. No sample may end early, so that all systems draw the same number of
tokens: the end-of-sequence tokens are banned, and the placeholders of images, too. Everything starts from pixels.

Before anything is timed, the greedy tokens of all systems must be the same, and the sampled tokens' log-probs must be
those that the learner gives them, to 1e-4; otherwise the command fails.

    shared     this package as it is used: a prompt is computed once for all its samples
    padded     this package's fallback
    generate   GenerationMixin.generate with `num_return_sequences`, its cache and its defaults, on the same weights
               as transformers loads them
    vllm       this package's vLLM sampler, its engine in this process, where vLLM can be imported (an extra; see
               docs/vllm.md). Its caches are emptied before every draw, as new weights do in training.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from learner import SAMPLES, build_model, load_policy, make_prompt, timed_in_turn
from machine import describe_machine
from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import Policy, SampleRequest, Sampling
from selfsight.policy.loss import k3

Draw = Callable[[bool], np.ndarray]  # greedy or not; tokens (prompts, samples, T)


def ours(policy: Policy, prompts: Sequence[Prompt], backend: str, length: int) -> Draw:
    def draw(greedy: bool) -> np.ndarray:
        policy.vlm.backend = backend
        count = 1 if greedy else SAMPLES
        requests = [SampleRequest(str(k), prompt, count, k) for k, prompt in enumerate(prompts)]
        found = policy.sample(requests, Sampling(max_completion_length=length, greedy=greedy))
        return np.array([[rollout.token_ids for rollout in found[str(k)]] for k in range(len(prompts))])

    return draw


def generate(policy: Policy, model: Any, prompts: Sequence[Prompt], length: int) -> Draw:
    """The peer: the same prompts in one batch, without padding, since all are of one length."""
    vlm = policy.vlm
    encoded = [vlm.encoder.encode(prompt) for prompt in prompts]
    ids = torch.from_numpy(np.stack([one.input_ids for one in encoded]))
    pixels = [vlm.encoder.image(ref).pixels for one in encoded for ref in one.images]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": torch.from_numpy(np.stack([one.token_types for one in encoded])),
        "pixel_values": torch.cat([one["pixel_values"] for one in pixels]),
        "image_grid_thw": torch.cat([one["image_grid_thw"] for one in pixels]),
    }
    inputs = {name: tensor.to(vlm.device) for name, tensor in inputs.items()}
    banned = vlm.banned.nonzero()[:, 0].tolist()

    @torch.no_grad()
    def draw(greedy: bool) -> np.ndarray:
        count = 1 if greedy else SAMPLES
        way: dict[str, Any] = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "temperature": 1.0}
        out = model.generate(
            **inputs, **way, num_return_sequences=count, max_new_tokens=length, min_new_tokens=length,
            suppress_tokens=banned, pad_token_id=vlm.pad_id,
        )  # fmt: skip
        found: np.ndarray = out[:, ids.shape[1] :].reshape(len(prompts), count, -1).cpu().numpy()
        return found

    return draw


def vllm(policy: Policy, prompts: Sequence[Prompt], length: int) -> Draw:
    """The engine bans what the model bans by now, so that no sample ends early here either."""
    from selfsight.policy.samplers.vllm.engine import EngineOptions
    from selfsight.policy.samplers.vllm.in_process import InProcessEngine
    from selfsight.policy.samplers.vllm.sampler import VllmSampler

    vlm = policy.vlm
    banned = tuple(vlm.banned.nonzero()[:, 0].tolist())
    size = dict(vlm.encoder.processor.image_processor.size)
    options = EngineOptions(
        vlm.folder, "float32", vlm.eos_ids, banned, max_model_len=1024, kv_cache_gib=1.0, enforce_eager=True,
        image_size={edge: size[edge] for edge in ("shortest_edge", "longest_edge")},
    )  # fmt: skip
    sampler = VllmSampler("bench", vlm, InProcessEngine(options))

    def draw(greedy: bool) -> np.ndarray:
        count = 1 if greedy else SAMPLES
        requests = [SampleRequest(str(k), prompt, count, k) for k, prompt in enumerate(prompts)]
        sampler.engine.reset_caches()
        found = sampler.sample(requests, Sampling(max_completion_length=length, greedy=greedy))
        return np.array([[rollout.token_ids for rollout in found[str(k)]] for k in range(len(prompts))])

    return draw


def check(policy: Policy, prompts: Sequence[Prompt], systems: dict[str, Draw], length: int) -> dict[str, float]:
    """SelfsightError unless all decode the same; the largest difference between sampler and learner."""
    greedy = {name: draw(True) for name, draw in systems.items()}
    wrong = [name for name, tokens in greedy.items() if not np.array_equal(tokens, greedy["shared"])]
    if wrong or greedy["shared"].shape[-1] != length:
        raise SelfsightError(f"the greedy tokens of {', '.join(wrong) or 'all'} are not those that were to be drawn")
    apart = max(float(np.abs(reported - scored).max()) for reported, scored in both_logprobs(policy, prompts, length))
    if not apart < 1e-4:
        raise SelfsightError(f"the sampler's log-probs are not the learner's: {apart:.1e} apart")
    return {"sampler_minus_learner": apart}


def both_logprobs(policy: Policy, prompts: Sequence[Prompt], length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Log-probs of samples, as the sampler reports them and as the learner scores them."""
    policy.vlm.backend = "shared"
    requests = [SampleRequest(str(k), prompt, SAMPLES, k) for k, prompt in enumerate(prompts)]
    drawn = policy.sample(requests, Sampling(max_completion_length=length))
    pairs = [(prompts[int(id)], rollout) for id, rollouts in drawn.items() for rollout in rollouts]
    again = policy.logprobs([(prompt, rollout.token_ids) for prompt, rollout in pairs])
    return [(rollout.logprobs, now) for (_, rollout), now in zip(pairs, again, strict=True)]


def mismatch_kl(policy: Policy, prompts: Sequence[Prompt], length: int) -> float:
    """KL(sampler || learner) in nats a token, by the estimator that runs log (`loss.k3`)."""
    both = both_logprobs(policy, prompts, length)
    reported, scored = (torch.from_numpy(np.concatenate(values)) for values in zip(*both, strict=True))
    return float(k3(reported, scored).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=4, choices=[1, 2, 3, 4])
    parser.add_argument("--completion", type=int, default=64, metavar="C")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = build_model(Path(place) / "model")
        policy = load_policy(folder)
        plain = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        vlm = policy.vlm
        vlm.banned[list(vlm.encoder.placeholder_ids)] = True
        vlm.banned[list(vlm.eos_ids)] = True
        prompts = [make_prompt(policy, k, image=k + 1) for k in range(options.prompts)]
        systems = {
            "shared": ours(policy, prompts, "shared", options.completion),
            "padded": ours(policy, prompts, "padded", options.completion),
            "generate": generate(policy, plain, prompts, options.completion),
        }
        if find_spec("vllm") is not None:
            systems["vllm"] = vllm(policy, prompts, options.completion)
    checked = check(policy, prompts, systems, options.completion)
    draws = {name: partial(draw, False) for name, draw in systems.items()}
    seconds = timed_in_turn(draws, options.repeats, options.warmup)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    tokens = options.prompts * SAMPLES * options.completion
    print(json.dumps({
        "machine": describe_machine(),
        "setting": {"prompts": options.prompts, "samples": SAMPLES, "tokens": tokens},
        "threads": torch.get_num_threads(),
        "checked": checked,
        "tokens_per_second": {name: tokens / value for name, value in medians.items()},
        "times_faster_than": {name: medians[name] / medians["shared"] for name in systems if name != "shared"},
        "seconds": seconds,
    }, indent=2))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
