"""Our token ids and pixels as the engine's own input, so that sampler and learner see the same prompt to the bit.

vLLM would run its own processor over a picture, with another backend (torchvision) and another place for the
image's tokens. Its input type for prompts that were processed elsewhere is used instead: the ids are the learner's,
and so are the pixels; what stands between them is only which of the ids are the image's.

Families are those whose pixels and placeholders were compared with the learner's log-probs (tests/vllm). Others have
masks inside their placeholders, or other names for their pixels, and are refused with a reason.
"""

from typing import Any

import numpy as np

from selfsight.errors import SelfsightError
from selfsight.policy.processor import EncodedImage, EncodedPrompt

# Patches of all images lie in one tensor; the grid has a row for each image.
FAMILIES = frozenset({"qwen2_5_vl", "qwen3_vl"})


def check_family(model_type: str) -> None:
    if model_type not in FAMILIES:
        raise SelfsightError(
            f"The vLLM sampler has not been tested with models of type {model_type!r}, only {sorted(FAMILIES)}.",
            hint="Set sampler.backend to local.",
        )


def placeholder_range(prompt: EncodedPrompt, image: EncodedImage) -> tuple[int, int]:
    """Where the image's tokens begin in the prompt, and how many there are; they are one stretch."""
    places = np.flatnonzero(prompt.token_types)
    wanted = int(image.token_types.sum())
    if len(places) != wanted or places[-1] - places[0] + 1 != wanted:
        raise SelfsightError(
            f"A prompt has {len(places)} image tokens in places {places[:1]} to {places[-1:]}, but its image has "
            f"{wanted}, which must be in one stretch.",
            hint="Remove image placeholders from the prompt's text.",
        )
    return int(places[0]), wanted


def image_item(image: EncodedImage) -> Any:
    """One image as vLLM's MultiModalKwargsItem."""
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

    pixels, grid = image.pixels["pixel_values"], image.pixels["image_grid_thw"]
    fields = {
        "pixel_values": MultiModalFieldConfig.flat("image", [slice(0, len(pixels))]),
        "image_grid_thw": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
    }
    items: Any = {"pixel_values": pixels, "image_grid_thw": grid}
    return MultiModalKwargsItems.from_hf_inputs(items, fields)["image"][0]


def engine_input(prompt: EncodedPrompt, image: EncodedImage | None, item: Any = None) -> Any:
    """The prompt as vLLM's engine takes it; `item` is the image's, see `image_item`."""
    from vllm.inputs import mm_input, tokens_input
    from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

    ids = prompt.input_ids.tolist()
    if image is None:
        return tokens_input(ids)
    offset, length = placeholder_range(prompt, image)
    return mm_input(
        ids,
        MultiModalKwargsItems({"image": [item]}),
        {"image": [prompt.images[0].id]},
        {"image": [PlaceholderRange(offset=offset, length=length)]},
    )
