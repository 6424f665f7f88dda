"""A model with its processor: what the learner and the sampler both stand on.

`Vlm` knows the positions a prompt's tokens carry, which tokens are banned and which end a completion, whether rows of
tries may be used, and whether the logits are the head's output and nothing else.
"""

import copy
import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.policy import prefix
from selfsight.policy.blocks import TrieAttention
from selfsight.policy.decoder import decode_step, missing_parts
from selfsight.policy.folder_check import opening_errors
from selfsight.policy.loaded_check import require_tokens_fit
from selfsight.policy.loading import ModelOptions, language_model, load_model, recomputed_layers, resolve_folder
from selfsight.policy.processor import EncodedPrompt, PromptEncoder
from selfsight.policy.trie import Path as TokenPath
from selfsight.policy.trie import Row, pack_rows

logger = logging.getLogger(__name__)

RowAttention = Callable[[Row, torch.device, prefix.Carried | None], prefix.Layout]

# Families whose text decoder is plain causal attention, each covered by tests/policy/test_prefix.py.
SHARED_PREFIX_FAMILIES = frozenset({"qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "smolvlm", "llava_onevision"})
# Families whose masks depend on which tokens are an image's: without them transformers takes a causal mask, silently.
MODALITY_MASKED_FAMILIES = frozenset({"gemma3"})
_WAYS = {
    "shared": "what answers share is computed once",
    "padded": "every answer is computed with a prompt of its own, more slowly",
}
_PROBE_TOLERANCE = 1e-3
# In half precision rounding alone is .005 to .02 of the norm (2 to 36 layers). An attention that does not know the
# layout was .08 to .43 off: a probe may be off by a share of what that does to the same model.
_HALF_SHARE = 0.25
_STEP_HALF = 0.02


class Vlm:
    """A loaded model, its encoder and the facts derived from both. `backend` is "shared" or "padded"; a fallback to the
    latter is logged as a warning, with its reason.
    """

    def __init__(self, folder: Path, model: Any, encoder: PromptEncoder, options: ModelOptions) -> None:
        self.folder, self.model, self.encoder, self.options = folder, model, encoder, options
        self.device = torch.device(options.device)
        self.text_config = model.config.get_text_config()
        self.eos_ids = _with_turn_end(_eos_ids(model, encoder), encoder)
        tokenizer = encoder.tokenizer
        self.pad_id = self.eos_ids[0] if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self.banned = torch.zeros(self.text_config.vocab_size, dtype=torch.bool, device=self.device)
        self.banned[list(encoder.placeholder_ids)] = True
        rope = getattr(self.text_config, "rope_parameters", None) or {}
        self._has_mrope = "mrope_section" in rope
        self.takes_features = "mm_encoder_outputs" in inspect.signature(model.model.forward).parameters
        if not self.takes_features:
            reason = f"transformers {version('transformers')} takes nothing but pixels here"
            logger.warning("Model %s: an image is encoded for every batch that shows it (%s)", folder.name, reason)
        self.row_attention: RowAttention = TrieAttention
        self.sees_images_both_ways = model.config.model_type in MODALITY_MASKED_FAMILIES
        self.plain_head = _head_is_plain(self)
        self.backend, self.backend_reason = _choose_backend(self)
        unasked = self.backend == "padded" != options.backend
        logger.log(
            logging.WARNING if unasked else logging.INFO,
            "Model %s: %s (%s)", folder.name, _WAYS[self.backend], self.backend_reason,
        )  # fmt: skip
        self._decoder_name, _ = language_model(model)
        self.decodes_by_step = False
        if self.backend == "shared":
            why_not = _why_not_by_step(self)
            self.decodes_by_step = why_not is None
            if why_not is not None:
                logger.warning("Model %s: transformers' forward pass decodes, more slowly (%s)", folder.name, why_not)

    @classmethod
    def open(
        cls,
        path: str | Path,
        options: ModelOptions,
        open_image: Callable[[ImageRef], Image.Image],
        *,
        trainable: bool,
    ) -> "Vlm":
        folder = resolve_folder(path, revision=options.revision)
        model: Any = load_model(folder, options, trainable=trainable)
        area = (options.min_pixels, options.max_pixels)
        with opening_errors(folder, "tokenizer or image processor"):
            encoder = PromptEncoder(folder, model.config, open_image, area=area)
        require_tokens_fit(folder, model, encoder.tokenizer)
        with opening_errors(folder, "first forward pass"):
            return cls(folder, model, encoder, options)

    def frozen_copy(self) -> "Vlm":
        """A copy that later updates of this one do not reach.

        Weights that are never trained (a LoRA base, a frozen vision tower) are shared, not copied.
        """
        shared: dict[int, Any] = {id(p): p for p in self.model.parameters() if not p.requires_grad}
        twin = copy.copy(self)
        twin.model = copy.deepcopy(self.model, shared)
        twin.model.requires_grad_(False)
        return twin

    def compute(self) -> AbstractContextManager[object]:
        """bfloat16 autocast where the options ask for it; the learner and the sampler run under the same."""
        if self.options.dtype == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def recomputing(self) -> AbstractContextManager[object]:
        """Around a forward pass with gradient, if the options ask for gradient checkpointing."""
        if self.options.gradient_checkpointing and torch.is_grad_enabled():
            return recomputed_layers(self.model)
        return nullcontext()

    @property
    def head(self) -> Any:
        return self.model.get_output_embeddings()

    @property
    def decoder(self) -> Any:
        """The text decoder."""
        return self.model.get_submodule(self._decoder_name)

    def hidden(
        self, ids: Tensor, planes: Tensor, layout: prefix.Layout, images: dict[str, Any] | None = None
    ) -> Tensor:
        """Last hidden states (rows, tokens, hidden) of `ids` (rows, tokens) at `planes` (planes, rows, tokens), which
        attend as the layout says.
        """
        hidden: Tensor = self.model.model(
            input_ids=ids.to(self.device),
            position_ids=self.position_argument(planes),
            attention_mask=prefix.prepared_mask(self.device),
            use_cache=False,
            shared_prefix=layout,
            **(images or {}),
        ).last_hidden_state
        return hidden

    def next_hidden(self, tokens: Tensor, position: Tensor, layout: prefix.Layout) -> Tensor:
        """Hidden states (R, hidden) after one new token (R,) at `position` (R,) each."""
        planes = position[None, :, None].expand(3, -1, -1)
        if self.decodes_by_step:
            return decode_step(self.decoder, tokens, self.position_argument(planes), layout)
        return self.hidden(tokens[:, None], planes, layout)[:, 0]

    @property
    def key_value_bytes(self) -> int:
        """Memory of one token's keys and values in all layers."""
        text = self.text_config
        head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        number: int = getattr(torch, self.options.dtype).itemsize
        return int(2 * text.num_hidden_layers * heads * head * number)

    def check_length(self, prompt: EncodedPrompt, completion: int) -> None:
        limit = getattr(self.text_config, "max_position_embeddings", None)
        if limit is not None and len(prompt) + completion > limit:
            raise SelfsightError(
                f"A prompt of {len(prompt)} tokens and {completion} new ones pass the limit of {limit}.",
                hint="Lower visplay.max_answer_length and visplay.max_question_length, or vision_zero.max_clue_length, "
                "max_vote_length and max_answer_length; or max_pixels, which makes images shorter prompts.",
            )

    def positions(self, prompt: EncodedPrompt) -> tuple[Tensor, int]:
        """Positions (planes, P) of the prompt's tokens, on the CPU, and the position of the next token.

        M-RoPE gives image tokens a (time, height, width) grid; text continues in all three planes after the
        largest. Without an explicit grid transformers falls back to one-dimensional positions, silently.
        """
        length = len(prompt)
        if not self._has_mrope:
            return torch.arange(length)[None], length
        if not prompt.images:
            return torch.arange(length).expand(3, -1), length
        grid = torch.cat([self.encoder.image(ref).pixels["image_grid_thw"] for ref in prompt.images])
        planes, delta = self.model.model.get_rope_index(
            torch.from_numpy(prompt.input_ids)[None],
            mm_token_type_ids=torch.from_numpy(prompt.token_types)[None],
            image_grid_thw=grid,
        )
        return planes[:, 0], length + int(delta)

    def position_argument(self, planes: Tensor) -> Tensor:
        """(planes, rows, tokens) as the model wants it: (3, rows, tokens) for M-RoPE, else (rows, tokens)."""
        return (planes if self._has_mrope else planes[0]).to(self.device)

    def modality_argument(self, types: np.ndarray) -> dict[str, Tensor]:
        """`types` (rows, tokens), 1 where a token stands for an image, as the model wants it; nothing for most."""
        return {"token_type_ids": torch.from_numpy(types).to(self.device)} if self.sees_images_both_ways else {}

    def check_completion(self, token_ids: np.ndarray) -> None:
        if len(token_ids) == 0:
            raise ValueError("a completion has no tokens; there is nothing to score")
        if np.isin(token_ids, self.encoder.placeholder_ids).any():
            raise SelfsightError(
                "A completion contains an image placeholder token, which has no probability here.",
                hint="Score completions that this sampler drew, or plain text encoded by this tokenizer.",
            )


def _eos_ids(model: Any, encoder: PromptEncoder) -> tuple[int, ...]:
    stated = model.generation_config.eos_token_id
    ids = stated if isinstance(stated, list) else [] if stated is None else [stated]
    if encoder.tokenizer.eos_token_id is not None:
        ids = [*ids, encoder.tokenizer.eos_token_id]
    if not ids:
        raise SelfsightError(
            f"Model {encoder.folder}: states no end-of-sequence token.",
            hint="Set eos_token_id in generation_config.json.",
        )
    return tuple(dict.fromkeys(int(token) for token in ids))


def _with_turn_end(stop_ids: tuple[int, ...], encoder: PromptEncoder) -> tuple[int, ...]:
    """The stop ids, and the token that ends an assistant's turn in the chat template if the folder does not state it.

    Without it no answer would ever be finished: all would run to the length limit and count as abstentions. A special
    token that follows every answer in the template is what the model was trained to end its answers with.
    """
    after = encoder.template.after_answer
    if after is None:
        return stop_ids
    tokenizer = encoder.tokenizer
    following = tokenizer(after, add_special_tokens=False)["input_ids"]
    if set(following) & set(stop_ids):
        return stop_ids
    stated = ", ".join(f"{token!r} ({id_})" for id_, token in _named(tokenizer, stop_ids))
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = [id_ for id_ in following if id_ in special and id_ not in encoder.placeholder_ids]
    if not ends:
        logger.warning(
            "Model %s: no stop token follows an answer in its chat template, but %r; stop tokens are %s. "
            "Answers may all run to max_completion_length: set eos_token_id in generation_config.json",
            encoder.folder.name, after, stated,
        )  # fmt: skip
        return stop_ids
    ((_, name),) = _named(tokenizer, ends[:1])
    logger.warning(
        "Model %s: its chat template ends an answer with %r (%d), which is not among its stop tokens, %s; "
        "answers stop there too",
        encoder.folder.name, name, ends[0], stated,
    )  # fmt: skip
    return (*stop_ids, ends[0])


def _named(tokenizer: Any, ids: Sequence[int]) -> list[tuple[int, str]]:
    return [(id_, str(tokenizer.convert_ids_to_tokens(id_))) for id_ in ids]


def _choose_backend(vlm: Vlm) -> tuple[str, str]:
    """Rows of tries where they are known and measured to be exact, else a plain padded batch."""
    requested = vlm.options.backend
    if requested == "padded":
        return "padded", "as asked"
    reason = _why_not_shared(vlm)
    if reason is None:
        return "shared", "as asked" if requested == "shared" else "plain causal attention, probed"
    if requested == "shared":
        raise SelfsightError(
            f"Model {vlm.folder}: rows of tries are not possible: {reason}.",
            hint="Set backend to auto or padded.",
        )
    return "padded", reason


def _why_not_shared(vlm: Vlm) -> str | None:
    family = vlm.model.config.model_type
    if family not in SHARED_PREFIX_FAMILIES:
        return f"model type {family!r} is not among those tested"
    kinds = set(getattr(vlm.text_config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"layers of type {sorted(kinds - {'full_attention'})}"
    if not vlm.plain_head:
        return "its logits are more than its head applied to the last hidden states"
    plain = _probe(vlm)
    prefix.install(vlm.model)
    difference = _distance(_probe(vlm, vlm.row_attention), plain)
    allowed = _PROBE_TOLERANCE
    if vlm.options.dtype != "float32":
        allowed = _HALF_SHARE * _distance(_probe(vlm, _EveryTokenBefore), plain)
    if not difference < allowed:
        vlm.model.set_attn_implementation({"text_config": "sdpa"})
        return f"the attention function is not honoured (probe differs by {difference:.1e})"
    return None


class _EveryTokenBefore:
    """A layout that is wrong for a row of tries: a token looks at all before it, those of siblings included."""

    def __init__(self, row: Row, device: torch.device, carried: prefix.Carried | None = None) -> None: ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return prefix.causal(q, k, v, scale).transpose(1, 2)


def _distance(one: Tensor, other: Tensor) -> float:
    """Norm of the difference, as a share of the other's."""
    return float((one - other).norm() / other.norm())


@torch.no_grad()
def _why_not_by_step(vlm: Vlm) -> str | None:
    """Whether `decode_step` is what the forward pass computes, asked after a prompt of eight tokens in two rows."""
    if missing := missing_parts(vlm.decoder):
        return f"its decoder has no {', '.join(missing)}"
    ids = torch.from_numpy(_probe_ids(vlm)).to(vlm.device)
    prompts = prefix.Prefill()
    planes = torch.full((3, 2, 1), 8)
    with vlm.compute():
        vlm.hidden(ids[:, :8], torch.arange(8).expand(3, 2, 8), prompts)
        layout = prefix.Decode(prompts, [8, 8], [1, 1], 1, vlm.device)
        expected = vlm.hidden(ids[:, 8:9], planes, layout)[:, 0].float()
        try:
            found = decode_step(vlm.decoder, ids[:, 8], vlm.position_argument(planes), layout)
            difference = _distance(found.float(), expected)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:  # another decoder with the same names
            return f"layer by layer it fails: {error}"
    allowed = {"float32": _PROBE_TOLERANCE, "bfloat16": _STEP_HALF}[vlm.options.dtype]
    return None if difference < allowed else f"layer by layer it differs by {difference:.1e}"


def _probe_ids(vlm: Vlm) -> np.ndarray:
    """(2, 12): two sequences that begin with the same eight tokens."""
    usable = [t for t in range(64) if t not in vlm.encoder.placeholder_ids]
    return np.array([usable[:12], [*usable[:8], *usable[12:16]]])


def _probe(vlm: Vlm, layout_of: RowAttention | None = None) -> Tensor:
    """Last hidden states (2, 12, hidden) of the probe in float32, from two rows, or from one with a layout."""
    ids = _probe_ids(vlm)
    places = np.broadcast_to(np.arange(12), (3, 12))
    if layout_of is None:
        return _plain_hidden(vlm, ids, np.broadcast_to(places[:, None], (3, 2, 12))).float()
    # With a "prompt" of one token the places of all twelve are picked.
    paths = [TokenPath(row, places, np.zeros(12, dtype=np.int64), (), 1) for row in ids]
    (row,) = pack_rows(paths, 24)
    packed, planes = torch.from_numpy(row.ids)[None], torch.from_numpy(row.planes)[:, None]
    with torch.no_grad(), vlm.compute():
        hidden = vlm.hidden(packed, planes, layout_of(row, vlm.device, None))
    return hidden[0, torch.from_numpy(row.picked).to(vlm.device)].float().unflatten(0, (2, 12))


def _plain_hidden(vlm: Vlm, ids: np.ndarray, planes: np.ndarray) -> Tensor:
    """Last hidden states by transformers' own attention."""
    with torch.no_grad(), vlm.compute():
        hidden: Tensor = vlm.model.model(
            input_ids=torch.from_numpy(ids).to(vlm.device),
            position_ids=vlm.position_argument(torch.from_numpy(planes.copy())),
            use_cache=False,
        ).last_hidden_state
    return hidden


def _head_is_plain(vlm: Vlm) -> bool:
    """Whether the model's logits are its head applied to its last hidden states (no capping, no scaling)."""
    ids = _probe_ids(vlm)
    places = np.broadcast_to(np.arange(12), (3, 2, 12))
    with torch.no_grad(), vlm.compute():
        logits = vlm.model(
            input_ids=torch.from_numpy(ids).to(vlm.device),
            position_ids=vlm.position_argument(torch.from_numpy(places.copy())),
            use_cache=False,
        ).logits.float()
        ours = vlm.head(_plain_hidden(vlm, ids, places)).float()
    return float((ours - logits).abs().max()) <= _PROBE_TOLERANCE * max(1.0, float(logits.abs().max()))
