"""GRPO as pure functions on tensors.

    A_i  = (r_i - mean) / (std + 1e-6)                     std unbiased, over the group of one prompt
    loss = - w min(rho A, clip(rho, 1 - eps_lo, 1 + eps_hi) A) + sum_ref beta_ref * k3(pi || ref)
    rho  = pi / pi_old per sampled token, end-of-sequence included
    w    = min(pi_old / pi_behaviour, C)                   truncated importance sampling
    k3   = exp(d) - d - 1,  d = log ref - log pi           (unbiased, never negative)

`old` is the learner with the weights that sampled, `behaviour` what the sampler itself said. Another engine or number
format gives the same weights other log-probs, and that is no step of the policy: the clip must not count it, and a
token that the sampler thought far less likely than the learner must not outweigh all others. Where the two agree, w is
1, and rho is exactly 1 on the first update of a batch.

Sources: GRPO, arXiv 2402.03300; the wider upper clip, arXiv 2503.14476 (DAPO); k3, J. Schulman 2020; the ratio apart
from the correction of what was sampled, arXiv 2110.00641 (decoupled PPO); its truncation, F. Yao et al. 2025, "Your
efficient RL framework secretly brings you off-policy RL training".

The mean runs over all tokens of the batch ("token_mean"), not per sample first: a per-sample mean pays less
per token for long answers. Left out: per-sample means, the dual clip and sequence-level ratios.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ADVANTAGE_EPS = 1e-6
EQUAL_REWARDS = 1e-3
_LOG_RATIO_LIMIT = 20.0  # exp stays finite; beyond it the clip has long cut the gradient


@dataclass(frozen=True)
class LossOptions:
    """`beta` weighs the KL to the weights at the start of the phase, `beta_anchor` that to the base model.

    `importance_cap` is C, where the weight of a token is cut.
    """

    eps_lo: float = 0.2
    eps_hi: float = 0.28
    beta: float = 0.01
    beta_anchor: float = 0.0
    importance_cap: float = 2.0


@dataclass(frozen=True, eq=False)
class TokenLoss:
    """Per-token parts, each (N,); `loss` carries the gradient, the others do not.

    `ratio` is rho, `clipped` where the clip took the gradient away, `capped` where C cut the weight.
    """

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    capped: Tensor
    kl: Tensor
    kl_anchor: Tensor


def group_advantages(rewards_G: Tensor) -> tuple[Tensor, bool]:
    """(G,) advantages in float64, and whether the group carries no signal.

    Rewards that span less than 1e-3 count as equal: dividing by their tiny deviation would turn noise into
    advantages of size 1. Such a group, like one of equal rewards or of one sample, gets exact zeros.
    """
    rewards_G = rewards_G.double()
    if len(rewards_G) < 2 or float(rewards_G.max() - rewards_G.min()) < EQUAL_REWARDS:
        return torch.zeros_like(rewards_G), True
    deviation = rewards_G.std(unbiased=True)
    return (rewards_G - rewards_G.mean()) / (deviation + ADVANTAGE_EPS), False


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Per-token estimate of KL(pi || reference) from tokens that pi sampled."""
    difference = (reference - logprobs).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    return torch.expm1(difference) - difference


def grpo_token_loss(
    logprobs: Tensor,
    behaviour: Tensor,
    advantages: Tensor,
    options: LossOptions,
    *,
    old: Tensor | None = None,
    reference: Tensor | None = None,
    anchor: Tensor | None = None,
) -> TokenLoss:
    """The loss of each token; all arguments are (N,). A reference is needed where its beta is not zero.

    Without `old` the sampler's word is the learner's: rho is pi / pi_behaviour, and w is 1.
    """
    if options.beta > 0 and reference is None:
        raise ValueError("beta is above 0 but there are no log-probs of the phase reference")
    if options.beta_anchor > 0 and anchor is None:
        raise ValueError("beta_anchor is above 0 but there are no log-probs of the anchor")
    old = behaviour if old is None else old
    ratio = _ratio(logprobs, old)
    importance = _ratio(old, behaviour)
    bounded = ratio.clamp(1 - options.eps_lo, 1 + options.eps_hi)
    plain, cut = ratio * advantages, bounded * advantages
    zero = torch.zeros_like(logprobs)
    kl = k3(logprobs, reference) if reference is not None else zero
    kl_anchor = k3(logprobs, anchor) if anchor is not None else zero
    weight = importance.clamp(max=options.importance_cap)
    loss = -weight * torch.minimum(plain, cut) + options.beta * kl + options.beta_anchor * kl_anchor
    capped = importance > options.importance_cap
    return TokenLoss(loss, ratio.detach(), (cut < plain).detach(), capped, kl.detach(), kl_anchor.detach())


def _ratio(logprobs: Tensor, others: Tensor) -> Tensor:
    return (logprobs - others).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT).exp()
