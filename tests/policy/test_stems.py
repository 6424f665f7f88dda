"""A trie that is cut computes what its parts begin with once, and its log-probs and gradients are those of one pass."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfsight.policy import Group, LoraOptions, Policy, Rollout
from selfsight.policy.blocks import DenseMask
from selfsight.policy.prefix import Prefill
from selfsight.policy.scoring import ScoreItem, plan, score, score_batch
from selfsight.policy.stems import Shared

from .conftest import FAMILIES, FAST, PROMPTS, WITH_KL, Load

BUDGET = 60  # tokens; a prompt alone has 20 to 45


@pytest.fixture(autouse=True)
def passes_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """These prompts are so short that a pass of their own would not be worth it."""
    monkeypatch.setattr("selfsight.policy.trie._PASS", 0)


def groups() -> list[Group]:
    """Four groups of five answers of several lengths, among them one that begins another."""
    made = []
    generator = np.random.default_rng(3)
    for prompt in PROMPTS:
        ids = [generator.integers(20, 60, size=size) for size in (3, 9, 14, 20)]
        ids.append(ids[-1][:6])
        rollouts = tuple(Rollout("r", k, x, np.full(len(x), -4.0), "", True, 0) for k, x in enumerate(ids))
        made.append(Group(prompt, rollouts, np.arange(float(len(ids)))))
    return made


def items_of(policy: Policy) -> list[ScoreItem]:
    encode = policy.vlm.encoder.encode
    return [ScoreItem(encode(g.prompt), tuple(r.token_ids for r in g.rollouts)) for g in groups()]


def learned(policy: Policy, budget: int, some: list[Group] | None = None) -> dict[str, torch.Tensor]:
    """The gradient of one `learn`."""
    policy.learner.options = replace(policy.learner.options, token_budget=budget)
    policy.learn(groups() if some is None else some)
    found = {name: p.grad.clone() for name, p in policy.learner.parameters.items() if p.grad is not None}
    policy.learner.optimiser.zero_grad()
    return found


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    norm = torch.stack([gradient.norm() for gradient in other.values()]).norm()
    return max(float((one[name] - gradient).norm() / norm) for name, gradient in other.items())


@pytest.mark.parametrize("options", [{}, {"lora": LoraOptions(rank=2)}], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_trie_has_the_gradient_of_one_pass(load: Load, family: str, options: dict[str, LoraOptions]) -> None:
    policy = load(family, learning=WITH_KL, **options)
    policy.begin_phase()
    policy.set_reference("anchor")
    with torch.no_grad():  # so that the references are weights of their own
        for parameter in policy.learner.parameters.values():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    policy.learner.weight_version = 1
    whole = learned(policy, 100_000)
    rows = plan(policy.vlm, items_of(policy), BUDGET)
    assert sum(batch.stem is not None for batch in rows) > 3
    assert apart(learned(policy, BUDGET), whole) < 1e-5


def test_gradient_checkpointing_goes_through_stems(load: Load) -> None:
    plain, checkpointed = (load(learning=FAST, gradient_checkpointing=on) for on in (False, True))
    assert apart(learned(checkpointed, BUDGET), learned(plain, 100_000)) < 1e-5


def test_in_bfloat16_a_cut_trie_differs_by_rounding(load: Load) -> None:
    policy = load(learning=FAST, dtype="bfloat16", lora=LoraOptions(rank=2))
    assert apart(learned(policy, BUDGET), learned(policy, 100_000)) < 0.05


@pytest.mark.parametrize("dense", [False, True], ids=["blocks", "dense"])
def test_log_probs_behind_a_stem_are_those_of_one_pass(load: Load, dense: bool) -> None:
    """Also where a batch stands alone and computes the stem in its own graph."""
    vlm = load(learning=FAST).vlm
    items = items_of(load(learning=FAST))
    expected = score(vlm, items, 1.0).logprobs.detach()
    starts = np.cumsum([0, *(len(c) for item in items for c in item.completions)])
    members = [(i, k) for i, item in enumerate(items) for k in range(len(item.completions))]
    if dense:
        vlm.row_attention = DenseMask
    batches = plan(vlm, items, BUDGET)
    shared = Shared(vlm, batches)
    for batch in batches:
        where = np.concatenate([np.arange(starts[n], starts[n + 1]) for n in map(members.index, batch.members)])
        for found in (score_batch(vlm, batch, 1.0, shared), score_batch(vlm, batch, 1.0)):
            assert (found.logprobs - expected[where]).abs().max() < 1e-5


def tokens_seen(policy: Policy, budget: int, some: list[Group]) -> tuple[int, int]:
    """Forward passes of one `learn`, and their tokens."""
    seen: list[int] = []
    hook = policy.vlm.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    learned(policy, budget, some)
    hook.remove()
    return len(seen), sum(seen)


def test_every_token_of_a_group_goes_through_the_decoder_once(load: Load) -> None:
    policy = load(learning=FAST)
    (_, once), (passes, cut) = (tokens_seen(policy, budget, groups()[1:2]) for budget in (100_000, BUDGET))
    assert passes > 3 and cut == once


def test_groups_with_a_common_system_text_have_a_stem_each(load: Load) -> None:
    policy = load(learning=FAST)
    asked = [replace(group.prompt, system="You look.") for group in groups()[1:3]]  # two images
    some = [Group(prompt, group.rollouts, group.rewards) for prompt, group in zip(asked, groups()[1:3], strict=True)]
    (_, once), (passes, cut) = (tokens_seen(policy, budget, some) for budget in (100_000, 80))
    (same, other) = (policy.vlm.encoder.encode(prompt).input_ids for prompt in asked)
    preamble = int((same[: len(other)] != other[: len(same)]).argmax())
    assert passes > 4 and preamble >= 8
    assert cut <= once + preamble
    policy.begin_phase()
    assert apart(learned(policy, 80, some), learned(policy, 100_000, some)) < 1e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_without_a_backward_leaves_nothing_behind(load: Load, checkpointing: bool) -> None:
    """A checkpointed layer holds the layout, and the layout must not hold what was computed."""
    policy = load(learning=FAST, gradient_checkpointing=checkpointing)
    (batch, *_) = plan(policy.vlm, items_of(policy), BUDGET)
    alive = []

    class Seen(Prefill):
        def __init__(self) -> None:
            super().__init__()
            alive.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfsight.policy.stems.Prefill", Seen)
        score_batch(policy.vlm, batch, 1.0)
    gc.collect()
    assert len(alive) == 1 and alive[0]() is None


def test_control_a_stem_that_gets_no_gradient_is_noticed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(learning=FAST)
    whole = learned(policy, 100_000)
    monkeypatch.setattr("selfsight.policy.stems.backward_through", lambda sources, leaves: None)
    left = learned(policy, BUDGET)
    assert set(left) < set(whole)  # the images' tokens are in the stems: the tower has no gradient at all
    assert apart(left, {name: whole[name] for name in left}) > 0.05


def test_the_gradient_of_a_stem_waits_for_its_last_part(load: Load) -> None:
    policy = load(learning=FAST)
    batches = plan(policy.vlm, items_of(policy), BUDGET)
    shared = Shared(policy.vlm, batches)
    (first, *others) = [batch for batch in batches if batch.stem is batches[0].stem]
    assert others
    score_batch(policy.vlm, first, 1.0, shared).logprobs.sum().backward()
    embedding = policy.learner.parameters["model.language_model.embed_tokens.weight"]
    shared.release(first)
    assert shared._held
    before = embedding.grad.clone()
    for batch in others:
        score_batch(policy.vlm, batch, 1.0, shared).logprobs.sum().backward()
        shared.release(batch)
    assert not shared._held
    untouched = np.setdiff1d(first.stem.ids, np.concatenate([b.rows.ids[b.rows.begin :] for b in [first, *others]]))
    assert len(untouched) and not before[untouched].any() and embedding.grad[untouched].any()
