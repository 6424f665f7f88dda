"""Does a model compute here what it computes in transformers? Asked once, when it is loaded.

What a family makes of an image can hang on inputs that are not tokens or pixels: which tokens may look ahead (Gemma 3,
PaliGemma), positions, a mask. A family that was not tested here could want one that this package does not pass;
transformers then takes its default in silence, and everything that is sampled and learned is slightly wrong.

Three questions are asked of the model itself, not of a list of names. Prompts must get the tokens of transformers' own
`apply_chat_template`. The last token of a prompt with one picture must get the log-probs that the model computes from
everything that its processor returns. And samples that share a prompt's cache must get the log-probs of a pass without
cache (for models that use transformers' cache; the shared prefix has a probe in `vlm`).
"""

from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy.features import image_inputs
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.records import SampleRequest, Sampling
from selfsight.policy.samplers.wave import CachedWave
from selfsight.policy.scoring import ScoreItem, score
from selfsight.policy.vlm import MODALITY_MASKED_FAMILIES, SHARED_PREFIX_FAMILIES, Vlm
from selfsight.policy.vocabulary import masked_logits

_PICTURE = ImageRef("probe", "a picture made at load")
_TOKENS = 16  # the likeliest, whose log-probs are compared: those of others are mostly rounding in bfloat16
# What a model's own code raises on inputs or a cache that it does not expect.
FORWARD_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15}


@torch.no_grad()
def check_model(vlm: Vlm) -> None:
    """All that is asked of a model when it is loaded.

    Raises:
        SelfsightError: prompts, pictures or samples would be other than transformers' own.
    """
    check_prompts(vlm)
    check_images_are_seen(vlm)
    if vlm.backend == "padded":
        check_cache_divides(vlm)


def check_prompts(vlm: Vlm) -> None:
    """Token ids with and without a picture, with and without a system turn, are those of `apply_chat_template`."""
    encoder = vlm.encoder
    encoder.show(_PICTURE, _picture())
    for system in (None, "Answer in one word.") if encoder.template.no_system is None else (None,):
        for picture in (_PICTURE, None):
            prompt = Prompt(picture, "What is in the picture?", system)
            try:
                theirs = encoder.as_processed(prompt)["input_ids"][0].numpy()
                ours = encoder.encode(prompt).input_ids
            except FORWARD_ERRORS as error:
                raise SelfsightError(
                    f"Model {vlm.folder}: its processor fails on a prompt ({type(error).__name__}: {error}).",
                    hint="Compare the folder's processor files with those of the model's publisher.",
                ) from error
            if not np.array_equal(ours, theirs):
                kind = f"with{'out' if picture is None else ''} a picture"
                raise SelfsightError(
                    f"Model {vlm.folder}: the tokens of a prompt {kind} are not those of transformers' "
                    f"apply_chat_template: {_first_difference(ours, theirs)}.",
                    hint=f"Use a model of a tested type: {_tested()}.",
                )


def _first_difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    shared = min(len(ours), len(theirs))
    at = next((i for i in range(shared) if ours[i] != theirs[i]), shared)
    return f"{len(ours)} and {len(theirs)} tokens, from token {at} {ours[at : at + 3]} and {theirs[at : at + 3]}"


def _tested() -> str:
    return ", ".join(sorted(SHARED_PREFIX_FAMILIES | MODALITY_MASKED_FAMILIES))


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
        raise SelfsightError(
            f"Model {vlm.folder}: type {vlm.model.config.model_type!r} sees a picture otherwise than with its own "
            f"processor's inputs (log-probs differ by {difference:.1e}): it wants an input that is not passed here.",
            hint=f"Use a model of a tested type: {_tested()}.",
        )
    return difference


@torch.no_grad()
def check_cache_divides(vlm: Vlm) -> float:
    """Whether samples that share a prompt's cache, and leave it one by one, get the log-probs of a pass without cache.

    Layers keep keys, a convolution's window or a recurrent state, and not every kind can be copied for several samples.
    Three samples are taken three tokens far, the second of them for two; then `scoring`, whose padded rows of unlike
    length know no cache, is asked for the same tokens.

    Returns:
        Mean difference of the log-probs.

    Raises:
        SelfsightError: the cache cannot be divided, or the log-probs differ by more than rounding.
    """
    vlm.encoder.show(_PICTURE, _picture())
    prompt = Prompt(_PICTURE, "What is in the picture?")
    encoded = vlm.encoder.encode(prompt)
    try:
        tokens, found = _by_cache(vlm, prompt, encoded)
        expected = score(vlm, [ScoreItem(encoded, tokens)], 1.0).logprobs.float().cpu()
    except FORWARD_ERRORS as error:
        raise SelfsightError(
            f"Model {vlm.folder}: type {vlm.model.config.model_type!r} keeps a cache that cannot be divided among "
            f"samples ({type(error).__name__}: {error}).",
            hint=f"Use a model of a tested type: {_tested()}.",
        ) from error
    difference = float((found - expected).abs().mean())
    if not difference <= _TOLERANCE[vlm.options.dtype]:
        raise SelfsightError(
            f"Model {vlm.folder}: type {vlm.model.config.model_type!r} gives sampled tokens other log-probs from its "
            f"cache than without one (they differ by {difference:.1e}).",
            hint=f"Use a model of a tested type: {_tested()}.",
        )
    return difference


def _by_cache(vlm: Vlm, prompt: Prompt, encoded: EncodedPrompt) -> tuple[tuple[np.ndarray, ...], Tensor]:
    """Three samples' tokens, and their log-probs one after the other, by the sampler's own steps."""
    nothing_ends = torch.zeros_like(vlm.banned)
    asked = [(SampleRequest("probe", prompt, 3, 0), encoded)]
    with vlm.compute():
        wave = CachedWave(vlm, asked, Sampling(max_completion_length=4), nothing_ends, partial(image_inputs, vlm))
        logprobs = masked_logits(wave.first(), vlm.banned, 1.0).float().log_softmax(-1)
        chosen = logprobs[0].topk(3).indices  # unlike, so that samples that are mixed up are noticed
        samples = [0, 1, 2]
        tokens: list[list[int]] = [[], [], []]
        values: list[list[Tensor]] = [[], [], []]
        for step in range(3):
            for row, sample in enumerate(samples):
                tokens[sample].append(int(chosen[row]))
                values[sample].append(logprobs[row, chosen[row]].cpu())
            wave.take(chosen, torch.zeros(len(chosen), device=vlm.device))
            if step == 1:
                wave.drop_to(torch.tensor([0, 2]))
                samples = [0, 2]
            if step < 2:
                logprobs = masked_logits(wave.next(), vlm.banned, 1.0).float().log_softmax(-1)
                chosen = logprobs.argmax(-1)
    return tuple(np.array(one) for one in tokens), torch.stack([value for one in values for value in one])


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
