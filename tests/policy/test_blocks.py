"""Attention by blocks equals attention over each path alone, gradients included; broken rules show in the numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.utils._python_dispatch import TorchDispatchMode

from selfsight.policy import kernels
from selfsight.policy.blocks import DenseMask, TrieAttention, blocks_of
from selfsight.policy.kernels import Fused, Products
from selfsight.policy.trie import Path, Row, pack_rows

from .test_trie import forests, path

CPU = torch.device("cpu")
HEADS, KEY_HEADS, SIZE = 4, 2, 32


def inputs(row: Row, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """q, k, v as a model hands them over (tokens before heads in memory) and the gradient of the output."""
    generator = torch.Generator().manual_seed(len(row))
    q, k, v = (
        torch.randn((1, len(row), heads, SIZE), generator=generator).to(dtype).transpose(1, 2).requires_grad_()
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    )
    return q, k, v, torch.randn((1, len(row), HEADS, SIZE), generator=generator).to(dtype)


def results(layout: TrieAttention | DenseMask, row: Row) -> list[torch.Tensor]:
    """Output and the gradients of q, k, v."""
    q, k, v, grad = inputs(row)
    out = layout.attend(0, q, k, v, 0.3)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), grad)]


def with_kernel(row: Row, kernel: kernels.Kernel) -> TrieAttention:
    layout = TrieAttention(row, CPU)
    layout.kernel = kernel
    return layout


def worst(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """Largest difference, relative to the largest entry of what is compared where that is above one."""
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in zip(one, other, strict=True))


@settings(max_examples=40, deadline=None)
@given(forests())
def test_blocks_equal_the_dense_mask_with_either_kernel(paths: list[Path]) -> None:
    (row,) = pack_rows(paths, 10_000)
    dense = results(DenseMask(row, CPU), row)
    assert worst(results(with_kernel(row, Fused()), row), dense) < 1e-5
    assert worst(results(with_kernel(row, Products()), row), dense) < 1e-5


@settings(max_examples=25, deadline=None)
@given(forests())
def test_the_dense_mask_gives_every_token_what_its_path_alone_gives(paths: list[Path]) -> None:
    (row,) = pack_rows(paths, 10_000)
    q, k, v, _ = inputs(row)
    out = DenseMask(row, CPU).attend(0, q, k, v, 0.3)
    for place in row.picked:
        seen = torch.from_numpy(np.flatnonzero((np.arange(len(row)) <= place) & (place < row.reach)))
        keys, values = (x[0, :, seen].repeat_interleave(HEADS // KEY_HEADS, 0) for x in (k, v))
        weights = ((q[0, :, place, None] @ keys.transpose(1, 2)) * 0.3).softmax(-1)
        assert (out[0, place] - (weights @ values)[:, 0]).abs().max() < 1e-5


@pytest.fixture
def row() -> Row:
    """An image of 40 tokens, two questions, three answers each."""
    paths = [path([*[7] * 40, *[20 + q] * 9, *[40 + 3 * q + a] * (4 + a)], 49) for q in range(2) for a in range(3)]
    return pack_rows(paths, 1000)[0]


def test_control_a_leaked_sibling_changes_output_and_gradient(row: Row) -> None:
    ends = row.ends.copy()
    leaf = int(np.flatnonzero(row.ends == row.stops)[0])
    ends[leaf] = row.ends[row.parents[leaf]]  # the first answer is shown to its siblings
    right, leaked = (results(TrieAttention(some, CPU), some) for some in (row, replace(row, ends=ends)))
    assert all(worst([a], [b]) > 0.05 for a, b in zip(leaked, right, strict=True))


def test_control_a_hidden_ancestor_changes_output_and_gradient(row: Row) -> None:
    ends = row.ends.copy()
    ends[0] = row.stops[0]  # the image is hidden from its questions
    right, blind = (results(TrieAttention(some, CPU), some) for some in (row, replace(row, ends=ends)))
    assert all(worst([a], [b]) > 0.05 for a, b in zip(blind, right, strict=True))


def test_slices_of_queries_change_nothing(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = results(with_kernel(row, Products()), row)
    monkeypatch.setattr(kernels, "_SCORES", 600)
    assert worst(results(with_kernel(row, Products()), row), whole) < 1e-5


def test_bfloat16_is_as_near_to_float32_as_the_dense_mask_is(row: Row) -> None:
    exact = results(DenseMask(row, CPU), row)[0]
    for kernel in (Fused(), Products()):
        q, k, v, grad = inputs(row, torch.bfloat16)
        out = with_kernel(row, kernel).attend(0, q, k, v, 0.3)
        found = torch.autograd.grad(out, (q, k, v), grad)
        assert out.dtype == torch.bfloat16 and {g.dtype for g in found} == {torch.bfloat16}
        assert worst([out.detach().float()], [exact]) < 0.03


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operator returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_nothing_of_size_tokens_by_tokens_exists() -> None:
    (row,) = pack_rows([path([*range(600), *[700 + k] * 30], 600) for k in range(8)], 10_000)
    with Largest() as by_blocks:
        results(TrieAttention(row, CPU), row)
    with Largest() as dense:
        results(with_kernel(row, Products()), row)
    assert by_blocks.numel == len(row) * HEADS * SIZE
    assert dense.numel >= 600 * 600  # the watch sees a tensor of scores where there is one


def test_spans_of_nearly_one_length_are_one_call(row: Row) -> None:
    calls = []

    class Counted(Fused):
        def forward(self, q, k, v, causal, scale):  # type: ignore[no-untyped-def]
            calls.append((len(q), q.shape[2], k.shape[2], causal))
            return super().forward(q, k, v, causal, scale)

    results(with_kernel(row, Counted()), row)
    lengths = row.stops - row.starts
    inner = row.ends > row.stops
    assert sum(n for n, _, _, causal in calls if causal) == len(lengths)
    assert sum(n for n, _, _, causal in calls if not causal) == inner.sum()
    assert len(calls) < len(set(lengths.tolist())) + inner.sum()
    # Filled up by at most a quarter, and never a key that is nobody's.
    assert sum(n * size for n, size, _, causal in calls if causal) <= 1.25 * lengths.sum()
    assert {keys for _, _, keys, causal in calls if not causal} == set(lengths[inner].tolist())


def test_gradients_of_spans_that_were_filled_up_are_those_of_each_alone() -> None:
    """Spans of 9 and 10 tokens under roots of 3: one block each, the shorter filled up."""
    starts, stops, ends, parents = [], [], [], []
    place = 0
    for sizes in ((9, 10), (10, 9), (9,)):
        root = len(starts)
        starts.append(place)
        place += 3
        stops.append(place)
        parents.append(-1)
        ends.append(place + sum(sizes))
        for size in sizes:
            starts.append(place)
            place += size
            stops.append(place)
            ends.append(place)
            parents.append(root)
    row = Row(
        ids=np.zeros(place, int), planes=np.zeros((3, place), int), starts=np.array(starts), stops=np.array(stops),
        ends=np.array(ends), parents=np.array(parents), images=(), members=(), picked=np.arange(place),
    )  # fmt: skip
    shapes = [(*block.queries.at.shape, block.real is None) for block in blocks_of(row, CPU)]
    assert shapes == [(3, 3, True), (5, 10, False), (1, 9, True), (2, 19, True)]
    for kernel in (Fused(), Products()):
        assert worst(results(with_kernel(row, kernel), row), results(DenseMask(row, CPU), row)) < 1e-5
