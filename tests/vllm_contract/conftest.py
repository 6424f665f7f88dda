"""Engines on tiny models. Starting one takes a second once vLLM is imported."""

from collections.abc import Callable, Iterator

import pytest

from policy.conftest import Load
from policy.conftest import flat as flat
from policy.conftest import folders as folders
from policy.conftest import load as load
from policy.conftest import rescored as rescored
from selfsight.policy import Policy, Sampling
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
