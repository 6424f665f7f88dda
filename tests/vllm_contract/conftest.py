"""Engines on tiny models. Starting one takes a second once vLLM is imported."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from policy.conftest import Load, requests
from policy.conftest import folders as folders
from policy.conftest import load as load
from selfsight.policy import Policy, Rollout, Sampling
from selfsight.policy.samplers.vllm.engine import Engine, EngineOptions
from selfsight.policy.samplers.vllm.in_process import InProcessEngine
from selfsight.policy.samplers.vllm.sampler import VllmSampler

SHORT = Sampling(max_completion_length=10)

StartEngine = Callable[..., InProcessEngine]


def options_for(policy: Policy, **options: object) -> EngineOptions:
    vlm = policy.vlm
    small = {"max_model_len": 512, "kv_cache_gib": 0.25, "enforce_eager": True, "dtype": vlm.options.dtype}
    banned = vlm.encoder.placeholder_ids
    return EngineOptions(folder=vlm.folder, eos_ids=vlm.eos_ids, **({"banned_ids": banned} | small | options))  # type: ignore[arg-type]


@pytest.fixture
def start() -> Iterator[StartEngine]:
    """start(policy, EngineOptions fields...): an engine that ends with the test."""
    started: list[InProcessEngine] = []

    def start_engine(policy: Policy, **options: object) -> InProcessEngine:
        started.append(InProcessEngine(options_for(policy, **options)))
        return started[-1]

    yield start_engine
    for engine in started:
        engine.close()


def serve(policy: Policy, engine: Engine) -> Policy:
    policy.sampler = VllmSampler(policy.name, policy.vlm, engine)
    return policy


@pytest.fixture
def served(load: Load, start: StartEngine) -> Callable[..., Policy]:
    """served(family, load's arguments...): a policy that draws from an engine of its own."""

    def served_policy(family: str = "qwen2_5_vl", **options: object) -> Policy:
        policy = load(family, **options)
        return serve(policy, start(policy))

    return served_policy


def flat(rollouts: dict[str, list[Rollout]]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(r.request_id, r.index): tuple(r.token_ids.tolist()) for several in rollouts.values() for r in several}


def rescored(policy: Policy, rollouts: dict[str, list[Rollout]], temperature: float = 1.0) -> float:
    """Largest difference between the sampler's log-probs and the learner's."""
    pairs = [(request.prompt, r) for request in requests() for r in rollouts[request.id]]
    scores = policy.logprobs([(prompt, r.token_ids) for prompt, r in pairs], temperature=temperature)
    return max(float(np.abs(s - r.logprobs).max()) for s, (_, r) in zip(scores, pairs, strict=True))
