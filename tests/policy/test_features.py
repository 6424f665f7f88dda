"""Image features are computed once and shared exactly as far as that changes no number."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from selfsight.policy import Group, LoraOptions, Policy, Rollout
from selfsight.policy.features import vision_is_frozen
from selfsight.policy.scoring import ScoreItem, plan, score, score_batch
from selfsight.policy.stems import Shared

from .conftest import FAST, PROMPTS, WITH_KL, Load

PATCHES = 64  # of one image of 112 x 112
ANSWERS = 12
STEMS = 3  # two images and a prompt without one, each the beginning of what is asked


def groups() -> list[Group]:
    """Three groups about two images, and one without any."""
    made = []
    for number, prompt in enumerate(PROMPTS):
        ids = [np.arange(20, 26 + k) + number + 10 * k for k in range(3)]
        rollouts = tuple(Rollout("r", k, x, np.full(len(x), -6.0), "", True, 0) for k, x in enumerate(ids))
        made.append(Group(prompt, rollouts, np.arange(3.0)))
    return made


@contextmanager
def patches_seen(policy: Policy) -> Iterator[list[int]]:
    seen: list[int] = []
    hook = policy.vlm.model.model.visual.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    yield seen
    hook.remove()


def learn(policy: Policy, budget: int) -> tuple[int, int]:
    """Patches through the vision tower and micro-batches of one call."""
    policy.learner.options = replace(policy.learner.options, token_budget=budget)
    rows: list[int] = []
    inner = policy.vlm.model.model.language_model
    hook = inner.register_forward_pre_hook(lambda *_: rows.append(1))
    with patches_seen(policy) as seen:
        policy.learn(groups())
    hook.remove()
    return sum(seen), len(rows)


def test_an_image_is_encoded_once_whatever_the_micro_batches(load: Load) -> None:
    policy = load(learning=FAST)
    assert learn(policy, 10_000) == (2 * PATCHES, 1)
    assert learn(policy, 40) == (2 * PATCHES, ANSWERS + STEMS)  # every prompt and answer is above the budget


def test_groups_about_one_image_compute_its_tokens_once(load: Load) -> None:
    policy = load(learning=FAST)
    rows: list[torch.Tensor] = []
    policy.vlm.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"]), with_kwargs=True
    )
    policy.learn(groups())
    (row,) = rows
    assert int((row == policy.vlm.model.config.image_token_id).sum()) == 2 * PATCHES // 4  # of three groups
    alone = sum(len(policy.vlm.encoder.encode(g.prompt)) for g in groups())
    assert row.numel() < alone + sum(len(r.token_ids) - 1 for g in groups() for r in g.rollouts)


@pytest.mark.parametrize(
    ("options", "encoded"),
    [({"freeze_vision": True}, 1), ({"lora": LoraOptions(rank=2)}, 1), ({}, 3)],
    ids=["frozen", "adapters", "trained"],
)
def test_references_share_the_features_only_while_vision_is_frozen(
    load: Load, options: dict[str, object], encoded: int
) -> None:
    policy = load(learning=WITH_KL, **options)
    policy.set_reference("anchor")
    for _ in range(2):
        policy.set_reference("phase")
        policy.learn(groups())
        policy.step()
    # now policy, phase and anchor are three different weights
    assert learn(policy, 40) == (encoded * 2 * PATCHES, 3 * (ANSWERS + STEMS))


def test_references_of_equal_weights_are_computed_once(load: Load) -> None:
    policy = load(learning=WITH_KL)
    policy.set_reference("anchor")
    policy.set_reference("phase")
    assert learn(policy, 10_000)[1] == 1  # both are the weights of now
    policy.step()
    assert learn(policy, 10_000)[1] == 2  # both are the same old weights


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_vision_counts_as_frozen_only_with_what_projects_it(load: Load, family: str) -> None:
    assert not vision_is_frozen(load(family, learning=FAST).vlm)
    assert vision_is_frozen(load(family, learning=FAST, lora=LoraOptions(rank=2)).vlm)
    # Qwen's tower ends in its projection; InternVL's is a part of its own, which is trained on.
    assert vision_is_frozen(load(family, learning=FAST, freeze_vision=True).vlm) == (family == "qwen2_5_vl")


@pytest.mark.parametrize("family", ["qwen3_vl", "idefics3"])
def test_shared_features_give_the_gradient_of_one_forward_pass(load: Load, family: str) -> None:
    """The vision tower's too: it gets one backward pass with what the micro-batches left."""
    policy = load(family, learning=FAST)
    vlm, parameters = policy.vlm, policy.learner.parameters
    items = [ScoreItem(vlm.encoder.encode(g.prompt), tuple(r.token_ids for r in g.rollouts)) for g in groups()]
    score(vlm, items, 1.0).logprobs.sum().backward()
    whole = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    policy.learner.optimiser.zero_grad()
    batches = plan(vlm, items, 40)
    shared = Shared(vlm, batches)
    for batch in batches:
        score_batch(vlm, batch, 1.0, shared).logprobs.sum().backward()
        shared.release(batch)
    assert len(batches) == ANSWERS and not shared.features._held and not shared._held
    norm = torch.stack([g.norm() for g in whole.values()]).norm()
    for name, gradient in whole.items():
        assert (parameters[name].grad - gradient).norm() <= 1e-5 * norm, name


def test_a_transformers_that_takes_pixels_alone_is_said_to(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load()
    assert "is encoded for every batch" not in caplog.text
    monkeypatch.setattr("selfsight.policy.vlm.inspect.signature", lambda forward: SimpleNamespace(parameters={}))
    assert not load().vlm.takes_features and "is encoded for every batch" in caplog.text
