"""Attention over a row of tries, as blocks between nodes.

A token sees the tokens of its root path. For a row laid out as `trie` says, that is one causal block per node
(its own span) and one block without any mask per inner node (its span, seen by all its descendants at once).
Every block is a plain attention that also returns the log of its softmax sum; two results over disjoint keys
join exactly:

    lse = log(e^lse_1 + e^lse_2)        out = out_1 e^(lse_1 - lse) + out_2 e^(lse_2 - lse)

Backward, the softmax weights of a block are exp(score - lse) with the *joined* lse, and the usual backward of
flash attention (arXiv 2205.14135, eq. 4 of its appendix) adds up over the blocks when it is given the joined
output and lse. So no mask, no repeated key and nothing of size S x S exists; cost is linear in completions.

Kernels of a block:
  Fused    PyTorch's flash attention for CPUs, in the form that hands out the lse. That form is an operator
           below the public function; `kernel_for` compares it with `Products` before it is used.
  Products matrix products in slices of queries; any device.

`DenseMask` computes the same from an S x S mask, for reading and for tests.

Left out: a CUDA kernel. FlexAttention takes the rule of `trie` as it is (`k <= q < reach[k]`), but has no
backward pass on CPUs, where it could not be tested; a kernel with (out, lse) forward and backward is all that
is needed here.

Shapes: H query heads = K key heads x `rep`, S tokens of the row, D head size; q (1, H, S, D), k, v (1, K, S, D).
"""

import logging
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from selfsight.policy.trie import Row

logger = logging.getLogger(__name__)

_SCORES = 1 << 24  # attention scores held at once by `Products`


class Block(NamedTuple):
    """Queries [q0, q1) look at keys [k0, k1), causally if the two are the same span."""

    q0: int
    q1: int
    k0: int
    k1: int
    causal: bool


class Kernel(Protocol):
    """One block; q (1, H, Q, D), k and v (1, K, M, D), out like q, lse (1, H, Q) float32."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]: ...

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]: ...


class Fused:
    """Flash attention for CPUs."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
        return out, lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, scale=scale
        )
        return found


class Products:
    """Two matrix products forward, five backward; the query heads of a key head become more queries of it."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        outs, lses = [], []
        for first, last in self._slices(q, k):
            scores = self._scores(q[:, :, first:last], k, first if causal else None, scale)
            lse = scores.logsumexp(-1)
            weights = scores.sub_(lse[..., None]).exp_().to(v.dtype)
            outs.append(_unfold(weights @ v[0], q.shape[1]))
            lses.append(lse.reshape(1, q.shape[1], -1))
        return torch.cat(outs, dim=2), torch.cat(lses, dim=2)

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        K, H = k.shape[1], q.shape[1]
        delta = (grad * out).sum(-1, dtype=torch.float32)
        grad_q, grad_k, grad_v = (
            [],
            torch.zeros_like(k[0], dtype=torch.float32),
            torch.zeros_like(v[0], dtype=torch.float32),
        )
        for first, last in self._slices(q, k):
            scores = self._scores(q[:, :, first:last], k, first if causal else None, scale)
            weights = scores.sub_(lse[:, :, first:last].reshape(K, -1, 1)).exp_()
            g, folded = _fold(grad[:, :, first:last], K), _fold(q[:, :, first:last], K)
            grad_v += weights.to(g.dtype).transpose(-1, -2) @ g
            inner = (g @ v[0].transpose(-1, -2)).float() - delta[:, :, first:last].reshape(K, -1, 1)
            grad_scores = inner.mul_(weights).mul_(scale).to(q.dtype)
            grad_q.append(_unfold(grad_scores @ k[0], H))
            grad_k += grad_scores.transpose(-1, -2) @ folded
        return torch.cat(grad_q, dim=2), grad_k[None], grad_v[None]

    def _slices(self, q: Tensor, k: Tensor) -> list[tuple[int, int]]:
        at_once = max(1, _SCORES // (q.shape[1] * k.shape[2]))
        return [(first, min(first + at_once, q.shape[2])) for first in range(0, q.shape[2], at_once)]

    def _scores(self, q: Tensor, k: Tensor, first: int | None, scale: float) -> Tensor:
        """(K, rep * Q, M) float32; with `first` causal, that being the place of the first query."""
        scores = (_fold(q, k.shape[1]) @ k[0].transpose(-1, -2)).float().mul_(scale)
        if first is not None:
            count, keys = q.shape[2], k.shape[2]
            hidden = torch.ones((count, keys), dtype=torch.bool, device=q.device).triu_(first + 1)
            scores.view(k.shape[1], -1, count, keys).masked_fill_(hidden, -torch.inf)
        return scores


def _fold(x: Tensor, K: int) -> Tensor:
    """(1, H, Q, D) to (K, rep * Q, D)."""
    return x.reshape(K, -1, x.shape[-1])


def _unfold(x: Tensor, H: int) -> Tensor:
    """(K, rep * Q, D) to (1, H, Q, D)."""
    return x.reshape(1, H, -1, x.shape[-1])


@cache
def kernel_for(device_type: str) -> Kernel:
    """`Fused` on a CPU whose PyTorch has it and agrees with `Products`, backward included; else `Products`."""
    if device_type != "cpu":
        return Products()
    try:
        difference = _difference(Fused(), Products())
    except (AttributeError, RuntimeError, TypeError) as error:  # another PyTorch: no such operator, or another form
        logger.warning("attention by plain matrix products: no fused kernel here (%s)", error)
        return Products()
    if not difference < 1e-4:
        logger.warning("attention by plain matrix products: the fused kernel differs by %.1e", difference)
        return Products()
    return Fused()


def _difference(one: Kernel, other: Kernel) -> float:
    """Largest difference in outputs and gradients on a small example, with and without a mask."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn((1, heads, 5, 32), generator=generator) for heads in (4, 2, 2, 4))
    worst = 0.0
    for causal in (True, False):
        out, lse = other.forward(q, k, v, causal, 0.2)
        pairs = list(zip(one.forward(q, k, v, causal, 0.2), (out, lse), strict=True))
        gradients = (kernel.backward(grad, q, k, v, out, lse, causal, 0.2) for kernel in (one, other))
        pairs.extend(zip(*gradients, strict=True))
        worst = max(worst, *(float((a - b).abs().max()) for a, b in pairs))
    return worst


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: tuple[Block, ...], kernel: Kernel, scale: float
    ) -> Tensor:
        """(1, H, S, D); every token lies in exactly one causal block, and these come first."""
        _, H, S, D = q.shape
        out = torch.empty((1, S, H, D), dtype=torch.float32, device=q.device).transpose(1, 2)
        lse = torch.empty((1, H, S), dtype=torch.float32, device=q.device)
        for q0, q1, k0, k1, causal in blocks:
            part, part_lse = kernel.forward(q[:, :, q0:q1], k[:, :, k0:k1], v[:, :, k0:k1], causal, scale)
            if causal:
                out[:, :, q0:q1], lse[:, :, q0:q1] = part, part_lse
                continue
            before = lse[:, :, q0:q1]
            joined = torch.logaddexp(before, part_lse)
            out[:, :, q0:q1].mul_((before - joined).exp()[..., None])
            out[:, :, q0:q1].addcmul_(part.float(), (part_lse - joined).exp()[..., None])
            lse[:, :, q0:q1] = joined
        out = out.to(v.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.blocks, ctx.kernel, ctx.scale = blocks, kernel, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        grad = grad.contiguous() if grad.stride(-1) != 1 else grad
        grad_q, grad_k, grad_v = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (q, k, v))
        for q0, q1, k0, k1, causal in ctx.blocks:
            part_q, part_k, part_v = ctx.kernel.backward(
                grad[:, :, q0:q1],
                q[:, :, q0:q1],
                k[:, :, k0:k1],
                v[:, :, k0:k1],
                out[:, :, q0:q1],
                lse[:, :, q0:q1],
                causal,
                ctx.scale,
            )
            grad_q[:, :, q0:q1] += part_q
            grad_k[:, :, k0:k1] += part_k
            grad_v[:, :, k0:k1] += part_v
        return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), None, None, None


def blocks_of(row: Row) -> tuple[Block, ...]:
    """Every node's own span, then every inner node's span under its descendants."""
    nodes = list(zip(row.starts.tolist(), row.stops.tolist(), row.ends.tolist(), strict=True))
    own = [Block(start, stop, start, stop, True) for start, stop, _ in nodes]
    below = [Block(stop, end, start, stop, False) for start, stop, end in nodes if end > stop]
    return (*own, *below)


class TrieAttention:
    """The attention of a row's tokens, by blocks."""

    def __init__(self, row: Row, device: torch.device) -> None:
        self.blocks = blocks_of(row)
        self.kernel = kernel_for(device.type)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if torch.is_autocast_enabled(q.device.type):
            kind = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(kind), k.to(kind), v.to(kind)
        out: Tensor = _Blocks.apply(q, k, v, self.blocks, self.kernel, scale)
        return out.transpose(1, 2)


class DenseMask:
    """The same by an S x S mask: token q sees token k when k <= q < reach[k]."""

    def __init__(self, row: Row, device: torch.device) -> None:
        place = np.arange(len(row))
        seen = (place <= place[:, None]) & (place[:, None] < row.reach)
        self.mask = torch.from_numpy(seen).to(device)[None, None]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        out = scaled_dot_product_attention(
            q, k, v, attn_mask=self.mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(1, 2)
