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


def groups_of(asked: list[SampleRequest], rollouts: dict[str, list[Rollout]]) -> list[Group]:
    """Groups with rewards 0, 1, 2, ... so that every group carries signal."""
    return [Group(request.prompt, tuple(rollouts[request.id]), np.arange(float(request.n))) for request in asked]


def draw_groups(policy: Policy, length: int = 10, temperature: float = 1.0) -> list[Group]:
    asked = requests()
    sampling = Sampling(temperature=temperature, max_completion_length=length)
    return groups_of(asked, policy.sample(asked, sampling))


FAST = LearnerOptions(learning_rate=1e-3, loss=LossOptions(beta=0.0))
WITH_KL = LearnerOptions(learning_rate=1e-3, loss=LossOptions(beta=0.05, beta_anchor=0.02))
