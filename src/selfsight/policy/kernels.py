"""What computes attention blocks of one shape: outputs with the logs of their softmax sums, and gradients from both.

  Fused      PyTorch's flash attention for CPUs
  FusedCuda  PyTorch's flash attention for CUDA, in half precision
  Products   matrix products in slices of queries; any device, any type

Flash attention hands out the log-sum-exp only in operators below its public function. They may change with PyTorch's
version, so `kernel_for` compares them with `Products` before they are used, and says so when it leaves them.

Shapes: n spans of one block, H query heads = K key heads x `rep`, Q queries, M keys, D head size.
"""

import logging
from functools import cache
from typing import Any, Final, Protocol

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_SCORES = 1 << 24  # attention scores held at once by `Products`
_HALF: Final = (torch.bfloat16, torch.float16)
_WORST_HALF: Final = 0.05  # difference of two kernels in bfloat16, on entries of up to about 3


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


class FusedCuda:
    """Flash attention for CUDA (arXiv 2307.08691). Blocks that it cannot compute, those of float32 or with a bias, are
    left to `Products`. `ops` holds the two operators, torch.ops.aten unless a test gives others.
    """

    def __init__(self, ops: Any = torch.ops.aten) -> None:
        self.ops, self.plain = ops, Products()

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if bias is not None or not _flash_can(q):
            return self.plain.forward(q, k, v, causal, scale, bias)
        out, lse, *_ = self.ops._flash_attention_forward(
            *_heads_last(q, k, v), None, None, q.shape[2], k.shape[2], 0.0, causal, False, scale=scale
        )
        return out.transpose(1, 2), lse

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not _flash_can(q):
            return self.plain.backward(grad, q, k, v, out, lse, causal, scale)
        # Without dropout its random state is not read.
        state = torch.zeros(2, dtype=torch.uint64, device=q.device)
        unused = torch.empty(0, dtype=torch.uint64, device=q.device)
        found = self.ops._flash_attention_backward(
            *_heads_last(grad.to(q.dtype), q, k, v, out), lse.contiguous(), None, None, q.shape[2], k.shape[2], 0.0,
            causal, state, unused, scale=scale,
        )  # fmt: skip
        grad_q, grad_k, grad_v = (x.transpose(1, 2) for x in found)
        return grad_q, grad_k, grad_v


def _flash_can(q: Tensor) -> bool:
    return q.dtype in _HALF and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256


def _heads_last(*tensors: Tensor) -> list[Tensor]:
    """(n, H, Q, D) as (n, Q, H, D), whose last axis must be one piece."""
    return [x.transpose(1, 2) if x.stride(-1) == 1 else x.transpose(1, 2).contiguous() for x in tensors]


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
    """The fused kernel of a device, if its PyTorch has it and it agrees with `Products`, backward included; else
    `Products`.
    """
    fused: dict[str, tuple[Kernel, torch.dtype, float]] = {
        "cpu": (Fused(), torch.float32, 1e-4),
        "cuda": (FusedCuda(), torch.bfloat16, _WORST_HALF),
    }
    if device_type not in fused:
        return Products()
    kernel, dtype, bound = fused[device_type]
    try:
        with torch.autocast(device_type, enabled=False):  # it would change the numbers of one of the two
            difference = _difference(kernel, Products(), torch.device(device_type), dtype)
    except (AttributeError, RuntimeError, TypeError) as error:  # another PyTorch: no such operator, or another form
        logger.warning("attention by plain matrix products: no fused kernel here (%s)", error)
        return Products()
    if not difference < bound:
        logger.warning("attention by plain matrix products: the fused kernel differs by %.1e", difference)
        return Products()
    return kernel


def _difference(one: Kernel, other: Kernel, device: torch.device, dtype: torch.dtype) -> float:
    """Largest difference in outputs and gradients on a small example, with and without a mask."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn((3, heads, 5, 32), generator=generator).to(device, dtype) for heads in (4, 2, 2, 4))
    worst = 0.0
    for causal in (True, False):
        out, lse = other.forward(q, k, v, causal, 0.2)
        pairs = list(zip(one.forward(q, k, v, causal, 0.2), (out, lse), strict=True))
        gradients = (kernel.backward(grad, q, k, v, out, lse, causal, 0.2) for kernel in (one, other))
        pairs.extend(zip(*gradients, strict=True))
        worst = max(worst, *(float((a.float() - b.float()).abs().max()) for a, b in pairs))
    return worst
