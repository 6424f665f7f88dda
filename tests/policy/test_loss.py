"""GRPO against hand-computed numbers and a numpy reference."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.policy.loss import LossOptions, group_advantages, grpo_token_loss, k3


def test_advantages_of_one_success_in_four_by_hand() -> None:
    advantages, flat = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert not flat  # mean .25, unbiased std .5
    assert advantages.tolist() == pytest.approx([0.75 / (0.5 + 1e-6), *[-0.25 / (0.5 + 1e-6)] * 3], abs=1e-12)


@pytest.mark.parametrize("rewards", [[0.5] * 8, [1.0], [0.1 + 0.2, 0.3], [0.0, 0.0009, 0.0005]])
def test_a_group_without_real_differences_gets_exact_zeros(rewards: list[float]) -> None:
    advantages, flat = group_advantages(torch.tensor(rewards, dtype=torch.float64))
    assert flat
    assert advantages.tolist() == [0.0] * len(rewards)


def test_a_difference_above_the_threshold_is_signal() -> None:
    advantages, flat = group_advantages(torch.tensor([0.0, 0.002]))
    assert not flat and advantages[1] > 0.5


def test_token_loss_by_hand() -> None:
    behaviour = torch.log(torch.tensor([0.5, 0.5, 0.5, 0.5]))
    logprobs = torch.log(torch.tensor([0.5, 0.75, 0.25, 0.75])).requires_grad_()
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    out = grpo_token_loss(logprobs, behaviour, advantages, LossOptions(0.2, 0.28, 0.0, 0.0))
    # ratios 1, 1.5, .5, 1.5: the second is cut to 1.28, the third to .8, the fourth is punished in full
    assert out.loss.tolist() == pytest.approx([-1.0, -1.28, 0.8, 1.5], abs=1e-6)
    assert out.clipped.tolist() == [False, True, True, False]
    out.loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1.0, 0.0, 0.0, 1.5], abs=1e-6)


def test_the_sampler_s_other_numbers_weigh_a_token_and_do_not_count_as_a_step_of_the_policy() -> None:
    behaviour = torch.log(torch.tensor([0.5, 0.5, 0.1, 0.5]))
    old = torch.log(torch.tensor([0.5, 0.75, 0.5, 0.25]))
    logprobs = torch.log(torch.tensor([0.75, 0.75, 0.5, 0.25])).requires_grad_()
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    out = grpo_token_loss(logprobs, behaviour, advantages, LossOptions(0.2, 0.28, 0.0, 0.0, 2.0), old=old)
    # rho 1.5, 1, 1, 1: only the first is clipped; weights 1, 1.5, 5 cut to 2, .5
    assert out.ratio.tolist() == pytest.approx([1.5, 1.0, 1.0, 1.0])
    assert out.clipped.tolist() == [True, False, False, False]
    assert out.capped.tolist() == [False, False, True, False]
    assert out.loss.tolist() == pytest.approx([-1.28, -1.5, 2.0, 0.5], abs=1e-6)
    out.loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, -1.5, 2.0, 0.5], abs=1e-6)


def test_k3_by_hand_and_never_negative() -> None:
    value = k3(torch.log(torch.tensor([0.5, 0.4])), torch.log(torch.tensor([0.25, 0.4])))
    assert value.tolist() == pytest.approx([0.5 - math.log(0.5) - 1, 0.0], abs=1e-6)


def _numpy_loss(new: np.ndarray, old: np.ndarray, a: np.ndarray, ref: np.ndarray, base: np.ndarray) -> np.ndarray:
    ratio = np.exp(new - old)
    policy = -np.minimum(ratio * a, np.clip(ratio, 0.8, 1.28) * a)
    return policy + 0.01 * (np.exp(ref - new) - (ref - new) - 1) + 0.05 * (np.exp(base - new) - (base - new) - 1)


_logprobs = st.floats(-8, 0, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(_logprobs, _logprobs, st.floats(-3, 3), _logprobs, _logprobs), min_size=1, max_size=9))
def test_token_loss_equals_the_numpy_reference(rows: list[tuple[float, ...]]) -> None:
    new, old, a, ref, base = (np.array(column) for column in zip(*rows, strict=True))
    tensors = [torch.from_numpy(x) for x in (new, old, a, ref, base)]
    out = grpo_token_loss(*tensors[:3], LossOptions(0.2, 0.28, 0.01, 0.05), reference=tensors[3], anchor=tensors[4])
    np.testing.assert_allclose(out.loss.numpy(), _numpy_loss(new, old, a, ref, base), rtol=1e-9, atol=1e-9)


def test_an_extreme_ratio_stays_finite_in_loss_and_gradient() -> None:
    logprobs = torch.zeros(2, requires_grad=True)
    out = grpo_token_loss(logprobs, torch.tensor([-500.0, 500.0]), torch.tensor([1.0, -1.0]), LossOptions(beta=0))
    out.loss.sum().backward()
    assert logprobs.grad is not None and torch.isfinite(logprobs.grad).all()


def test_a_kl_weight_without_its_reference_is_an_error() -> None:
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="phase reference"):
        grpo_token_loss(one, one, one, LossOptions(beta=0.1))
    with pytest.raises(ValueError, match="anchor"):
        grpo_token_loss(one, one, one, LossOptions(beta=0.0, beta_anchor=0.1))
