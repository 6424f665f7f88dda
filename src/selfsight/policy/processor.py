"""From a prompt to model inputs, with the processor of `load_processor`.

The image comes first in the user turn, so that all questions about one image share the longest prefix.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy.chat_template import TEMPLATE_ERRORS
from selfsight.policy.load_processor import load_processor_and_template
from selfsight.run.progress import plain_text

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
Value = TypeVar("Value")

_PLACEHOLDER_KEYS = tuple(
    f"{kind}_token_{suffix}" for kind in ("image", "video", "audio", "vision") for suffix in ("id", "index")
)


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """Token ids (P,) and which of `images` each stands for (P,): 1 is the first, 0 is text. Pixels are looked up by
    image, see `PromptEncoder.image`.
    """

    input_ids: np.ndarray
    token_images: np.ndarray
    images: tuple[ImageRef, ...]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def token_types(self) -> np.ndarray:
        """(P,) modality: 0 text, 1 image."""
        types: np.ndarray = np.minimum(self.token_images, 1)
        return types


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """Pixel inputs of one image (leading axis as the model wants it), and the tokens that stand for it."""

    pixels: dict[str, Tensor]
    input_ids: np.ndarray
    token_types: np.ndarray

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.pixels.values())


class _Recent(Generic[Key, Value]):
    """A least-recently-used store bounded by the total weight of its values."""

    def __init__(self, capacity: int, weigh: Callable[[Value], int]) -> None:
        self._items: OrderedDict[Key, Value] = OrderedDict()
        self._capacity, self._weigh, self._total = capacity, weigh, 0

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        value = make()
        self._items[key] = value
        self._total += self._weigh(value)
        while self._total > self._capacity and len(self._items) > 1:
            self._total -= self._weigh(self._items.popitem(last=False)[1])
        return value


class PromptEncoder:
    """Encodes prompts for one model; every image is opened and preprocessed once while it stays in the cache.

    The cache holds pixels, which do not depend on any weight, so nothing in it can go stale.
    """

    def __init__(
        self,
        folder: Path,
        config: Any,
        open_image: Callable[[ImageRef], Image.Image],
        *,
        area: tuple[int | None, int | None] = (None, None),
        image_cache_bytes: int = 1 << 30,
        prompt_cache: int = 8192,
    ) -> None:
        self.folder = folder
        self.processor, self.template = load_processor_and_template(folder, config)
        self.tokenizer = self.processor.tokenizer
        _bound_area(folder, self.processor.image_processor, *area)
        self._pictures: dict[str, Image.Image] = {}
        self._opener = open_image
        self._images: _Recent[str, EncodedImage] = _Recent(image_cache_bytes, lambda image: image.nbytes)
        self._prompts: _Recent[Prompt, EncodedPrompt] = _Recent(prompt_cache, lambda _: 1)
        self._splice: dict[int, bool] = {}  # by number of images
        self.placeholder_ids = _placeholder_ids(config, self.processor)
        # Gemma's processor calls the token in front of an image its image token.
        self._image_id = int(getattr(config, "image_token_id", self.processor.image_token_id))
        self._special = sorted(
            (token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special),
            key=len,
            reverse=True,
        )

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        return self._prompts.get(prompt, lambda: self._encode(prompt))

    def image(self, ref: ImageRef) -> EncodedImage:
        return self._images.get(ref.id, lambda: self._encode_image(ref))

    def show(self, ref: ImageRef, picture: Image.Image) -> None:
        """Makes a picture known under `ref` that belongs to no source."""
        self._pictures[ref.id] = picture

    def as_processed(self, prompt: Prompt) -> dict[str, Tensor]:
        """All that transformers makes of a prompt in one call: (1, P) token ids, pixels, whatever the model takes."""
        pictures = [{"type": "image", "image": self._open_image(ref)} for ref in prompt.images]
        return dict(
            self._apply(prompt, pictures, tokenize=True, return_dict=True, processor_kwargs={"return_tensors": "pt"})
        )

    def decode(self, token_ids: np.ndarray) -> str:
        return str(self.tokenizer.decode(token_ids.tolist(), skip_special_tokens=True))

    def _open_image(self, ref: ImageRef) -> Image.Image:
        return self._pictures[ref.id] if ref.id in self._pictures else self._opener(ref)

    def _encode(self, prompt: Prompt) -> EncodedPrompt:
        text = self._render(prompt)
        images = prompt.images
        if not images:
            ids = np.asarray(self.processor(text=[text], **self._specials(text))["input_ids"][0], dtype=np.int64)
            return EncodedPrompt(ids, np.zeros_like(ids), ())
        if len(images) not in self._splice:
            self._splice[len(images)] = self._splice_agrees(images, text)
        if self._splice[len(images)]:
            ids, numbers = self._spliced(images, text)
        else:
            ids, types, _ = self._call_processor(text, [self._open_image(ref) for ref in images])
            numbers = self._numbered(types, images)
        return EncodedPrompt(ids, numbers, images)

    def _render(self, prompt: Prompt) -> str:
        return str(self._apply(prompt, [{"type": "image"} for _ in prompt.images], tokenize=False))

    def _apply(self, prompt: Prompt, pictures: list[dict[str, Any]], **how: Any) -> Any:
        system = None if prompt.system is None else self._plain(prompt.system)
        messages = self.template.messages(self._plain(prompt.user), pictures, system)
        try:
            return self.processor.apply_chat_template(messages, add_generation_prompt=True, **how)
        except TEMPLATE_ERRORS as error:
            raise SelfsightError(
                f"Model file {self.template.file}: its chat template fails on a prompt ({type(error).__name__}: "
                f"{plain_text(str(error))}).",
                hint="Use the template that the model's publisher ships.",
            ) from error

    def _plain(self, text: str) -> str:
        """Breaks control tokens written out in a text, so that a question cannot forge a turn or an image."""
        for token in self._special:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _specials(self, text: str) -> dict[str, bool]:
        """Keeps the tokenizer from adding special tokens to a text that begins with BOS, as transformers does.

        Otherwise a template that writes BOS and a tokenizer that adds it would give two. An image marker alone is the
        middle of a prompt, and gets none either.
        """
        bos = self.tokenizer.bos_token
        inner = text == self.processor.image_token or (bos and text.startswith(bos))
        return {"add_special_tokens": False} if inner else {}

    def _encode_image(self, ref: ImageRef) -> EncodedImage:
        ids, types, pixels = self._call_processor(self.processor.image_token, [self._open_image(ref)])
        return EncodedImage(pixels, ids, types)

    def _call_processor(self, text: str, images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
        # A list in a list: some processors take a flat one for a batch of prompts with an image each.
        out = dict(self.processor(text=[text], images=[images], return_tensors="pt", **self._specials(text)))
        ids = out.pop("input_ids")[0].numpy().astype(np.int64)
        out.pop("attention_mask", None)
        out.pop("mm_token_type_ids", None)
        out.pop("token_type_ids", None)
        types = (ids == self._image_id).astype(np.int64)
        return ids, types, out

    def _spliced(self, images: Sequence[ImageRef], text: str) -> tuple[np.ndarray, np.ndarray]:
        """The prompt's ids with the images' tokens in place of their markers, and the image of each; no image is
        reprocessed.
        """
        parts = [
            np.asarray(self.tokenizer(part, add_special_tokens=False)["input_ids"], dtype=np.int64)
            for part in text.split(self.processor.image_token)
        ]
        if not self._specials(text):
            # What the tokenizer adds in front of a text (BOS, or nothing).
            added = np.asarray(self.tokenizer("")["input_ids"], dtype=np.int64)
            parts[0] = np.concatenate([added, parts[0]])
        ids, numbers = [parts[0]], [np.zeros_like(parts[0])]
        for number, (ref, part) in enumerate(zip(images, parts[1:], strict=True), 1):
            encoded = self.image(ref)
            ids += [encoded.input_ids, part]
            numbers += [encoded.token_types * number, np.zeros_like(part)]
        return np.concatenate(ids), np.concatenate(numbers)

    def _numbered(self, types: np.ndarray, images: Sequence[ImageRef]) -> np.ndarray:
        """Which image each token stands for, given which tokens stand for one."""
        sizes = [int(self.image(ref).token_types.sum()) for ref in images]
        if sum(sizes) != int(types.sum()):
            raise SelfsightError(
                f"Model {self.folder}: a prompt of {len(images)} images has {int(types.sum())} image tokens, but the "
                f"images have {sum(sizes)} when each is alone: its processor sees an image otherwise in company.",
                hint="Give this model one image in a prompt.",
            )
        numbers = np.zeros_like(types)
        numbers[types > 0] = np.repeat(np.arange(1, len(sizes) + 1), sizes)
        return numbers

    def _splice_agrees(self, images: Sequence[ImageRef], text: str) -> bool:
        """Whether splicing gives the processor's own ids for this tokenizer; asked once for each number of images."""
        markers = text.count(self.processor.image_token)
        if markers != len(images):
            raise SelfsightError(
                f"Model {self.folder}: its chat template writes {markers} image markers for {len(images)} images.",
                hint="The template must turn each content part of type 'image' into exactly one marker.",
            )
        direct, _, _ = self._call_processor(text, [self._open_image(ref) for ref in images])
        agrees = np.array_equal(direct, self._spliced(images, text)[0])
        if not agrees:
            logger.info("prompts are processed whole: this tokenizer does not split at the image marker")
        return agrees


def _bound_area(folder: Path, image_processor: Any, smallest: int | None, largest: int | None) -> None:
    """Qwen-like processors keep the two areas, in pixels, as the "edges" of `size`; others are fixed."""
    if smallest is None and largest is None:
        return
    if "merge_size" not in image_processor.to_dict():
        raise SelfsightError(
            f"Model {folder}: its image processor resizes to a fixed size.",
            hint="Remove min_pixels and max_pixels for this model.",
        )
    if smallest is not None and largest is not None and smallest > largest:
        raise SelfsightError(
            f"min_pixels={smallest} is above max_pixels={largest}.",
            hint="Give a smaller min_pixels or a larger max_pixels.",
        )
    size = dict(image_processor.size)
    # The bound that was asked for holds; the folder's own gives way where the two contradict each other.
    if largest is not None and smallest is None and (size.get("shortest_edge") or 0) > largest:
        smallest = largest
    if smallest is not None and largest is None and (size.get("longest_edge") or smallest) < smallest:
        largest = smallest
    image_processor.size = size | {
        edge: area for edge, area in (("shortest_edge", smallest), ("longest_edge", largest)) if area is not None
    }


def _placeholder_ids(config: Any, processor: Any) -> tuple[int, ...]:
    """Ids that stand for image, video or audio features: never sampled, never given probability."""
    content = config.to_dict()
    found = {content[key] for key in _PLACEHOLDER_KEYS if isinstance(content.get(key), int)}
    found.add(processor.image_token_id)
    vocabulary = config.get_text_config().vocab_size
    return tuple(sorted(int(token) for token in found if 0 <= token < vocabulary))


def stack_pixels(images: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Pixel inputs of several images as one batch; the tile axis of Idefics-like inputs is padded with zeros
    (which those models drop again)."""
    stacked = {}
    for key in images[0]:
        parts = [image[key] for image in images]
        if key.startswith("pixel") and parts[0].ndim >= 4 and parts[0].shape[0] == 1:
            most = max(part.shape[1] for part in parts)
            parts = [_pad_axis_1(part, most) for part in parts]
        stacked[key] = torch.cat(parts)
    return stacked


def _pad_axis_1(tensor: Tensor, size: int) -> Tensor:
    if tensor.shape[1] == size:
        return tensor
    filler = tensor.new_zeros((tensor.shape[0], size - tensor.shape[1], *tensor.shape[2:]))
    return torch.cat([tensor, filler], dim=1)
