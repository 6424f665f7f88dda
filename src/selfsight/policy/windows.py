"""A vision tower's attention over windows, and over images, with one call for all of one length.

Towers of the Qwen family attend within windows of an image, or within images, laid out one after the other.
transformers calls attention once for each of them, in a Python loop: 80 calls in each of 28 layers for one image of a
million pixels. Flash attention gets them all at once, with the places where they begin. The function here takes that
form and lays equal lengths side by side for PyTorch's attention; it needs nothing installed and runs on any device.

Shapes: S patches in n windows, H heads, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary

# transformers hands over the windows' places if the name has "flash" in it.
ATTENTION_NAME = "selfsight_flash_by_length"

_read = WeakTensorKeyDictionary()


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """(1, H, S, D) each to (1, S, H, D)."""
    assert cu_seq_lens_q is not None and attention_mask is None
    windows = _windows(cu_seq_lens_q)
    if isinstance(windows, int):
        return _side_by_side(query[0], key[0], value[0], windows, scaling)[None], None
    out = torch.empty_like(query[0].transpose(0, 1))
    for length, places in windows.items():
        q, k, v = (x[0].index_select(1, places) for x in (query, key, value))
        out = out.index_copy(0, places, _side_by_side(q, k, v, length, scaling))
    return out[None], None


def _windows(bounds: Tensor) -> int | dict[int, Tensor]:
    """The length of all windows, or the places of all windows of each length.

    Read once for all layers, which get the same tensor: to read it is to wait until the device has done all before it.
    """
    if bounds not in _read:
        first = bounds.cpu()
        starts, sizes = first[:-1], first.diff()
        lengths = sizes.unique().tolist()
        _read[bounds] = lengths[0] if len(lengths) == 1 else {
            length: (starts[sizes == length][:, None] + torch.arange(length)).flatten().to(bounds.device)
            for length in lengths
        }  # fmt: skip
    found: int | dict[int, Tensor] = _read[bounds]
    return found


def _side_by_side(q: Tensor, k: Tensor, v: Tensor, length: int, scaling: float | None) -> Tensor:
    """Windows of one length, (H, n x length, D) each to (n x length, H, D)."""
    q, k, v = (x.unflatten(1, (-1, length)).transpose(0, 1) for x in (q, k, v))
    out: Tensor = scaled_dot_product_attention(q, k, v, scale=scaling)
    return out.transpose(1, 2).flatten(0, 1)


def attend_by_length(model: Any) -> None:
    """Has the vision tower of a model use it, where transformers can hand over windows."""
    from transformers import AttentionInterface

    if model.config.model_type in ("qwen2_5_vl", "qwen3_vl"):
        AttentionInterface.register(ATTENTION_NAME, _attention)
        model.model.visual.config._attn_implementation = ATTENTION_NAME
