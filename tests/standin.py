"""A stand-in for a CUDA device: numbers of the CPU behind tensors that say "cuda:0".

On a GPU two things go wrong that no CPU shows: an operator is given tensors of two devices and fails, and Python asks
for a number that lies on the device, and waits for all that is still to be done there. Inside `standing_in` a tensor
that is made on "cuda" or moved there is a `Standin`. An operator that mixes one with a tensor of the CPU fails as on a
GPU; whatever would wait for the device is counted, with the line that asked. The two operators of flash attention,
which a CPU does not have, are given.

What waits: numbers that Python asks for, operators whose result has a size that only the device knows, and every copy
between the two, since those from and to plain memory are waited for.

Not shown: time, memory, streams, rounding, the types that CUDA's autocast chooses, optimisers' `foreach` code (it
wants plain tensors), and operators that exist on one of the two only.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from selfsight.policy.kernels import Products, kernel_for

CUDA = torch.device("cuda:0")
aten = torch.ops.aten

_COPIES = {aten.copy_.default, aten._to_copy.default}
_INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
# Their size is known only when they are done.
_WAITING = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default,
    aten.unique_consecutive.default, aten.unique_dim.default, aten.repeat_interleave.Tensor, aten.equal.default,
    aten.bincount.default,
}  # fmt: skip


class Standin(Tensor):
    """A tensor of the stand-in; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Standin":
        assert not isinstance(held, Standin)
        out = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            requires_grad=held.requires_grad,
        )  # fmt: skip
        out.held = held.detach()
        return out

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:  # type: ignore[override]
        Tensor.data.__set__(self, new)  # type: ignore[attr-defined]
        self.held = new.held.detach()  # type: ignore[attr-defined]
        assert (self.dtype, self.shape) == (self.held.dtype, self.held.shape)

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _current().operator(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Standin({self.held})"


class Device(TorchFunctionMode):
    """Catches what names a device; `waits` counts, by file and line, what would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        flash = flash_operators()
        self.given = {
            aten._flash_attention_forward.default: flash._flash_attention_forward,
            aten._flash_attention_backward.default: flash._flash_attention_backward,
        }
        self.waits: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("to", "cpu", "cuda") and isinstance(args[0], Tensor):
            return self._moved(func, name, args, kwargs)
        if name in ("numpy", "tolist", "__array__") and isinstance(args[0], Standin):
            if name != "tolist":
                raise TypeError("can't convert cuda:0 device type tensor to numpy.")
            self._wait()
            return args[0].held.tolist()
        if name in ("storage", "untyped_storage", "data_ptr") and isinstance(args[0], Standin):
            return func(args[0].held)
        wanted = kwargs.get("device")
        if wanted is not None and torch.device(wanted).type == "cuda":
            if name in ("tensor", "as_tensor"):  # made on the CPU and copied
                self._wait()
            return Standin(func(*tree_map(_held, args), **kwargs | {"device": "cpu"}))
        if wanted is not None and any(isinstance(x, Standin) for x in args):  # x.new_zeros(..., device="cpu")
            raise AssertionError(f"{name} on another device than its tensor")
        return func(*args, **kwargs)

    def _moved(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
        x, *rest = args
        where: torch.device | None = torch.device(name) if name != "to" else None
        others = []
        for value in [*rest, kwargs.pop("device", None)]:
            if isinstance(value, (str, torch.device)):
                where = torch.device(value)
            elif isinstance(value, Tensor):
                where, others = value.device, [*others, value.dtype]
            elif isinstance(value, bool) and name == "to":
                kwargs["non_blocking"] = value
            elif value is not None:
                others.append(value)
        if name == "to" and (others or kwargs):
            x = func(x, *others, **kwargs)
        if where is None or where.type == x.device.type:
            return x
        self._wait()
        return _Up.apply(x) if where.type == "cuda" else _Down.apply(x)

    def _wait(self) -> None:
        frames = reversed(traceback.extract_stack())
        here = next(frame for frame in frames if "/torch/" not in frame.filename and frame.filename != __file__)
        file = here.filename.rpartition("site-packages/")[2].rpartition("/src/")[2]
        self.waits[f"{file}:{here.lineno} {here.line}"] += 1

    def operator(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        strange = [x for x in given if not isinstance(x, Standin)]
        if func in _INDEXED:
            places = [x for x in args[1] if x is not None]  # may lie on the CPU, from where they are copied
            strange = [x for x in strange if all(x is not place for place in places)]
            if not all(isinstance(x, Standin) and x.dtype not in (torch.bool, torch.uint8) for x in places):
                self._wait()
        if func is aten.index_put.default:
            strange = []  # the backward pass of indexing, whose zeros PyTorch makes: here on the CPU
        if strange and func in _COPIES:
            self._wait()
        elif any(x.ndim > 0 for x in strange) or (strange and not _takes_numbers(func)):
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found cuda:0 and cpu")
        if func in _WAITING:
            self._wait()
        if kwargs.get("device") is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        plain_args, plain_kwargs = tree_map(_held, (args, kwargs))
        found = self.given.get(func, func)(*plain_args, **plain_kwargs)
        if func is aten._local_scalar_dense.default:
            return found
        same = {id(x.held): x for x in given if isinstance(x, Standin)}  # what is changed in place comes back itself

        def wrapped(x: Any) -> Any:
            return same[id(x)] if id(x) in same else Standin(x) if isinstance(x, Tensor) else x

        return tree_map(wrapped, found)


def _takes_numbers(func: Any) -> bool:
    """Whether an operator takes a tensor of the CPU that is one number."""
    return torch.Tag.pointwise in func.tags or func in _INDEXED or func in (aten.fill_.Tensor, aten.masked_fill.Tensor)


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return Standin(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.held  # type: ignore[attr-defined,no-any-return]


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.held.clone()  # type: ignore[attr-defined,no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return Standin(grad)


def flash_operators() -> SimpleNamespace:
    """The two operators of CUDA as their schemas say: tokens before heads, positions of arguments included."""
    plain = Products()

    def forward(
        query: Tensor, key: Tensor, value: Tensor, cum_seq_q: None, cum_seq_k: None, max_q: int, max_k: int,
        dropout_p: float, is_causal: bool, return_debug_mask: bool, *, scale: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        assert (cum_seq_q, cum_seq_k, dropout_p, return_debug_mask) == (None, None, 0.0, False)
        assert (max_q, max_k) == (query.shape[1], key.shape[1])
        assert all(_flash_takes(x) for x in (query, key, value))
        q, k, v = (x.transpose(1, 2).float() for x in (query, key, value))
        out, lse = plain.forward(q, k, v, is_causal, scale)
        nothing = torch.empty(0)
        return out.transpose(1, 2).to(query.dtype), lse, nothing, nothing, nothing

    def backward(
        grad_out: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, logsumexp: Tensor, cum_seq_q: None,
        cum_seq_k: None, max_q: int, max_k: int, dropout_p: float, is_causal: bool, rng_state: Tensor, unused: Tensor,
        *, scale: float,
    ) -> list[Tensor]:  # fmt: skip
        assert (cum_seq_q, cum_seq_k, dropout_p) == (None, None, 0.0)
        assert (max_q, max_k) == (query.shape[1], key.shape[1])
        assert all(_flash_takes(x) for x in (grad_out, query, key, value, out))
        assert grad_out.dtype == query.dtype and logsumexp.dtype == torch.float32
        given = [x.transpose(1, 2).float() for x in (grad_out, query, key, value, out)]
        found = plain.backward(*given, logsumexp, is_causal, scale)
        return [x.transpose(1, 2).to(query.dtype) for x in found]

    return SimpleNamespace(_flash_attention_forward=forward, _flash_attention_backward=backward)


def _flash_takes(x: Tensor) -> bool:
    size = x.shape[-1]
    return x.dtype in (torch.bfloat16, torch.float16) and size % 8 == 0 and size <= 256 and x.stride(-1) == 1


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Standin) else x


_module_to = nn.Module.to


def _put_module(module: nn.Module, device: Any, dtype: torch.dtype | None = None) -> nn.Module:
    """As `Module.to`, which gives a parameter new numbers; a wrapper must take its place, once where it is tied."""
    _module_to(module, dtype=dtype)
    if torch.device(device).type != "cuda":
        return module
    taken: dict[int, Tensor] = {}
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None and not isinstance(parameter, Standin):
                new = nn.Parameter(Standin(parameter.detach()), requires_grad=parameter.requires_grad)
                part._parameters[name] = taken.setdefault(id(parameter), new)  # type: ignore[assignment]
        for name, buffer in list(part._buffers.items()):
            if buffer is not None and not isinstance(buffer, Standin):
                part._buffers[name] = taken.setdefault(id(buffer), Standin(buffer))
    return module


_running: list[Device] = []


def _current() -> Device:
    return _running[-1]


@contextmanager
def standing_in() -> Iterator[Device]:
    """Inside, "cuda" is a device that can be used. Module.to, autocast and the backward pass know of it, too."""
    device = Device()
    autocast, enabled, its_type = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
    run_backward = torch.autograd._engine_run_backward

    def backward(*args: Any, **kwargs: Any) -> Any:
        with device:  # a function that is overridden runs outside the mode; what it calls here is to be caught, too
            return run_backward(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "to", _put_module)
        patch.setattr(torch.autograd, "_engine_run_backward", backward)
        patch.setattr(torch, "autocast", lambda kind, **options: autocast(_on_cpu(kind), **options))
        patch.setattr(torch, "is_autocast_enabled", lambda kind: enabled(_on_cpu(kind)))
        # Optimisers ask, and PyTorch's build for CUDA then asks a driver that may not be there.
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch, "get_autocast_dtype", lambda kind: its_type(_on_cpu(kind)))
        _running.append(device)
        kernel_for.cache_clear()
        try:
            with device:
                yield device
        finally:
            kernel_for.cache_clear()
            _running.pop()


def _on_cpu(kind: str) -> str:
    return "cpu" if kind == "cuda" else kind
