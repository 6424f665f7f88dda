"""Tiny models on disk, and images that are a function of their id."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy import (
    Group,
    LearnerOptions,
    LocalSamplerOptions,
    LossOptions,
    ModelOptions,
    Policy,
    Rollout,
    SampleRequest,
    Sampling,
)
from tiny_models import BUILDERS

FAMILIES = sorted(BUILDERS)


def open_image(ref: ImageRef) -> Image.Image:
    generator = np.random.default_rng(int(ref.id.split("-")[1]))
    return Image.fromarray(generator.integers(0, 255, (112, 112, 3), dtype=np.uint8))


def image(number: int) -> ImageRef:
    return ImageRef(f"i-{number}", "test")


PROMPTS = [
    Prompt(image(1), "How many red circles are there?"),
    Prompt(image(2), "What colour is the largest square, left of the yellow star?"),
    Prompt(image(1), "Is it blue?"),
    Prompt(None, "Ask a question.", "one two three"),
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of a family, built once."""
    root = tmp_path_factory.mktemp("models")

    def folder(family: str) -> Path:
        path = root / family
        return path if path.exists() else BUILDERS[family](path)

    return folder


Load = Callable[..., Policy]


@pytest.fixture(scope="session")
def load(folders: Callable[[str], Path]) -> Load:
    """load(family, ModelOptions fields..., learning=LearnerOptions or None, token_budget=of the sampler)."""

    def load_policy(
        family: str = "qwen2_5_vl",
        *,
        folder: Path | None = None,
        learning: LearnerOptions | None = None,
        waves: int = 32768,
        **options: object,
    ) -> Policy:
        return Policy.load(
            "tiny",
            folder if folder is not None else folders(family),
            open_image=open_image,
            options=ModelOptions(**options),  # type: ignore[arg-type]
            learning=learning,
            sampling=LocalSamplerOptions(token_budget=waves),
        )

    return load_policy


def requests(prompts: list[Prompt] = PROMPTS, n: int = 4, seed: int = 7) -> list[SampleRequest]:
    return [SampleRequest(f"r{index}", prompt, n, seed + index) for index, prompt in enumerate(prompts)]


def flat(rollouts: dict[str, list[Rollout]]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {(r.request_id, r.index): tuple(r.token_ids) for several in rollouts.values() for r in several}


def rescored(policy: Policy, rollouts: dict[str, list[Rollout]], temperature: float = 1.0) -> float:
    """Largest difference between the sampler's log-probs and the learner's."""
    pairs = [(request.prompt, r) for request in requests() for r in rollouts[request.id]]
    scores = policy.logprobs([(prompt, r.token_ids) for prompt, r in pairs], temperature=temperature)
    return max(float(np.abs(s - r.logprobs).max()) for s, (_, r) in zip(scores, pairs, strict=True))


def follow_what_they_report(rollouts: list[Rollout]) -> None:
    """Asserts that the first tokens of many samples of one prompt are as frequent as their log-probs say."""
    tokens = np.array([r.token_ids[0] for r in rollouts])
    reported = {int(r.token_ids[0]): float(np.exp(r.logprobs[0])) for r in rollouts}
    likely = [token for token, p in reported.items() if p > 0.01]
    assert len(likely) >= 5
    for token in likely:
        p = reported[token]
        assert abs((tokens == token).mean() - p) < 5 * (p * (1 - p) / len(rollouts)) ** 0.5


def groups_of(asked: list[SampleRequest], rollouts: dict[str, list[Rollout]]) -> list[Group]:
    """Groups with rewards 0, 1, 2, ... so that every group carries signal."""
    return [Group(request.prompt, tuple(rollouts[request.id]), np.arange(float(request.n))) for request in asked]


def draw_groups(policy: Policy, length: int = 10, temperature: float = 1.0) -> list[Group]:
    asked = requests()
    sampling = Sampling(temperature=temperature, max_completion_length=length)
    return groups_of(asked, policy.sample(asked, sampling))


FAST = LearnerOptions(learning_rate=1e-3, loss=LossOptions(beta=0.0))
WITH_KL = LearnerOptions(learning_rate=1e-3, loss=LossOptions(beta=0.05, beta_anchor=0.02))
