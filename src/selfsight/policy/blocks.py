"""Attention over a row of tries, as blocks between nodes.

A token sees the tokens of its root path. For a row laid out as `trie` says, that is one causal block per node
(its own span) and one block without any mask per inner node (its span, seen by all its descendants at once).
Spans of nearly one length are computed together: answers are many and short, and a call for each would cost more than
its arithmetic. Every block is a plain attention that also returns the log of its softmax sum; two results over disjoint
keys join exactly:

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

Shapes: H query heads = K key heads x `rep`, S tokens of the row, D head size; q (1, H, S, D), k, v (1, K, S, D); n
spans of one block.
"""

import logging
from collections import defaultdict
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
    """n spans of queries that look at one span of keys each; `queries` (n, Q) and `keys` (n, M) are places in the row.

    `causal`: keys are the queries' own places, and each looks at those up to itself. Spans of nearly one length stand
    in one block: a shorter one is filled up with its last place. No query that counts looks at what was filled up, and
    what is computed there is dropped: `real` (n, Q) says which queries count, None that all do.
    """

    queries: Tensor
    keys: Tensor
    causal: bool
    real: Tensor | None


class Kernel(Protocol):
    """Blocks of one shape; q (n, H, Q, D), k and v (n, K, M, D), out like q, lse (n, H, Q) float32.

    `bias` (n, 1, 1, M) is added to the scores forward: -inf on keys that are padding.
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]: ...

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]: ...


class Fused:
    """Flash attention for CPUs."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=bias, scale=scale
        )
        return out, lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        # In float32 whatever the inputs are: its backward in bfloat16 took up to 40 times as long on short spans.
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(x.float() for x in (grad, q, k, v, out)), lse, 0.0, causal, scale=scale
        )
        return found


class Products:
    """Two matrix products forward, five backward; the query heads of a key head become more queries of it."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        n, H, _, _ = q.shape
        outs, lses = [], []
        for first, last in self._slices(q, k):
            scores = self._scores(q[:, :, first:last], k, first if causal else None, scale)
            if bias is not None:
                scores += bias
            lse = scores.logsumexp(-1)
            weights = scores.sub_(lse[..., None]).exp_().to(v.dtype)
            outs.append(_unfold(weights @ v, H))
            lses.append(lse.reshape(n, H, -1))
        return torch.cat(outs, dim=2), torch.cat(lses, dim=2)

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, K, H = len(q), k.shape[1], q.shape[1]
        delta = (grad * out).sum(-1, dtype=torch.float32)
        grad_q = []
        grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32) for x in (k, v))
        for first, last in self._slices(q, k):
            scores = self._scores(q[:, :, first:last], k, first if causal else None, scale)
            weights = scores.sub_(lse[:, :, first:last].reshape(n, K, -1, 1)).exp_()
            g, folded = _fold(grad[:, :, first:last], K), _fold(q[:, :, first:last], K)
            grad_v += weights.to(g.dtype).transpose(-1, -2) @ g
            inner = (g @ v.transpose(-1, -2)).float() - delta[:, :, first:last].reshape(n, K, -1, 1)
            grad_scores = inner.mul_(weights).mul_(scale).to(q.dtype)
            grad_q.append(_unfold(grad_scores @ k, H))
            grad_k += grad_scores.transpose(-1, -2) @ folded
        return torch.cat(grad_q, dim=2), grad_k, grad_v

    def _slices(self, q: Tensor, k: Tensor) -> list[tuple[int, int]]:
        at_once = max(1, _SCORES // (len(q) * q.shape[1] * k.shape[2]))
        return [(first, min(first + at_once, q.shape[2])) for first in range(0, q.shape[2], at_once)]

    def _scores(self, q: Tensor, k: Tensor, first: int | None, scale: float) -> Tensor:
        """(n, K, rep * Q, M) float32; with `first` causal, that being the place of the first query."""
        scores = (_fold(q, k.shape[1]) @ k.transpose(-1, -2)).float().mul_(scale)
        if first is not None:
            count, keys = q.shape[2], k.shape[2]
            hidden = torch.ones((count, keys), dtype=torch.bool, device=q.device).triu_(first + 1)
            scores.view(len(q), k.shape[1], -1, count, keys).masked_fill_(hidden, -torch.inf)
        return scores


def _fold(x: Tensor, K: int) -> Tensor:
    """(n, H, Q, D) to (n, K, rep * Q, D)."""
    return x.reshape(len(x), K, -1, x.shape[-1])


def _unfold(x: Tensor, H: int) -> Tensor:
    """(n, K, rep * Q, D) to (n, H, Q, D)."""
    return x.reshape(len(x), H, -1, x.shape[-1])


@cache
def kernel_for(device_type: str) -> Kernel:
    """`Fused` on a CPU whose PyTorch has it and agrees with `Products`, backward included; else `Products`."""
    if device_type != "cpu":
        return Products()
    try:
        with torch.autocast(device_type, enabled=False):  # it would change the numbers of one of the two
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
    q, k, v, grad = (torch.randn((3, heads, 5, 32), generator=generator) for heads in (4, 2, 2, 4))
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
        """(1, H, S, D); every token is a query of exactly one causal block, and these come first."""
        H, D = q.shape[1], q.shape[3]
        q, k, v = (_by_token(x) for x in (q, k, v))
        out = torch.empty((len(q), H, D), dtype=torch.float32, device=q.device)
        lse = torch.empty((len(q), H), dtype=torch.float32, device=q.device)
        for block in blocks:
            at = block.queries
            part, part_lse = kernel.forward(
                _taken(q, at), _taken(k, block.keys), _taken(v, block.keys), block.causal, scale
            )
            part = part.float()
            if not block.causal:
                before = _taken(lse, at)
                joined = torch.logaddexp(before, part_lse)
                part = (
                    _taken(out, at) * (before - joined).exp()[..., None] + part * (part_lse - joined).exp()[..., None]
                )
                part_lse = joined
            _put(out, block, part)
            _put(lse, block, part_lse)
        out = out.to(v.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.blocks, ctx.kernel, ctx.scale = blocks, kernel, scale
        return out.transpose(0, 1)[None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        grad = _by_token(grad)
        grad_q, grad_k, grad_v = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (q, k, v))
        for block in ctx.blocks:
            at = block.queries
            wanted = _taken(grad, at)
            if block.real is not None:
                wanted = wanted * block.real[:, None, :, None]  # what was filled up asks nothing of any key
            parts = ctx.kernel.backward(
                wanted, _taken(q, at), _taken(k, block.keys), _taken(v, block.keys), _taken(out, at), _taken(lse, at),
                block.causal, ctx.scale,
            )  # fmt: skip
            for whole, part, places in zip((grad_q, grad_k, grad_v), parts, (at, block.keys, block.keys), strict=True):
                _add(whole, places, part)
        by_head = (x.to(q.dtype).transpose(0, 1)[None] for x in (grad_q, grad_k, grad_v))
        return (*by_head, None, None, None)


def _by_token(x: Tensor) -> Tensor:
    """(1, H, S, D) as (S, H, D), which it nearly always is in memory: there a span is one piece."""
    return x[0].transpose(0, 1).contiguous()


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """(S, H, ...) at (n, Q) places, as (n, H, Q, ...); a view where there is one span."""
    n, size = places.shape
    if n == 1:
        first = int(places[0, 0])
        return x[first : first + size].transpose(0, 1)[None]
    return x.index_select(0, places.flatten()).unflatten(0, (n, size)).transpose(1, 2)


def _put(whole: Tensor, block: Block, part: Tensor) -> None:
    """Writes (n, H, Q, ...) to the queries of a block in (S, H, ...)."""
    places, values = block.queries.flatten(), part.transpose(1, 2).flatten(0, 1)
    if block.real is not None:
        kept = block.real.flatten().nonzero()[:, 0]
        places, values = places[kept], values.index_select(0, kept)
    whole.index_copy_(0, places, values)


def _add(whole: Tensor, places: Tensor, part: Tensor) -> None:
    """Adds (n, H, Q, ...) at (n, Q) places of (S, H, ...). Nothing is added for places that were filled up: 0."""
    whole.index_add_(0, places.flatten(), part.transpose(1, 2).flatten(0, 1).float())


def blocks_of(row: Row, device: torch.device) -> tuple[Block, ...]:
    """Every node's own span, then every inner node's span under its descendants; like spans stand in one block."""
    spans = list(zip(row.starts.tolist(), row.stops.tolist(), row.ends.tolist(), row.parents.tolist(), strict=True))
    own: dict[int, list[tuple[int, int]]] = defaultdict(list)
    below: dict[tuple[int, int, int], list[tuple[int, int, int]]] = defaultdict(list)
    depths: list[int] = []
    for start, stop, end, parent in spans:
        depths.append(depths[parent] + 1 if parent >= 0 else 0)
        own[_rounded(stop - start)].append((start, stop))
        if end > stop:
            # A query lies under one node of each depth, so a block has it once.
            below[depths[-1], stop - start, _rounded(end - stop)].append((stop, end, start))
    causal = [_block(found, None, device) for _, found in sorted(own.items())]
    return (
        *causal,
        *(
            _block([(first, last) for first, last, _ in found], ([key for _, _, key in found], size), device)
            for (_, size, _), found in sorted(below.items())
        ),
    )


def _rounded(length: int) -> int:
    """The length up to which a span is filled up: by at most a quarter, so that few lengths are left."""
    step = max(1, 2 ** (length.bit_length() - 3))
    return -(-length // step) * step


def _block(spans: list[tuple[int, int]], keys: tuple[list[int], int] | None, device: torch.device) -> Block:
    """A block of these spans of queries, as long as the longest; `keys`: where theirs begin, and their length."""
    first, last = (torch.tensor(found)[:, None] for found in zip(*spans, strict=True))
    size = int((last - first).max())
    place = first + torch.arange(size)
    real = place < last
    queries = place.minimum(last - 1).to(device)
    seen = queries
    if keys is not None:
        seen = (torch.tensor(keys[0])[:, None] + torch.arange(keys[1])).to(device)
    return Block(queries, seen, keys is None, None if bool(real.all()) else real.to(device))


class TrieAttention:
    """The attention of a row's tokens, by blocks."""

    def __init__(self, row: Row, device: torch.device) -> None:
        self.blocks = blocks_of(row, device)
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
