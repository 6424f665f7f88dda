"""Log-probs over the vocabulary, in chunks of tokens.

At 150,000 entries the logits of one micro-batch are larger than the model's activations. The head is therefore
applied to at most `_LOGITS` / vocabulary tokens at a time; when that takes more than one chunk, each is computed
again in the backward pass, so no larger tensor exists at any moment. Entropy comes from the same softmax.

Left out: the gradient in the forward pass, as fused losses do it. It would save the second head product, but
ties this file to one loss.

Shapes: N tokens, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

_LOGITS = 1 << 25  # logits held at once


@dataclass(frozen=True, eq=False)
class Scores:
    """Log-probs and entropy of scored tokens, (N,) float32. Entropy has no gradient."""

    logprobs: Tensor
    entropy: Tensor


def masked_logits(logits: Tensor, banned: Tensor, temperature: float) -> Tensor:
    """What is sampled from and learned, before the softmax: float32, banned at -inf, over temperature."""
    logits = logits.float().masked_fill(banned, -torch.inf)
    return logits if temperature == 1.0 else logits / temperature


def token_scores(
    rows: Tensor, head: Callable[[Tensor], Tensor] | None, targets: Tensor, banned: Tensor, temperature: float
) -> Scores:
    """Scores of `targets` (N,) from hidden states `rows` (N, hidden), or from logits (N, V) where `head` is None."""

    def scores(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = _Picked.apply(rows if head is None else head(rows), targets, banned, temperature)
        return found

    at_once = max(1, _LOGITS // len(banned))
    if len(rows) <= at_once:
        return Scores(*scores(rows, targets))
    chunks = [
        checkpoint(scores, some, their, use_reentrant=False, preserve_rng_state=False)
        for some, their in zip(rows.split(at_once), targets.split(at_once), strict=True)
    ]
    return Scores(torch.cat([c[0] for c in chunks]), torch.cat([c[1] for c in chunks]))


class _Picked(torch.autograd.Function):
    """log p(target) and entropy; d log p(t) / d logit_v = ([v = t] - p_v) / temperature."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, banned: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logprobs = masked_logits(logits, banned, temperature)
        logprobs.sub_(logprobs.logsumexp(-1, keepdim=True))
        picked = logprobs.gather(-1, targets[:, None])[:, 0]
        probabilities = logprobs.exp_()
        # 0 for the banned, whose log is -inf; and not a product that autocast would take in bfloat16.
        entropy = torch.special.entr(probabilities).sum(-1)
        ctx.save_for_backward(probabilities, targets)
        ctx.temperature, ctx.kind = temperature, logits.dtype
        ctx.mark_non_differentiable(entropy)
        return picked, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        probabilities, targets = ctx.saved_tensors
        grad = (grad / ctx.temperature)[:, None]
        found = probabilities * -grad
        found.scatter_add_(-1, targets[:, None], grad)
        return found.to(ctx.kind), None, None, None
