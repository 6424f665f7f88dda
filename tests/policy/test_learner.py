"""The learner: exact gradients whatever the packing, references, skipped steps, exact resume."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from selfsight.errors import SelfsightError
from selfsight.policy import (
    Group,
    LearnerOptions,
    LoraOptions,
    LossOptions,
    Policy,
    Sampling,
)
from selfsight.policy.loss import group_advantages
from selfsight.policy.scoring import ScoreItem, score

from .conftest import FAST, PROMPTS, WITH_KL, Load, draw_groups, flat, groups_of, requests, rescored


def gradient(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in policy.learner.parameters.items() if p.grad is not None}


def test_the_gradient_equals_the_loss_written_out_on_full_logprobs(load: Load) -> None:
    """Two off-policy updates in: ratios, clipping and both KL terms are at work."""
    policy = load(learning=WITH_KL)
    policy.set_reference("phase")
    policy.set_reference("anchor")
    groups = draw_groups(policy)
    policy.learn(groups)
    policy.step()
    stats = policy.learn(groups)
    ours = gradient(policy)
    assert stats.ratio_max > 1.01 and stats.kl > 0 and stats.clip_fraction > 0

    policy.learner.optimiser.zero_grad()
    total, tokens = torch.zeros(()), 0
    for group in groups:
        advantages, _ = group_advantages(torch.from_numpy(group.rewards))
        for rollout, advantage in zip(group.rollouts, advantages.tolist(), strict=True):
            item = [ScoreItem(policy.vlm.encoder.encode(group.prompt), (rollout.token_ids,))]
            new = score(policy.vlm, item, 1.0).logprobs
            ref = torch.from_numpy(policy.logprobs([(group.prompt, rollout.token_ids)], reference="phase")[0])
            ratio = (new - torch.from_numpy(rollout.logprobs)).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
            kl = (ref - new).exp() - (ref - new) - 1
            total = total + (-surrogate + 0.07 * kl).sum()  # both references are the base here: .05 + .02
            tokens += len(new)
    (total / tokens).backward()
    theirs = gradient(policy)
    assert stats.loss == pytest.approx(float((total / tokens).detach()), abs=1e-5)
    for name, value in ours.items():
        assert (value - theirs[name]).norm() <= 1e-5 * (1 + theirs[name].norm()), name


def given(groups: list[Group], *advantages: float) -> list[Group]:
    """The rollouts one by one, each a group of its own with the next of these advantages in turn."""
    single = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
    return [
        Group(prompt, (rollout,), advantages=np.array([advantages[i % len(advantages)]]))
        for i, (prompt, rollout) in enumerate(single)
    ]


def test_given_advantages_give_the_loss_written_out_and_are_not_normalised(load: Load) -> None:
    policy = load(learning=WITH_KL)
    policy.set_reference("phase")
    policy.set_reference("anchor")
    policy.learn(draw_groups(policy))
    policy.step()
    policy.publish()
    groups = given(draw_groups(policy), -0.8, 0.25, 0.0)
    stats = policy.learn(groups)
    ours = gradient(policy)

    policy.learner.optimiser.zero_grad()
    total, tokens = torch.zeros(()), 0
    for group in groups:
        (rollout,), advantage = group.rollouts, float(group.advantages[0])
        item = [ScoreItem(policy.vlm.encoder.encode(group.prompt), (rollout.token_ids,))]
        new = score(policy.vlm, item, 1.0).logprobs
        ref = torch.from_numpy(policy.logprobs([(group.prompt, rollout.token_ids)], reference="anchor")[0])
        ratio = (new - torch.from_numpy(rollout.logprobs)).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
        kl = (ref - new).exp() - (ref - new) - 1
        total = total + (-surrogate + 0.07 * kl).sum()
        tokens += len(new)
    (total / tokens).backward()
    theirs = gradient(policy)
    assert stats.kl_anchor > 0
    assert stats.loss == pytest.approx(float((total / tokens).detach()), abs=1e-5)
    for name, value in ours.items():
        assert (value - theirs[name]).norm() <= 1e-5 * (1 + theirs[name].norm()), name


def test_advantages_equal_to_those_of_rewards_give_the_same_gradient(load: Load) -> None:
    policy = load(learning=FAST)
    groups = draw_groups(policy)
    policy.learn(groups)
    by_rewards = gradient(policy)
    policy.learner.optimiser.zero_grad()
    advantages = [group_advantages(torch.from_numpy(group.rewards))[0].numpy() for group in groups]
    policy.learn([Group(g.prompt, g.rollouts, advantages=a) for g, a in zip(groups, advantages, strict=True)])
    for name, value in gradient(policy).items():
        assert torch.equal(value, by_rewards[name]), name


def test_an_advantage_of_zero_is_not_run_through_the_model_unless_a_kl_needs_it(load: Load) -> None:
    for options, run in ((FAST, False), (WITH_KL, True)):
        policy = load(learning=options)
        policy.set_reference("phase")
        policy.set_reference("anchor")
        groups = given(draw_groups(policy), 0.0)
        stats = policy.learn(groups)
        assert (stats.zero_variance_groups, stats.groups) == (len(groups), len(groups))
        assert stats.tokens == sum(len(group.rollouts[0].token_ids) for group in groups)
        assert stats.tokens_scored == (stats.tokens if run else 0)
        assert bool(gradient(policy)) == run


def test_a_group_has_either_rewards_or_advantages_one_for_each_rollout(load: Load) -> None:
    group = draw_groups(load(learning=FAST))[0]
    values = np.zeros(len(group.rollouts))
    with pytest.raises(ValueError, match="either rewards or advantages"):
        Group(group.prompt, group.rollouts)
    with pytest.raises(ValueError, match="either rewards or advantages"):
        Group(group.prompt, group.rollouts, values, values)
    with pytest.raises(ValueError, match="4 rollouts but 3 advantages"):
        Group(group.prompt, group.rollouts, advantages=values[1:])


@pytest.mark.parametrize("options", [FAST, WITH_KL], ids=["no-kl", "kl"])
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(load: Load, options: LearnerOptions) -> None:
    policy = load(learning=options)
    policy.set_reference("phase")
    policy.set_reference("anchor")
    groups = draw_groups(policy)
    policy.learn(groups)
    policy.step()
    found = []
    for budget in (1, 100, 100_000):
        policy.learner.options = replace(options, token_budget=budget)
        stats = policy.learn(groups)
        found.append((gradient(policy), stats))
        policy.learner.optimiser.zero_grad()
    for cut, stats in found[1:]:
        assert stats.loss == pytest.approx(found[0][1].loss, abs=1e-6)
        for name, value in cut.items():
            assert (value - found[0][0][name]).norm() <= 1e-6 * (1 + value.norm()), name


def test_the_ratio_is_one_on_the_first_update_of_a_batch(load: Load) -> None:
    policy = load(learning=FAST)
    for temperature in (1.0, 0.7):
        stats = policy.learn(draw_groups(policy, temperature=temperature))
        assert stats.ratio_max == pytest.approx(1.0, abs=1e-4)
        assert stats.mismatch_kl < 1e-7 and stats.clip_fraction == 0
        policy.step()
        policy.publish()


def misreported(groups: list[Group], by: float) -> list[Group]:
    """The groups as a sampler would have reported them that finds every token likelier by `by` nats."""
    return [
        replace(group, rollouts=tuple(replace(r, logprobs=r.logprobs + np.float32(by)) for r in group.rollouts))
        for group in groups
    ]


@pytest.mark.parametrize("by", [-0.3, 0.3])
def test_another_engine_s_numbers_weigh_tokens_and_leave_the_ratio_at_one(load: Load, by: float) -> None:
    policy = load(learning=FAST)
    groups = draw_groups(policy)
    policy.learn(groups)
    honest = gradient(policy)
    policy.learner.optimiser.zero_grad()
    stats = policy.learn(misreported(groups, by))
    assert (stats.ratio_max, stats.clip_fraction, stats.importance_capped) == (1.0, 0.0, 0.0)
    assert stats.mismatch_kl == pytest.approx(np.exp(-by) + by - 1, rel=1e-3)
    for name, value in gradient(policy).items():
        assert torch.allclose(value, honest[name] * np.exp(-by), rtol=1e-3, atol=1e-6), name


def test_a_weight_is_cut_at_the_cap(load: Load) -> None:
    policy = load(learning=replace(FAST, loss=replace(FAST.loss, importance_cap=1.5)))
    groups = draw_groups(policy)
    policy.learn(groups)
    honest = gradient(policy)
    policy.learner.optimiser.zero_grad()
    stats = policy.learn(misreported(groups, -3.0))
    assert stats.importance_capped == 1.0
    for name, value in gradient(policy).items():
        assert torch.allclose(value, honest[name] * 1.5, rtol=1e-3, atol=1e-6), name


def test_later_passes_compare_with_the_weights_that_sampled(load: Load) -> None:
    """Not with the sampler's numbers: a second pass of a misreporting sampler has the ratios of an honest one."""
    found = []
    for by in (0.0, 0.3):
        policy = load(learning=replace(FAST, loss=replace(FAST.loss, beta=0.0)))
        groups = misreported(draw_groups(policy), by)
        policy.learn(groups)
        policy.step()
        found.append(policy.learn(groups))
    honest, other = found
    assert honest.ratio_max > 1.01
    assert other.ratio_max == pytest.approx(honest.ratio_max, rel=1e-3)


def test_a_stale_batch_shows_in_ratio_and_mismatch(load: Load) -> None:
    policy = load(learning=FAST)
    groups = draw_groups(policy)
    policy.learn(groups)
    policy.step()
    stats = policy.learn(groups)
    assert stats.ratio_max > 1.01 and stats.mismatch_kl > 1e-4


def test_learning_raises_the_probability_of_what_is_rewarded(load: Load) -> None:
    policy = load(learning=LearnerOptions(learning_rate=3e-4, loss=LossOptions(beta=0.0)))
    groups = draw_groups(policy)
    best = [(group.prompt, group.rollouts[-1].token_ids) for group in groups]
    worst = [(group.prompt, group.rollouts[0].token_ids) for group in groups]
    before = [policy.logprobs(pairs) for pairs in (best, worst)]
    for _ in range(3):
        policy.learn(groups)
        policy.step()
    after = [policy.logprobs(pairs) for pairs in (best, worst)]
    gain = [np.concatenate(a).mean() - np.concatenate(b).mean() for a, b in zip(after, before, strict=True)]
    assert gain[0] > 0 > gain[1]


def test_groups_without_signal_leave_the_weights_to_weight_decay_and_are_counted(load: Load) -> None:
    policy = load(learning=FAST)
    groups = [Group(g.prompt, g.rollouts, np.full(len(g.rollouts), 0.5)) for g in draw_groups(policy)]
    stats = policy.learn(groups)
    assert (stats.zero_variance_groups, stats.loss, stats.tokens_scored) == (len(groups), 0.0, 0)
    assert stats.tokens == sum(len(r.token_ids) for g in groups for r in g.rollouts)
    before = policy.weights_hash()
    assert policy.step().grad_norm == 0.0
    assert policy.weights_hash() == before  # no gradient at all: AdamW passes over every tensor


def test_groups_without_signal_still_count_as_tokens(load: Load) -> None:
    policy = load(learning=FAST)
    groups = draw_groups(policy)
    policy.learn(groups[:1])
    alone = gradient(policy)
    policy.learner.optimiser.zero_grad()
    dull = [Group(g.prompt, g.rollouts, np.zeros(len(g.rollouts))) for g in groups[1:]]
    policy.learn([groups[0], *dull])
    share = sum(len(r.token_ids) for r in groups[0].rollouts) / sum(
        len(r.token_ids) for g in groups for r in g.rollouts
    )
    for name, value in gradient(policy).items():
        assert torch.allclose(value, alone[name] * share, atol=1e-7), name


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
def test_references_stay_where_they_were_set(load: Load, lora: LoraOptions | None) -> None:
    policy = load(learning=WITH_KL, lora=lora)
    groups = draw_groups(policy)
    pairs = [(g.prompt, r.token_ids) for g in groups for r in g.rollouts]
    base = np.concatenate(policy.logprobs(pairs))
    policy.set_reference("anchor")
    policy.set_reference("phase")
    for _ in range(2):
        policy.learn(groups)
        policy.step()
    moved = np.concatenate(policy.logprobs(pairs))
    policy.set_reference("phase")
    policy.learn(groups)
    policy.step()
    assert np.abs(np.concatenate(policy.logprobs(pairs, reference="anchor")) - base).max() < 1e-5
    assert np.abs(np.concatenate(policy.logprobs(pairs, reference="phase")) - moved).max() < 1e-5
    now = np.concatenate(policy.logprobs(pairs))
    assert np.abs(moved - base).max() > 1e-3 and np.abs(now - moved).max() > 1e-3


def test_with_adapters_the_anchor_is_the_base_even_when_set_late(load: Load) -> None:
    policy = load(learning=WITH_KL, lora=LoraOptions(rank=2))
    policy.set_reference("phase")
    policy.set_reference("anchor")
    groups = draw_groups(policy)
    pairs = [(g.prompt, r.token_ids) for g in groups for r in g.rollouts]
    base = np.concatenate(policy.logprobs(pairs))
    policy.learn(groups)
    policy.step()
    policy.set_reference("anchor")
    assert np.abs(np.concatenate(policy.logprobs(pairs, reference="anchor")) - base).max() < 1e-5
    assert policy.learn(groups).kl_anchor > 0


def test_scoring_under_a_reference_leaves_the_weights_alone(load: Load) -> None:
    policy = load(learning=WITH_KL)
    policy.set_reference("phase")
    policy.set_reference("anchor")
    groups = draw_groups(policy)
    policy.learn(groups)
    policy.step()
    before = policy.weights_hash()
    policy.logprobs([(PROMPTS[0], groups[0].rollouts[0].token_ids)], reference="anchor")
    assert policy.weights_hash() == before
    with pytest.raises(SelfsightError, match="'phase' reference"):
        load(learning=FAST).logprobs([(PROMPTS[0], np.array([20]))], reference="phase")


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_step_that_is_not_finite_is_skipped_and_the_third_in_a_row_stops(load: Load, poison: float) -> None:
    policy = load(learning=FAST)
    groups = draw_groups(policy)
    bad = [Group(groups[0].prompt, groups[0].rollouts, np.array([0.0, 1.0, poison, 0.0])), *groups[1:]]
    before = policy.weights_hash()
    for expected in (1, 2):
        assert not policy.learn(bad).finite
        stats = policy.step()
        assert stats.skipped and stats.skipped_total == expected and stats.weight_version == 0
    assert policy.weights_hash() == before
    policy.learn(bad)
    with pytest.raises(SelfsightError, match="3 steps in a row"):
        policy.step()
    assert policy.weights_hash() == before


def test_one_good_step_between_bad_ones_keeps_the_run_alive(load: Load) -> None:
    policy = load(learning=FAST)
    groups = draw_groups(policy)
    bad = [Group(g.prompt, g.rollouts, np.full(len(g.rollouts), np.nan)) for g in groups]
    for _ in range(2):
        for batch in (bad, bad, groups):
            policy.learn(batch)
            stats = policy.step()
        assert not stats.skipped
    assert stats.skipped_total == 4 and stats.weight_version == 2


def test_greedy_or_mixed_rollouts_cannot_be_learned_from(load: Load) -> None:
    policy = load(learning=FAST)
    asked = requests()
    greedy = groups_of(asked, policy.sample(asked, Sampling(greedy=True, max_completion_length=4)))
    with pytest.raises(ValueError, match="greedy"):
        policy.learn(greedy)
    with pytest.raises(ValueError, match="one temperature"):
        policy.learn(draw_groups(policy) + draw_groups(policy, temperature=0.5))
    with pytest.raises(ValueError, match="no groups"):
        policy.learn([])


def test_gradients_are_clipped_to_the_norm(load: Load) -> None:
    policy = load(learning=replace(FAST, max_grad_norm=1e-3))
    policy.learn(draw_groups(policy))
    seen: list[float] = []
    policy.learner.optimiser.register_step_pre_hook(
        lambda *_: seen.append(float(sum(g.pow(2).sum() for g in gradient(policy).values()) ** 0.5))
    )
    stats = policy.step()
    assert stats.grad_norm > 0.1 and seen[0] == pytest.approx(1e-3, rel=1e-3)


def test_warm_up_rises_to_the_rate_and_starts_again_with_a_phase(load: Load) -> None:
    policy = load(learning=LearnerOptions(learning_rate=1e-3, warmup_steps=3, loss=LossOptions(beta=0.01)))
    rates = []
    for _ in range(2):
        policy.begin_phase()
        groups = draw_groups(policy)
        for _ in range(5):
            policy.learn(groups)
            rates.append(policy.step().learning_rate)
        policy.publish()
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3] * 2)


def test_a_phase_starts_with_its_own_reference_and_an_empty_optimiser(load: Load) -> None:
    policy = load(learning=LearnerOptions(learning_rate=1e-3, loss=LossOptions(beta=0.01)))
    policy.begin_phase()
    groups = draw_groups(policy)
    policy.learn(groups)
    policy.step()
    assert policy.learn(groups).kl > 0
    policy.step()
    policy.begin_phase()
    assert policy.learn(groups).kl == 0.0
    assert not policy.learner.optimiser.state


def test_gradient_checkpointing_changes_nothing_but_the_time(load: Load) -> None:
    found = []
    for checkpointing in (False, True):
        policy = load(learning=FAST, gradient_checkpointing=checkpointing)
        calls: list[int] = []
        layer = policy.vlm.model.model.language_model.layers[0].mlp
        groups = draw_groups(policy)
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        policy.learn(groups)
        found.append((gradient(policy), len(calls)))
    assert found[1][1] == 2 * found[0][1]  # every layer ran once more, in the backward pass
    for name, value in found[0][0].items():
        assert torch.allclose(value, found[1][0][name], atol=1e-7), name


@pytest.mark.parametrize("backend", ["shared", "padded"])
@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
def test_gradient_checkpointing_leaves_the_sampler_its_cache(
    load: Load, backend: str, lora: LoraOptions | None
) -> None:
    """transformers drops the cache of a layer that is checkpointed; every token but the first was drawn from noise."""
    plain, checkpointed = (
        load(learning=FAST, backend=backend, lora=lora, gradient_checkpointing=on) for on in (False, True)
    )
    for _ in range(2):  # after an update, too
        drawn = checkpointed.sample(requests(), Sampling(max_completion_length=8))
        assert flat(drawn) == flat(plain.sample(requests(), Sampling(max_completion_length=8)))
        assert rescored(checkpointed, drawn) < 1e-4
        for policy in (plain, checkpointed):
            policy.learn(groups_of(requests(), drawn))
            policy.step()
            policy.publish()


def test_a_head_in_chunks_gives_the_same_gradient(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for limit in (1 << 25, 4000):
        monkeypatch.setattr("selfsight.policy.vocabulary._LOGITS", limit)
        policy = load(learning=FAST)
        policy.learn(draw_groups(policy))
        found.append(gradient(policy))
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-6), name


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
def test_resuming_from_a_checkpoint_is_bitwise_the_undisturbed_run(load: Load, lora, tmp_path) -> None:  # type: ignore[no-untyped-def]
    def train(policy: Policy, steps: int) -> None:
        for _ in range(steps):
            groups = draw_groups(policy)
            for _ in range(2):
                policy.learn(groups)
                policy.step()
            policy.publish()

    whole = load(learning=WITH_KL, lora=lora)
    whole.set_reference("anchor")
    whole.begin_phase()
    train(whole, 1)
    tensors, counters = whole.state_dict()
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, tmp_path / "state.safetensors")
    stored = json.loads(json.dumps(counters))
    train(whole, 2)

    again = load(learning=WITH_KL, lora=lora)
    again.load_state_dict(load_file(tmp_path / "state.safetensors"), stored)
    assert again.weight_version == 2
    train(again, 2)
    assert again.weights_hash() == whole.weights_hash()
    assert again.state_dict()[1] == whole.state_dict()[1]


def test_a_checkpoint_of_another_setting_is_refused(load: Load) -> None:
    tensors, counters = load(learning=FAST, lora=LoraOptions(rank=2)).state_dict()
    with pytest.raises(SelfsightError, match="lacks"):
        load(learning=FAST).load_state_dict(tensors, counters)


def test_bfloat16_learns_with_adapters_and_in_full(load: Load) -> None:
    for lora in (None, LoraOptions(rank=2)):
        policy = load(learning=FAST, dtype="bfloat16", lora=lora)
        before = policy.weights_hash()
        stats = policy.learn(draw_groups(policy))
        assert stats.finite and stats.mismatch_kl < 1e-2
        assert not policy.step().skipped and policy.weights_hash() != before
