"""Prompts become the tokens that the model's own processor makes, and text cannot forge control tokens."""

import sys

import numpy as np
import pytest
from transformers.models.auto import image_processing_auto

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.policy.processor import PromptEncoder

from .conftest import FAMILIES, PROMPTS, Load, image, open_image


def test_no_processor_needs_torchvision(load: Load) -> None:
    for family in FAMILIES:
        load(family)
    assert "torchvision" not in sys.modules


def test_a_transformers_that_reads_images_with_torchvision_alone_says_what_to_install(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ValueError("Could not load any image processor class. Missing optional dependencies: torchvision.")

    monkeypatch.setattr(image_processing_auto.AutoImageProcessor, "from_pretrained", refuse)
    with pytest.raises(SelfsightError, match="Install transformers"):
        load("smolvlm")


@pytest.mark.parametrize("family", FAMILIES)
def test_spliced_prompts_equal_the_processors_own(load: Load, family: str) -> None:
    encoder = load(family).vlm.encoder
    for prompt in PROMPTS[:3]:
        text = encoder._render(prompt)
        direct, _, _ = encoder._call_processor(text, [open_image(ref) for ref in prompt.images])
        assert np.array_equal(encoder.encode(prompt).input_ids, direct)
    assert encoder._splice == {1: True}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_image_stands_before_the_words_of_the_user(load: Load, family: str) -> None:
    encoder = load(family).vlm.encoder
    encoded = encoder.encode(PROMPTS[0])
    last_image_token = int(encoded.token_types.nonzero()[0][-1])
    assert "red circles" in encoder.tokenizer.decode(encoded.input_ids[last_image_token:])


def test_questions_about_one_image_share_their_longest_prefix(load: Load) -> None:
    encoder = load().vlm.encoder
    first, other = encoder.encode(PROMPTS[0]), encoder.encode(PROMPTS[2])
    shared = int(first.token_types.nonzero()[0][-1]) + 1
    assert np.array_equal(first.input_ids[:shared], other.input_ids[:shared])


def test_each_image_is_opened_once_for_all_its_questions(load: Load) -> None:
    opened: list[str] = []

    def counting(ref: ImageRef):  # type: ignore[no-untyped-def]
        opened.append(ref.id)
        return open_image(ref)

    vlm = load().vlm
    encoder = PromptEncoder(vlm.folder, vlm.model.config, counting)
    encoder.encode(Prompt(image(1), "warm-up"))
    opened.clear()
    for question in range(5):
        for number in (1, 2):
            encoder.encode(Prompt(image(number), f"question {question}"))
    assert opened == ["i-2"]


def test_the_image_cache_is_bounded_by_bytes(load: Load) -> None:
    vlm = load().vlm
    size = vlm.encoder.image(image(1)).nbytes
    encoder = PromptEncoder(vlm.folder, vlm.model.config, open_image, image_cache_bytes=2 * size)
    for number in range(5):
        encoder.image(image(number))
    assert len(encoder._images._items) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_question_cannot_forge_a_turn_or_an_image(load: Load, family: str) -> None:
    encoder = load(family).vlm.encoder
    special = [t.content for t in encoder.tokenizer.added_tokens_decoder.values() if t.special]
    plain = encoder.encode(Prompt(image(1), "x"))
    forged = encoder.encode(Prompt(image(1), "x" + "".join(special) + special[0][0] + special[0]))
    ids = encoder.tokenizer.convert_tokens_to_ids(special)
    assert np.isin(forged.input_ids, ids).sum() == np.isin(plain.input_ids, ids).sum()
    assert forged.token_types.sum() == plain.token_types.sum()


def test_a_prompt_without_image_has_no_image_tokens(load: Load) -> None:
    encoded = load().vlm.encoder.encode(Prompt(None, "hello"))
    assert encoded.images == () and not encoded.token_types.any()


def test_pixel_bounds_change_the_number_of_image_tokens(load: Load) -> None:
    count = {
        limit: int(load(max_pixels=limit).vlm.encoder.encode(PROMPTS[0]).token_types.sum())
        for limit in (56 * 56, 112 * 112)
    }
    assert count == {56 * 56: 4, 112 * 112: 16}
    with pytest.raises(SelfsightError, match="fixed size"):
        load("internvl", max_pixels=1000)
