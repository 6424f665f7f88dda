"""Does a model see an image here as transformers' own forward pass sees it? Asked once, when a model is loaded.

What a family makes of an image can hang on inputs that are not tokens or pixels: which tokens may look ahead (Gemma 3,
PaliGemma), positions, a mask of its own. A family that was not tested here could want one that this package does not
pass; transformers then takes its default in silence, and everything that is sampled and learned is slightly wrong.

So the last token of a prompt with one picture is asked for its log-probs twice: by `scoring`, with the inputs that
the sampler and the learner use, and by the model with everything that its processor returns.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy.scoring import ScoreItem, score
from selfsight.policy.vlm import MODALITY_MASKED_FAMILIES, SHARED_PREFIX_FAMILIES, Vlm

_PICTURE = ImageRef("probe", "a picture made at load")
_TOKENS = 16  # the likeliest, whose log-probs are compared: those of others are mostly rounding in bfloat16
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15}


@torch.no_grad()
def check_images_are_seen(vlm: Vlm) -> float:
    """Mean difference of the two over the likeliest tokens; SelfsightError when it is more than rounding."""
    vlm.encoder.show(_PICTURE, _picture())
    prompt = Prompt(_PICTURE, "What is in the picture?")
    theirs, tokens = _by_transformers(vlm, prompt).topk(_TOKENS)
    item = ScoreItem(vlm.encoder.encode(prompt), tuple(np.array([token]) for token in tokens.tolist()))
    ours = score(vlm, [item], 1.0).logprobs.float().cpu()
    difference = float((ours - theirs).abs().mean())
    if not difference <= _TOLERANCE[vlm.options.dtype]:
        tested = ", ".join(sorted(SHARED_PREFIX_FAMILIES | MODALITY_MASKED_FAMILIES))
        raise SelfsightError(
            f"Model {vlm.folder}: type {vlm.model.config.model_type!r} sees a picture otherwise than with its own "
            f"processor's inputs (log-probs differ by {difference:.1e}): it wants an input that is not passed here.",
            hint=f"Use a model of a tested type: {tested}.",
        )
    return difference


def _by_transformers(vlm: Vlm, prompt: Prompt) -> Tensor:
    """(V,) log-probs after the prompt, from whatever the model's processor makes of it."""
    inputs = vlm.encoder.as_processed(prompt)
    with vlm.compute():
        out = vlm.model(**{name: value.to(vlm.device) for name, value in inputs.items()}, use_cache=False)
    logits: Tensor = out.logits[0, -1].float()
    return logits.masked_fill(vlm.banned, -torch.inf).log_softmax(-1).cpu()


def _picture() -> Image.Image:
    """Two gradients and a square, so that no two patches are alike."""
    across = np.linspace(0, 255, 112, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(across[None], across[:, None], np.uint8(90)), axis=-1).copy()
    pixels[20:60, 40:90] = (250, 30, 60)
    return Image.fromarray(pixels)
