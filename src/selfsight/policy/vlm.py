"""A model with its processor: what the learner and the sampler both stand on.

`Vlm` turns encoded prompts into model inputs (each distinct image through the vision tower once per forward),
knows the positions a prompt's tokens carry, which tokens are banned and which end a completion, and whether
shared-prefix rows may be used.
"""

import copy
import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.policy import prefix
from selfsight.policy.loading import ModelOptions, load_model, resolve_folder
from selfsight.policy.processor import EncodedPrompt, PromptEncoder, stack_pixels

logger = logging.getLogger(__name__)

# Families whose text decoder is plain causal attention, each covered by tests/policy/test_prefix.py.
SHARED_PREFIX_FAMILIES = frozenset({"qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "smolvlm"})
_PROBE_TOLERANCE = 1e-3


class Vlm:
    """A loaded model, its encoder and the facts derived from both. `backend` is "shared" or "padded"."""

    def __init__(self, folder: Path, model: Any, encoder: PromptEncoder, options: ModelOptions) -> None:
        self.folder, self.model, self.encoder, self.options = folder, model, encoder, options
        self.device = torch.device(options.device)
        self.text_config = model.config.get_text_config()
        self.eos_ids = _eos_ids(model, encoder)
        tokenizer = encoder.tokenizer
        self.pad_id = self.eos_ids[0] if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self.banned = torch.zeros(self.text_config.vocab_size, dtype=torch.bool, device=self.device)
        self.banned[list(encoder.placeholder_ids)] = True
        rope = getattr(self.text_config, "rope_parameters", None) or {}
        self._has_mrope = "mrope_section" in rope
        self._takes_features = "mm_encoder_outputs" in inspect.signature(model.model.forward).parameters
        self.backend, self.backend_reason = _choose_backend(self)
        logger.info("%s: %s rows (%s)", folder.name, self.backend, self.backend_reason)

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
        encoder = PromptEncoder(folder, model.config, open_image, area=area)
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

    @property
    def head(self) -> Any:
        return self.model.get_output_embeddings()

    def check_length(self, prompt: EncodedPrompt, completion: int) -> None:
        limit = getattr(self.text_config, "max_position_embeddings", None)
        if limit is not None and len(prompt) + completion > limit:
            raise SelfsightError(
                f"A prompt of {len(prompt)} tokens and {completion} new ones pass the limit of {limit}.",
                hint="Lower max_completion_length or the image size.",
            )

    def positions(self, prompt: EncodedPrompt) -> tuple[Tensor, int]:
        """Positions (planes, P) of the prompt's tokens, on the CPU, and the position of the next token.

        M-RoPE gives image tokens a (time, height, width) grid; text continues in all three planes after the
        largest. Without an explicit grid transformers falls back to one-dimensional positions, silently.
        """
        length = len(prompt)
        if not self._has_mrope:
            return torch.arange(length)[None], length
        if prompt.image is None:
            return torch.arange(length).expand(3, -1), length
        grid = self.encoder.image(prompt.image).pixels["image_grid_thw"]
        planes, delta = self.model.model.get_rope_index(
            torch.from_numpy(prompt.input_ids)[None],
            mm_token_type_ids=torch.from_numpy(prompt.token_types)[None],
            image_grid_thw=grid,
        )
        return planes[:, 0], length + int(delta)

    def position_argument(self, planes: Tensor) -> Tensor:
        """(planes, rows, tokens) as the model wants it: (3, rows, tokens) for M-RoPE, else (rows, tokens)."""
        return (planes if self._has_mrope else planes[0]).to(self.device)

    def image_inputs(self, prompts: Sequence[EncodedPrompt]) -> dict[str, Any]:
        """Model inputs for the images of these rows, in row order; a shared image is encoded once."""
        refs = [prompt.image for prompt in prompts if prompt.image is not None]
        if not refs:
            return {}
        distinct = {ref.id: ref for ref in refs}
        index_of = {image_id: index for index, image_id in enumerate(distinct)}
        index = [index_of[ref.id] for ref in refs]
        encoded = [self.encoder.image(ref).pixels for ref in distinct.values()]
        if not self._takes_features:
            return self._on_device(stack_pixels([encoded[i] for i in index]))
        outputs = self.model.model.get_image_features(**self._on_device(stack_pixels(encoded)), return_dict=True)
        if index != list(range(len(encoded))):
            _take_features(outputs, index, [_tiles(pixels) for pixels in encoded])
        return {"mm_encoder_outputs": {"image": outputs}}

    def _on_device(self, pixels: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in pixels.items()}

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


def _tiles(pixels: dict[str, Tensor]) -> int:
    """Number of tiles an image was cut into, for models that see it as several."""
    values = pixels["pixel_values"]
    return values.shape[1] if values.ndim == 5 else values.shape[0]


def _take_features(outputs: Any, index: list[int], tiles: list[int]) -> None:
    """Repeats image features per row, in place; the vision tower has run once per distinct image."""
    pooled = outputs.pooler_output
    if isinstance(pooled, Tensor):
        parts = pooled.split(tiles)
        outputs.pooler_output = torch.cat([parts[i] for i in index])
    else:
        outputs.pooler_output = [pooled[i] for i in index]
    if "deepstack_features" in outputs:
        outputs.deepstack_features = [[layer[i] for i in index] for layer in outputs.deepstack_features]


def _choose_backend(vlm: Vlm) -> tuple[str, str]:
    """Shared-prefix rows where they are known and measured to be exact, else a plain padded batch."""
    requested = vlm.options.backend
    if requested == "padded":
        return "padded", "as asked"
    reason = _why_not_shared(vlm)
    if reason is None:
        return "shared", "as asked" if requested == "shared" else "plain causal attention, probed"
    if requested == "shared":
        raise SelfsightError(
            f"Model {vlm.folder}: shared-prefix rows are not possible: {reason}.",
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
    plain = _probe(vlm, None)
    prefix.install(vlm.model)
    layout = prefix.LearnRows([4], 2, 2, vlm.device)
    difference = float((_probe(vlm, layout) - plain).abs().max())
    if not difference <= _PROBE_TOLERANCE * max(1.0, float(plain.abs().max())):
        vlm.model.set_attn_implementation("sdpa")
        return f"the attention function is not honoured (probe differs by {difference:.1e})"
    return None


def _probe(vlm: Vlm, layout: prefix.LearnRows | None) -> Tensor:
    """Last hidden states (2, 6, hidden) of two four-token prompts with two more tokens each, float32."""
    tokens = [t for t in range(64) if t not in vlm.encoder.placeholder_ids][:8]
    prompt, first, second = tokens[:4], tokens[4:6], tokens[6:8]
    if layout is None:
        ids = torch.tensor([prompt + first, prompt + second], device=vlm.device)
        places = torch.arange(6, device=vlm.device).expand(2, -1)
        extra: dict[str, Any] = {}
    else:
        ids = torch.tensor([prompt + first + second], device=vlm.device)
        places = torch.tensor([[0, 1, 2, 3, 4, 5, 4, 5]], device=vlm.device)
        extra = {"attention_mask": prefix.prepared_mask(vlm.device), "shared_prefix": layout}
    planes = places.expand(3, -1, -1) if vlm._has_mrope else places[None]
    with torch.no_grad():
        hidden = vlm.model.model(
            input_ids=ids, position_ids=vlm.position_argument(planes), use_cache=False, **extra
        ).last_hidden_state.float()
    if layout is None:
        return hidden
    return torch.stack([torch.cat([hidden[0, :4], hidden[0, at : at + 2]]) for at in (4, 6)])
