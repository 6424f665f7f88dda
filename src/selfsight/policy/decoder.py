"""One new token for each running sample, through the text decoder's own modules.

The forward pass of transformers is written for any number of tokens, caches, masks and callbacks. For one token a row
that costs more than it need: every layer merges the rotary table of M-RoPE anew, although the three planes of a new
text token are equal, and a norm is six operators. `decode_step` calls the same projections, norms and activations
(adapters included), layer by layer, with nothing between them. Its numbers are those of the forward pass up to
rounding: `Vlm` compares the two when a model is loaded and leaves a model that differs to transformers.

Left out: copies of the weights in the layout that products of few rows read fastest. Those products are quicker alone,
the sampler as a whole was not.

Shapes: R rows, H query heads, K key heads, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from selfsight.policy.prefix import Layout

_PARTS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj", "scaling", "head_dim", "layer_idx"),
    "mlp": ("gate_proj", "up_proj", "down_proj", "act_fn"),
    "input_layernorm": ("weight", "variance_epsilon"),
    "post_attention_layernorm": ("weight", "variance_epsilon"),
}


def missing_parts(decoder: Any) -> list[str]:
    """What `decode_step` needs and a text decoder of another kind does not have."""
    missing = [name for name in ("embed_tokens", "rotary_emb", "layers", "norm") if not hasattr(decoder, name)]
    if missing:
        return missing
    return sorted({
        f"{part}.{name}"
        for layer in decoder.layers
        for part, names in _PARTS.items()
        for name in names
        if not hasattr(getattr(layer, part, None), name)
    })  # fmt: skip


def decode_step(decoder: Any, tokens: Tensor, positions: Tensor, layout: Layout) -> Tensor:
    """Last hidden states (R, hidden) after one token (R,) each; `positions` as the model takes them, with one token
    a row and all planes equal.
    """
    x = decoder.embed_tokens(tokens)
    cos, signed = _rotation(decoder, x, positions)
    for layer in decoder.layers:
        x = x + _attention(layer.self_attn, _norm(layer.input_layernorm, x), cos, signed, layout)
        h = _norm(layer.post_attention_layernorm, x)
        mlp = layer.mlp
        x = x + mlp.down_proj(mlp.act_fn(mlp.gate_proj(h)) * mlp.up_proj(h))
    return _norm(decoder.norm, x)


def _rotation(decoder: Any, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """(R, 1, D) cosines, and sines with the sign that a half gets when the halves change places."""
    cos, sin = decoder.rotary_emb(x[:, None], positions)
    if cos.ndim == 4:  # the planes of M-RoPE, equal here
        cos, sin = cos[0], sin[0]
    lower, upper = sin.chunk(2, dim=-1)
    return cos, torch.cat((-lower, upper), dim=-1)


def _attention(attention: Any, h: Tensor, cos: Tensor, signed: Tensor, layout: Layout) -> Tensor:
    D = attention.head_dim
    q, k, v = (p(h).view(len(h), -1, D) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    if hasattr(attention, "q_norm"):
        q, k = _norm(attention.q_norm, q), _norm(attention.k_norm, k)
    q, k = (x * cos + x.roll(D // 2, dims=-1) * signed for x in (q, k))
    out = layout.attend(attention.layer_idx, q[:, :, None], k[:, :, None], v[:, :, None], attention.scaling)
    return attention.o_proj(out.flatten(1))


def _norm(module: Any, x: Tensor) -> Any:
    """In float32 one operator; other types take the module's own steps, whose rounding the learner has, too."""
    if x.dtype == module.weight.dtype == torch.float32:
        return rms_norm(x, module.weight.shape, module.weight, module.variance_epsilon)
    return module(x)
