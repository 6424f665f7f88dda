"""Kernels of attention blocks: one is used only where it agrees with plain products, and the one for CUDA hands its
operators what they expect. They are stood in for here; on a CUDA device the last test runs the real ones.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from selfsight.policy import kernels
from selfsight.policy.kernels import Fused, FusedCuda, Products, kernel_for
from standin import flash_operators

SCALE = 0.3


def inputs(queries: int, keys: int, dtype: torch.dtype, device: str = "cpu") -> tuple[Tensor, ...]:
    """q, k, v and the gradient of the output, 3 spans of 4 query and 2 key heads."""
    generator = torch.Generator().manual_seed(queries)
    sizes = ((4, queries), (2, keys), (2, keys), (4, queries))
    q, k, v, grad = (torch.randn((3, *size, 32), generator=generator).to(device, dtype) for size in sizes)
    return q, k, v, grad


def everything(kernel: kernels.Kernel, given: tuple[Tensor, ...], causal: bool) -> list[Tensor]:
    q, k, v, grad = given
    out, lse = kernel.forward(q, k, v, causal, SCALE)
    return [out, lse, *kernel.backward(grad, q, k, v, out, lse, causal, SCALE)]


def worst(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a.float() - b.float()).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("queries", "keys", "causal"), [(7, 7, True), (7, 7, False), (5, 9, False)])
def test_the_kernel_for_cuda_hands_its_operators_what_their_schemas_say(queries: int, keys: int, causal: bool) -> None:
    given = inputs(queries, keys, torch.bfloat16)
    exact = everything(Products(), tuple(x.float() for x in given), causal)
    found = everything(FusedCuda(flash_operators()), given, causal)
    assert [x.shape for x in found] == [x.shape for x in exact]
    assert worst(found, exact) < 0.05
    assert {x.dtype for x in (found[0], *found[2:])} == {torch.bfloat16} and found[1].dtype == torch.float32


@pytest.mark.parametrize("causal", [True, False])
def test_pytorchs_own_operators_for_cuda_take_it_and_give_these_shapes(causal: bool) -> None:
    """By the schemas and shape rules of the installed PyTorch, without a device."""
    with FakeTensorMode():
        q, k, v, grad = (torch.empty((3, h, 5, 32), dtype=torch.bfloat16, device="cuda") for h in (4, 2, 2, 4))
        out, lse, *grads = everything(FusedCuda(), (q, k, v, grad), causal)
        assert out.shape == q.shape and (lse.shape, lse.dtype) == ((3, 4, 5), torch.float32)
        assert [x.shape for x in grads] == [q.shape, k.shape, v.shape]


@pytest.mark.parametrize(
    "changed", [{"dtype": torch.float32}, {"bias": True}, {"size": 20}, {"size": 320}], ids=lambda one: str([*one])
)
def test_what_flash_attention_cannot_compute_is_left_to_products(changed: dict[str, Any]) -> None:
    def refused(*args: Any, **options: Any) -> None:
        raise AssertionError("called")

    kernel = FusedCuda(SimpleNamespace(_flash_attention_forward=refused, _flash_attention_backward=refused))
    dtype, size = changed.get("dtype", torch.bfloat16), changed.get("size", 32)
    q, k, v, grad = (torch.randn((3, h, 5, size)).to(dtype) for h in (4, 2, 2, 4))
    bias = torch.zeros((3, 1, 1, 5)).index_fill_(3, torch.tensor([4]), -torch.inf) if "bias" in changed else None
    expected = Products().forward(q, k, v, False, SCALE, bias)
    found = kernel.forward(q, k, v, False, SCALE, bias)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    if bias is None:
        gradients = (one.backward(grad, q, k, v, *expected, False, SCALE) for one in (kernel, Products()))
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("wrong", ["forward", "backward"])
def test_a_fused_kernel_that_computes_something_else_is_not_used(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(kernel_for("cpu"), Fused)
    right = getattr(Fused, wrong)
    monkeypatch.setattr(Fused, wrong, lambda self, first, *rest: right(self, 2 * first, *rest))
    kernel_for.cache_clear()
    try:
        assert isinstance(kernel_for("cpu"), Products) and "differs" in caplog.text
    finally:
        kernel_for.cache_clear()
    assert isinstance(kernel_for("mps"), Products)


def test_the_bound_in_half_precision_lets_rounding_pass_and_a_wrong_scale_or_mask_not() -> None:
    cpu = torch.device("cpu")
    ops = flash_operators()
    assert kernels._difference(FusedCuda(ops), Products(), cpu, torch.bfloat16) < kernels._WORST_HALF

    def unscaled(*args: Any, scale: float) -> Any:
        return ops._flash_attention_forward(*args, scale=1.3 * scale)

    def unmasked(*args: Any, scale: float) -> Any:
        return ops._flash_attention_forward(*args[:8], False, args[9], scale=scale)

    for forward in (unscaled, unmasked):
        other = FusedCuda(
            SimpleNamespace(_flash_attention_forward=forward, _flash_attention_backward=ops._flash_attention_backward)
        )
        assert kernels._difference(other, Products(), cpu, torch.bfloat16) > kernels._WORST_HALF


def test_the_fused_kernel_is_chosen_under_autocast_too() -> None:
    kernel_for.cache_clear()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert isinstance(kernel_for("cpu"), Fused)
    finally:
        kernel_for.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(7, 7, True), (300, 300, True), (5, 9, False), (64, 300, False)]
)
def test_on_a_cuda_device_flash_attention_is_used_and_equals_products(queries: int, keys: int, causal: bool) -> None:
    assert isinstance(kernel_for("cuda"), FusedCuda)
    given = inputs(queries, keys, torch.bfloat16, "cuda")
    exact = everything(Products(), tuple(x.float() for x in given), causal)
    assert worst(everything(FusedCuda(), given, causal), exact) < 0.05
