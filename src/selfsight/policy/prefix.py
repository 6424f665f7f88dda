"""Routes a text decoder's attention through layouts, and the sampler's layouts: prompts once, then token by token.

A registered attention function hands queries, keys and values to the layout that is passed through the model's
keyword arguments; without one it is ordinary SDPA. No S x S mask exists. One object per layout:
  TrieAttention  prompts and completions in one differentiable pass (`blocks`)
  Prefill        prompts only; keeps their keys and values
  Decode         one new token per running sample; prompt keys are stored once per prompt and multiplied with
                 all its samples' queries at once (as in Hydragen, arXiv 2402.05099), joined with the sample's
                 own keys in a single softmax
  Together       several of the last kind, begun at different times

Shapes: B prompts, P prompt tokens (right padded), G samples, R running rows, H query heads = K key heads x `rep`,
D head size.

Left out: sliding windows, attention sinks and linear attention (see `vlm._choose_backend`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from selfsight.policy.kernels import kernel_for

ATTENTION_NAME = "selfsight_shared_prefix"
_FIRST_TOKENS = 8  # of each sample that there is room for at first


class Layout(Protocol):
    """What the attention function delegates to; `attend` returns (rows, tokens, H, D)."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor: ...


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared_prefix: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Ordinary SDPA unless a layout is passed through the model's keyword arguments."""
    if shared_prefix is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return out, None
    if options.get("sliding_window") is not None:
        raise NotImplementedError("rows of tries have no sliding window; use backend='padded'")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return shared_prefix.attend(module.layer_idx, query, key, value, scale), None


def install(model: Any) -> None:
    """Routes the text decoder's attention through this module; the vision tower keeps its own."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(ATTENTION_NAME, _attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": ATTENTION_NAME})


def prepared_mask(device: torch.device) -> Tensor:
    """A stand-in that keeps transformers from building an S x S mask; the layouts never read it."""
    return torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)


def causal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Causal self-attention (B, H, P, D); right padding needs no mask, since no real token looks right."""
    return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


class Prefill:
    """Prompts only, (B, P); keys and values (B, K, P, D) of every layer are kept."""

    def __init__(self) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self._taken = False

    def take(self) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Keys and values, not kept any longer; a checkpointed layer that is computed again leaves nothing here."""
        found = self.keys, self.values
        self.keys, self.values, self._taken = {}, {}, True
        return found

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        if not self._taken:
            # In one type: under autocast rotated keys are float32 and values are not.
            self.keys[layer], self.values[layer] = k.to(v.dtype), v
        return causal(q, k, v, scale).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Carried:
    """Keys and values (1, K, S, D) by layer, and last hidden states (S, hidden), of a stem (see `stems`)."""

    keys: dict[int, Tensor]
    values: dict[int, Tensor]
    hidden: Tensor

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.keys.values(), *self.values.values(), self.hidden]

    def detached(self) -> "Carried":
        """Copies of their own for gradients, which add up in float32."""
        keys, values = (
            {layer: x.detach().float().requires_grad_() for layer, x in own.items()} for own in (self.keys, self.values)
        )
        return Carried(keys, values, self.hidden.detach().float().requires_grad_())


class Decode:
    """One token for each of R rows; `owner` (R,), on the CPU, names each row's prompt, rows of a prompt are adjacent.

    Own keys and values live in (R, K, T, D) stores that grow twofold up to `max_tokens`: most samples end early, and
    touching memory for the longest of them at once took a third of the time of short answers. `keep` drops finished
    rows, and prompts without running rows with them.
    """

    def __init__(
        self,
        prefill: Prefill,
        prompt_lengths: Sequence[int],
        counts: Sequence[int],
        max_tokens: int,
        device: torch.device,
    ) -> None:
        self.prefix_k, self.prefix_v = prefill.keys, prefill.values
        self.owner = torch.repeat_interleave(torch.tensor(counts))
        self.device = device
        self.step = 0
        self._kernel = kernel_for(device.type)
        longest = max(prompt_lengths)
        self.bias: Tensor | None = None  # (B, 1, 1, P): -inf on the padding of shorter prompts
        if min(prompt_lengths) != longest:
            lengths = torch.tensor(prompt_lengths, device=device)
            real = torch.arange(longest, device=device) < lengths[:, None]
            kind = next(iter(self.prefix_k.values())).dtype
            self.bias = torch.zeros(real.shape, dtype=kind, device=device).masked_fill(~real, -torch.inf)[:, None, None]
        rows, self.max_tokens = len(self.owner), max_tokens
        self.own_k, self.own_v = (
            {n: x.new_empty((rows, x.shape[1], min(_FIRST_TOKENS, max_tokens), x.shape[3])) for n, x in store.items()}
            for store in (self.prefix_k, self.prefix_v)
        )
        self._arrange()

    def _arrange(self) -> None:
        """Index of the (B, G) grid in which the samples of a prompt multiply its keys together."""
        counts = torch.bincount(self.owner, minlength=len(next(iter(self.prefix_k.values()))))
        self._grid_samples = int(counts.max())
        self._uniform = bool((counts == self._grid_samples).all())
        first = counts.cumsum(0) - counts
        rows = torch.arange(len(self.owner))
        cell = self.owner * self._grid_samples + rows - first[self.owner]
        # Empty cells compute row 0 again and are never read.
        row = torch.zeros(len(counts) * self._grid_samples, dtype=torch.long).index_copy(0, cell, rows)
        self._cell, self._row = cell.to(self.device), row.to(self.device)  # row -> cell, cell -> row

    @property
    def prompt_tokens(self) -> int:
        """Tokens whose keys are kept for prompts, padding included."""
        prompts, _, longest, _ = next(iter(self.prefix_k.values())).shape
        return int(prompts * longest)

    def keep(self, rows: Tensor) -> None:
        """Keeps these rows (ascending, on the CPU) and forgets every other."""
        prompts, self.owner = torch.unique_consecutive(self.owner[rows], return_inverse=True)
        rows, prompts = rows.to(self.device), prompts.to(self.device)
        if len(prompts) < len(next(iter(self.prefix_k.values()))):
            for store in (self.prefix_k, self.prefix_v):
                for layer in store:
                    store[layer] = store[layer].index_select(0, prompts)
            if self.bias is not None:
                self.bias = self.bias.index_select(0, prompts)
        for store in (self.own_k, self.own_v):
            for layer, old in store.items():
                fresh = old.new_empty((len(rows), *old.shape[1:]))
                fresh[:, :, : self.step] = old[:, :, : self.step].index_select(0, rows)
                store[layer] = fresh
        self._arrange()

    def _room(self, store: dict[int, Tensor], layer: int) -> Tensor:
        """A layer's store with room for one more token."""
        old = store[layer]
        R, K, T, D = old.shape
        if self.step == T:
            store[layer] = old.new_empty((R, K, min(2 * T, self.max_tokens), D))
            store[layer][:, :, :T] = old
        return store[layer]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        R, H, _, D = q.shape
        K = k.shape[1]
        rep = H // K
        own_k, own_v = self._room(self.own_k, layer), self._room(self.own_v, layer)
        own_k[:, :, self.step] = k[:, :, 0]
        own_v[:, :, self.step] = v[:, :, 0]
        seen = self.step + 1
        prefix_k, prefix_v = self.prefix_k[layer], self.prefix_v[layer]
        B = len(prefix_k)
        G = self._grid_samples

        q = q.to(prefix_v.dtype).reshape(R, K, rep, D)
        grid = (q if self._uniform else q[self._row]).view(B, G, K, rep, D).transpose(1, 2)
        # Two softmaxes over disjoint keys, joined by their sums as in blocks.py: the prompt's keys are neither copied
        # nor laid beside the sample's own.
        out, lse = self._kernel.forward(grid.reshape(B, K, G * rep, D), prefix_k, prefix_v, False, scale, self.bias)
        out, lse = self._to_rows(out.reshape(B, K, G, rep, D)), self._to_rows(lse.reshape(B, K, G, rep))
        own, own_lse = self._kernel.forward(q, own_k[:, :, :seen], own_v[:, :, :seen], False, scale)
        # In float32, as the learner joins them.
        out = own.float().lerp(out.float(), (lse - own_lse).sigmoid()[..., None])
        return out.to(v.dtype).reshape(R, 1, H, D)

    def _to_rows(self, cells: Tensor) -> Tensor:
        """(B, K, G, rep, ...) to (R, K, rep, ...)."""
        rows = cells.transpose(1, 2).flatten(0, 1)
        return rows if self._uniform else rows[self._cell]


class Together:
    """Layouts of several waves, side by side in the rows of one pass."""

    def __init__(self, layouts: Sequence[Decode]) -> None:
        self.layouts = layouts
        self.sizes = [len(layout.owner) for layout in layouts]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        parts = zip(self.layouts, q.split(self.sizes), k.split(self.sizes), v.split(self.sizes), strict=True)
        return torch.cat([layout.attend(layer, own_q, own_k, own_v, scale) for layout, own_q, own_k, own_v in parts])
