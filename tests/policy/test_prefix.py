"""Shared-prefix rows compute what a plain padded batch computes; broken layouts show the test can fail."""

import logging

import numpy as np
import pytest
import torch

from selfsight.errors import SelfsightError
from selfsight.policy import LoraOptions, Policy
from selfsight.policy.prefix import LearnRows
from selfsight.policy.scoring import ScoreItem, Scores, pack, score, split
from selfsight.policy.vlm import SHARED_PREFIX_FAMILIES, Vlm

from .conftest import FAMILIES, FAST, PROMPTS, Load

LENGTHS = [(5, 3, 1), (2, 7), (4, 4, 4), (6,)]  # ragged: samples per prompt, tokens per sample


def items_for(policy: Policy) -> list[ScoreItem]:
    generator = np.random.default_rng(0)
    vlm = policy.vlm
    usable = np.setdiff1d(np.arange(len(vlm.banned)), vlm.encoder.placeholder_ids)
    return [
        ScoreItem(vlm.encoder.encode(prompt), tuple(generator.choice(usable, size=t) for t in lengths))
        for prompt, lengths in zip(PROMPTS, LENGTHS, strict=True)
    ]


def gradients(policy: Policy, scores: Scores) -> dict[str, torch.Tensor]:
    """Gradients of a weighted sum of log-probs, so that no token's gradient can hide behind another's."""
    weights = torch.linspace(-1, 1, len(scores.logprobs))
    names = list(policy.learner.parameters)
    found = torch.autograd.grad(
        (scores.logprobs * weights).sum(), list(policy.learner.parameters.values()), allow_unused=True
    )
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_shared_rows_equal_a_padded_batch_in_logprobs_and_every_gradient(
    load: Load, family: str, adapters: bool
) -> None:
    found = {}
    for backend in ("shared", "padded"):
        lora = LoraOptions(rank=2) if adapters else None
        policy = load(family, backend=backend, learning=FAST, lora=lora)
        assert policy.vlm.backend == backend
        scores = score(policy.vlm, items_for(policy), 0.7)
        found[backend] = (scores, gradients(policy, scores))
    (shared, g_shared), (padded, g_padded) = found["shared"], found["padded"]
    assert (shared.logprobs - padded.logprobs).abs().max() < 1e-5
    assert (shared.entropy - padded.entropy).abs().max() < 1e-5
    assert g_shared.keys() == g_padded.keys() and len(g_shared) > 10
    if not adapters:
        assert g_shared.keys() == policy.learner.parameters.keys()
    for name, gradient in g_shared.items():
        assert (gradient - g_padded[name]).norm() <= 1e-5 * (1 + g_padded[name].norm()), name


def test_every_family_said_to_share_prefixes_is_tested() -> None:
    assert set(FAMILIES) == SHARED_PREFIX_FAMILIES


@pytest.fixture
def scored(load: Load) -> tuple[Policy, list[ScoreItem], torch.Tensor]:
    policy = load()
    items = items_for(policy)
    with torch.no_grad():
        return policy, items, score(policy.vlm, items, 1.0).logprobs


def test_control_samples_that_see_each_other_change_the_logprobs(
    scored: tuple[Policy, list[ScoreItem], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, items, right = scored
    monkeypatch.setattr(LearnRows, "_keys", lambda self, x: _everything(self, x))
    with torch.no_grad():
        assert (score(policy.vlm, items, 1.0).logprobs - right).abs().max() > 0.05


def _everything(layout: LearnRows, x: torch.Tensor) -> torch.Tensor:
    """Own keys of the *next* sample instead of one's own."""
    own = x[:, :, layout.prompt :].unflatten(2, (layout.samples, layout.completion)).transpose(1, 2).roll(1, 1)
    prompt = x[:, None, :, : layout.prompt].expand(-1, layout.samples, -1, -1, -1)
    return torch.cat([prompt, own], dim=3).flatten(0, 1)


def test_control_shifted_positions_change_the_logprobs(
    scored: tuple[Policy, list[ScoreItem], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, items, right = scored
    true_positions = Vlm.positions

    def shifted(self: Vlm, prompt):  # type: ignore[no-untyped-def]
        places, following = true_positions(self, prompt)
        return places, following + 20

    monkeypatch.setattr(Vlm, "positions", shifted)
    with torch.no_grad():
        assert (score(policy.vlm, items, 1.0).logprobs - right).abs().max() > 0.05


def test_control_another_image_changes_the_logprobs(
    scored: tuple[Policy, list[ScoreItem], torch.Tensor],
) -> None:
    policy, items, right = scored
    swapped = policy.vlm.encoder.encode(type(PROMPTS[0])(PROMPTS[1].image, PROMPTS[0].user))
    with torch.no_grad():
        other = score(policy.vlm, [ScoreItem(swapped, items[0].completions)], 1.0).logprobs
        alone = score(policy.vlm, [items[0]], 1.0).logprobs
    assert (alone - right[: len(alone)]).abs().max() < 1e-5
    assert (other - alone).abs().max() > 0.05


def test_image_features_and_repeated_pixels_give_the_same_logprobs(load: Load) -> None:
    for family in FAMILIES:
        policy = load(family)
        items = items_for(policy)
        with torch.no_grad():
            features = score(policy.vlm, items, 1.0).logprobs
            policy.vlm._takes_features = False
            assert (score(policy.vlm, items, 1.0).logprobs - features).abs().max() < 1e-5


def test_the_vision_tower_runs_once_per_distinct_image(load: Load) -> None:
    policy = load()
    patches: list[int] = []
    policy.vlm.model.model.visual.register_forward_pre_hook(lambda module, args: patches.append(len(args[0])))
    with torch.no_grad():
        score(policy.vlm, items_for(policy), 1.0)
    assert patches == [2 * 64]  # three prompts show two images of 8 x 8 patches


def test_sliding_windows_fall_back_to_padded_with_the_reason(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    vlm = load().vlm
    vlm.text_config.layer_types = ["full_attention", "sliding_attention"]
    with caplog.at_level(logging.INFO, logger="selfsight"):
        again = Vlm(vlm.folder, vlm.model, vlm.encoder, vlm.options)
    assert again.backend == "padded"
    assert "sliding_attention" in again.backend_reason and "sliding_attention" in caplog.text


def test_an_attention_that_ignores_the_layout_is_noticed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsight.policy.prefix.install", lambda model: None)
    assert "not honoured" in load(backend="auto").vlm.backend_reason
    with pytest.raises(SelfsightError, match="not honoured"):
        load(backend="shared")


def test_a_plain_forward_with_a_padding_mask_still_works_after_installation(load: Load) -> None:
    policy = load(backend="shared")
    ids = torch.tensor([[10, 11, 12, 13], [14, 15, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        batch = policy.vlm.model(input_ids=ids, attention_mask=mask).logits
        alone = policy.vlm.model(input_ids=ids[1:, :2]).logits
    assert (batch[1, :2] - alone[0]).abs().max() < 1e-5


def test_packing_keeps_the_budget_and_loses_nothing(load: Load) -> None:
    items = items_for(load())
    for budget in (1, 60, 120, 10_000):
        batches = pack(items, budget)
        assert sorted(i for batch in batches for i in batch) == list(range(len(items)))
        for batch in batches:
            longest = max(len(c) for i in batch for c in items[i].completions)
            samples = max(len(items[i].completions) for i in batch)
            size = len(batch) * (max(len(items[i].prompt) for i in batch) + samples * longest)
            assert size <= budget or len(batch) == 1
    assert [(i, len(part.completions), first) for i, part, first in split(items[:2], 1)] == [
        (0, 1, 0), (0, 1, 1), (0, 1, 2), (1, 1, 0), (1, 1, 1),
    ]  # fmt: skip
