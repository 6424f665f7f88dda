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

What computes a block is one of `kernels`. `DenseMask` computes the same from an S x S mask, for reading and for tests.

Left out: FlexAttention, which takes the rule of `trie` as it is (`k <= q < reach[k]`). It has no backward pass on CPUs,
and needs a mask of blocks for each row; flash attention block by block needs neither.

A row behind a stem has queries of its own tokens alone; the stem's keys and values, `carried`, stand before theirs.

Shapes: H query heads = K key heads x `rep`, S tokens of the row (of them T behind its stem), D head size; q (1, H, T,
D), k, v (1, K, S, D); n spans of one block.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from selfsight.policy.kernels import Kernel, kernel_for
from selfsight.policy.prefix import Carried
from selfsight.policy.trie import Row


class Places(NamedTuple):
    """(n, size) places. `first`: where the one span begins if there is one; to ask the device for it would mean to wait
    for everything that it still has to do.
    """

    at: Tensor
    first: int | None


class Block(NamedTuple):
    """n spans of queries that look at one span of keys each; `keys` (n, M) are places in the row, `queries` (n, Q) are
    counted from the first token behind the stem.

    `causal`: keys are the queries' own places, and each looks at those up to itself. Spans of nearly one length stand
    in one block: a shorter one is filled up with its last place. No query that counts looks at what was filled up, and
    what is computed there is dropped: `real` (n, Q) says which queries count, `kept` (at most n x Q) where they are,
    None that all do.
    """

    queries: Places
    keys: Places
    causal: bool
    real: Tensor | None
    kept: Tensor | None


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: tuple[Block, ...], kernel: Kernel, scale: float
    ) -> Tensor:
        """(1, H, T, D); every query is in exactly one causal block, and these come first."""
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


def _taken(x: Tensor, places: Places) -> Tensor:
    """(S, H, ...) at (n, Q) places, as (n, H, Q, ...); a view where there is one span."""
    n, size = places.at.shape
    if places.first is not None:
        return x[places.first : places.first + size].transpose(0, 1)[None]
    return x.index_select(0, places.at.flatten()).unflatten(0, (n, size)).transpose(1, 2)


def _put(whole: Tensor, block: Block, part: Tensor) -> None:
    """Writes (n, H, Q, ...) to the queries of a block in (S, H, ...)."""
    places, values = block.queries.at.flatten(), part.transpose(1, 2).flatten(0, 1)
    if block.kept is not None:
        places, values = places.index_select(0, block.kept), values.index_select(0, block.kept)
    whole.index_copy_(0, places, values)


def _add(whole: Tensor, places: Places, part: Tensor) -> None:
    """Adds (n, H, Q, ...) at (n, Q) places of (S, H, ...). Nothing is added for places that were filled up: 0."""
    whole.index_add_(0, places.at.flatten(), part.transpose(1, 2).flatten(0, 1).float())


def blocks_of(row: Row, device: torch.device) -> tuple[Block, ...]:
    """Every node's own span, then every inner node's span under its descendants; like spans stand in one block."""
    spans = list(zip(row.starts.tolist(), row.stops.tolist(), row.ends.tolist(), row.parents.tolist(), strict=True))
    own: dict[int, list[tuple[int, int]]] = defaultdict(list)
    below: dict[tuple[int, int, int], list[tuple[int, int, int]]] = defaultdict(list)
    depths: list[int] = []
    for start, stop, end, parent in spans:
        depths.append(depths[parent] + 1 if parent >= 0 else 0)
        if start >= row.begin:
            own[_rounded(stop - start)].append((start, stop))
        if end > stop:
            # A query lies under one node of each depth, so a block has it once.
            below[depths[-1], stop - start, _rounded(end - stop)].append((stop, end, start))
    causal = [_block(found, None, row.begin, device) for _, found in sorted(own.items())]
    return (
        *causal,
        *(
            _block([(first, last) for first, last, _ in found], ([key for _, _, key in found], size), row.begin, device)
            for (_, size, _), found in sorted(below.items())
        ),
    )


def _rounded(length: int) -> int:
    """The length up to which a span is filled up: by at most a quarter, so that few lengths are left."""
    step = max(1, 2 ** (length.bit_length() - 3))
    return -(-length // step) * step


def _block(spans: list[tuple[int, int]], keys: tuple[list[int], int] | None, begin: int, device: torch.device) -> Block:
    """A block of these spans of queries, as long as the longest; `keys`: where theirs begin, and their length."""
    first, last = (torch.tensor(found)[:, None] for found in zip(*spans, strict=True))
    size = int((last - first).max())
    place = first + torch.arange(size)
    real = place < last
    seen = place.minimum(last - 1)
    queries = _places(seen - begin, device)
    if keys is not None:
        seen = torch.tensor(keys[0])[:, None] + torch.arange(keys[1])
    looked_at = _places(seen, device)
    if bool(real.all()):
        return Block(queries, looked_at, keys is None, None, None)
    return Block(queries, looked_at, keys is None, real.to(device), real.flatten().nonzero()[:, 0].to(device))


def _places(at: Tensor, device: torch.device) -> Places:
    """Places that were counted on the CPU."""
    return Places(at.to(device), int(at[0, 0]) if len(at) == 1 else None)


def _with_stem(carried: Carried | None, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    if carried is None:
        return k, v
    found = ((carried.keys[layer], k), (carried.values[layer], v))
    k, v = (torch.cat((before.to(own.dtype), own), dim=2) for before, own in found)
    return k, v


class TrieAttention:
    """The attention of a row's tokens, by blocks."""

    def __init__(self, row: Row, device: torch.device, carried: Carried | None = None) -> None:
        self.blocks = blocks_of(row, device)
        self.kernel = kernel_for(device.type)
        self.carried = carried

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if torch.is_autocast_enabled(q.device.type):
            kind = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(kind), k.to(kind), v.to(kind)
        k, v = _with_stem(self.carried, layer, k, v)
        out: Tensor = _Blocks.apply(q, k, v, self.blocks, self.kernel, scale)
        return out.transpose(1, 2)


class DenseMask:
    """The same by an S x S mask: token q sees token k when k <= q < reach[k]."""

    def __init__(self, row: Row, device: torch.device, carried: Carried | None = None) -> None:
        place = np.arange(len(row))
        seen = (place <= place[:, None]) & (place[:, None] < row.reach)
        self.mask = torch.from_numpy(seen[row.begin :]).to(device)[None, None]
        self.carried = carried

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        k, v = _with_stem(self.carried, layer, k, v)
        out = scaled_dot_product_attention(
            q, k, v, attn_mask=self.mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(1, 2)
