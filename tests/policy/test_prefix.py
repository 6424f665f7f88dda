"""Rows of tries compute what a plain padded batch computes; broken layouts show that the tests can fail.

Measure, in float32: log-probs differ by less than 1e-5, and the difference of every single parameter's gradient
has less than 1e-5 of the norm of the whole gradient.
"""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import LoraOptions, Policy
from selfsight.policy.blocks import DenseMask, TrieAttention
from selfsight.policy.scoring import ScoreItem, score
from selfsight.policy.vlm import SHARED_PREFIX_FAMILIES, Vlm
from selfsight.policy.vocabulary import Scores

from .conftest import FAMILIES, FAST, PROMPTS, Load, image

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


def compare(
    one: tuple[Scores, dict[str, torch.Tensor]], other: tuple[Scores, dict[str, torch.Tensor]]
) -> tuple[float, float]:
    """Largest difference of a log-prob, and of a parameter's gradient over the norm of the whole gradient."""
    (scores, gradient), (expected, right) = one, other
    assert gradient.keys() == right.keys()
    whole = torch.stack([g.norm() for g in right.values()]).norm()
    apart = max(float((gradient[name] - g).norm() / whole) for name, g in right.items())
    return float((scores.logprobs - expected.logprobs).abs().max().detach()), apart


def computed(policy: Policy, items: list[ScoreItem], backend: str) -> tuple[Scores, dict[str, torch.Tensor]]:
    policy.vlm.backend = backend
    scores = score(policy.vlm, items, 0.7)
    return scores, gradients(policy, scores)


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_tries_equal_a_padded_batch_in_logprobs_and_every_gradient(
    load: Load, family: str, adapters: bool
) -> None:
    lora = LoraOptions(rank=2) if adapters else None
    padded = load(family, backend="padded", learning=FAST, lora=lora)
    policy = load(family, learning=FAST, lora=lora)
    assert (padded.vlm.backend, policy.vlm.backend) == ("padded", "shared")
    expected = computed(padded, items_for(padded), "padded")
    if not adapters:
        unreached = policy.learner.parameters.keys() - expected[1].keys()
        # LLaVA-OneVision takes the last layer's states as they are before the tower's final norm.
        assert all(family == "llava_onevision" and "post_layernorm" in name for name in unreached)
    for layout in (TrieAttention, DenseMask):
        policy.vlm.row_attention = layout
        found = computed(policy, items_for(policy), "shared")
        assert max(compare(found, expected)) < 1e-5
        assert (found[0].entropy - expected[0].entropy).abs().max() < 1e-5


LENGTHS_OF_ANSWERS = st.lists(st.integers(1, 9), min_size=1, max_size=4)
QUESTIONS = st.tuples(st.sampled_from([None, image(1), image(2)]), st.text("ab ", max_size=12), LENGTHS_OF_ANSWERS)


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_rows_of_tries_round_as_a_padded_batch_does(load: Load, family: str, adapters: bool) -> None:
    """Half precision is what GPUs train in: both are as far from float32 as its rounding is."""
    options = {"lora": LoraOptions(rank=2)} if adapters else {}
    policy = load(family, learning=FAST, dtype="bfloat16", **options)
    assert policy.vlm.backend == "shared"
    items = items_for(policy)
    padded = computed(policy, items, "padded")
    apart, gradient = compare(computed(policy, items, "shared"), padded)
    assert apart < 0.1 and gradient < 0.05


@pytest.mark.parametrize("family", ["qwen2_5_vl", "idefics3"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(questions=st.lists(QUESTIONS, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_random_batches_equal_a_padded_batch(load: Load, family: str, questions: list, seed: int) -> None:  # type: ignore[type-arg]
    if family not in LOADED:
        LOADED[family] = load(family, learning=FAST)
    policy = LOADED[family]
    generator = np.random.default_rng(seed)
    # Few tokens, so that answers often begin alike and are merged further than their prompts.
    items = [
        ScoreItem(
            policy.vlm.encoder.encode(Prompt(shown, text)),
            tuple(
                generator.choice(np.arange(20, 26) if k % 2 else np.array([20]), size=t) for k, t in enumerate(sizes)
            ),
        )
        for shown, text, sizes in questions
    ]
    assert max(compare(computed(policy, items, "shared"), computed(policy, items, "padded"))) < 1e-5


LOADED: dict[str, Policy] = {}


def test_every_family_said_to_share_prefixes_is_tested() -> None:
    assert set(FAMILIES) == SHARED_PREFIX_FAMILIES


@pytest.fixture
def scored(load: Load) -> tuple[Policy, list[ScoreItem], torch.Tensor]:
    policy = load()
    items = items_for(policy)
    with torch.no_grad():
        return policy, items, score(policy.vlm, items, 1.0).logprobs


def test_control_siblings_that_see_each_other_change_the_logprobs(
    scored: tuple[Policy, list[ScoreItem], torch.Tensor],
) -> None:
    policy, items, right = scored
    policy.vlm.row_attention = lambda row, device, carried: DenseMask(
        replace(row, ends=np.full_like(row.ends, len(row))), device
    )  # plain causal over the whole row
    with torch.no_grad():
        assert (score(policy.vlm, items, 1.0).logprobs - right).abs().max() > 0.05


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
            policy.vlm.takes_features = False
            assert (score(policy.vlm, items, 1.0).logprobs - features).abs().max() < 1e-5


def test_the_vision_tower_runs_once_per_distinct_image(load: Load) -> None:
    policy = load()
    patches: list[int] = []
    policy.vlm.model.model.visual.register_forward_pre_hook(lambda module, args: patches.append(len(args[0])))
    with torch.no_grad():
        score(policy.vlm, items_for(policy), 1.0)
    assert patches == [2 * 64]  # three prompts show two images of 8 x 8 patches


def test_sliding_windows_fall_back_to_padded_with_the_reason(
    load: Load, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = load().vlm
    monkeypatch.setattr("selfsight.policy.vlm._head_is_plain", lambda vlm: True)  # this model has no such layers
    vlm.text_config.layer_types = ["full_attention", "sliding_attention"]
    with caplog.at_level(logging.WARNING, logger="selfsight"):
        again = Vlm(vlm.folder, vlm.model, vlm.encoder, vlm.options)
    assert again.backend == "padded" and "more slowly" in caplog.text
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


def halve(module: torch.nn.Module, arguments: object, out: Any) -> None:
    out.logits.mul_(0.5)


def test_logits_that_are_more_than_the_head_fall_back_to_padded_and_are_right(load: Load) -> None:
    """As with a cap or a scale on the logits: only the model's own forward pass knows it."""
    policy = load()
    vlm, items = policy.vlm, items_for(policy)
    with torch.no_grad():
        plain = score(vlm, items, 2.0).logprobs
        vlm.model.register_forward_hook(halve)
        again = Vlm(vlm.folder, vlm.model, vlm.encoder, vlm.options)
        assert again.backend == "padded" and "more than its head" in again.backend_reason
        assert (score(again, items, 1.0).logprobs - plain).abs().max() < 1e-5
