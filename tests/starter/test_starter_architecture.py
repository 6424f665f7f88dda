"""The starter's folder: a plain Qwen2.5-VL, whose tokenizer writes any text and whose prompts are those of training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.scene import COLOURS, SHAPES, SIZES
from selfsight.images.worlds.source import picture_rng, sample_picture
from selfsight.language.prompts import Prompt, get_pack, taught_pack
from selfsight.policy import Policy, SampleRequest, Sampling
from selfsight.starter import build
from selfsight.starter.architecture import IMAGE_SIZE, SPECIAL_TOKENS, starter_config
from selfsight.starter.corpus import CAREFUL, MIXTURE, page
from selfsight.starter.games import CAREFUL_PLAYERS, vote_turn
from selfsight.starter.pretrain import IMAGE_TOKENS, collate, patches

from .tables import is_game, read_request

PACK = get_pack("compact")


@settings(deadline=None, max_examples=300)
@given(text=st.text())
def test_any_text_comes_back_from_the_tokenizer_as_it_was(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(
    "text", ["", " ", "  two  spaces ", "a\n\tb\r\n", "日本語 ﷽ é e\u0301", "🧑‍🚀🎲", "\\boxed{3}", "a1a1 12345"]
)
def test_hard_text_comes_back_from_the_stored_tokenizer(folder: Path, text: str) -> None:
    stored = AutoTokenizer.from_pretrained(folder)
    assert stored.decode(stored(text)["input_ids"]) == text


def test_the_stored_tokenizer_is_the_one_of_training(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    stored = AutoTokenizer.from_pretrained(folder)
    assert len(stored) == len(tokenizer) <= 768
    for i in range(40):
        for segment in page(i, seed=0, authors=MIXTURE).segments:
            for text in (segment.user, segment.completion):
                assert stored(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (stored.eos_token, stored.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_the_tokenizer_is_a_function_of_the_seed(tokenizer: PreTrainedTokenizerFast) -> None:
    assert build._tokenizer(0).backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_words_of_the_worlds_are_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for word in (*COLOURS, *SHAPES, *SIZES, *(f"{s}s" for s in SHAPES), "a1", "d4"):
        assert len(tokenizer(f" {word}")["input_ids"]) == 1, word


def test_completions_fit_the_recipes(tokenizer: PreTrainedTokenizerFast) -> None:
    """What is learned is never cut off: as long as the longest, end of sequence included."""
    longest = dict.fromkeys(("visplay", "question", "clue", "vote"), 0)
    for i in range(300):
        for segment in page(i, seed=0, authors=CAREFUL).segments:
            kind = "question" if segment.user == PACK.questioner_user else "visplay"
            if is_game(segment.user):
                kind = "vote" if read_request(segment.user).votes else "clue"
            longest[kind] = max(longest[kind], len(tokenizer(segment.completion)["input_ids"]) + 1)
    for i in range(400):  # two rounds of five players about a picture full of things are rare
        rng = picture_rng("scenes", "build", 1, i)
        _, vote = vote_turn(sample_picture("scenes", rng), CAREFUL_PLAYERS, rng)
        longest["vote"] = max(longest["vote"], len(tokenizer(vote)["input_ids"]) + 1)
    visplay, games = load_config("visplay-starter").visplay, load_config("vision-zero-starter").vision_zero
    assert longest["visplay"] <= 48 < visplay.max_answer_length
    assert longest["question"] <= visplay.max_question_length
    assert 10 < longest["clue"] <= games.max_clue_length
    assert 60 < longest["vote"] <= games.max_vote_length


def test_the_folder_is_a_plain_small_qwen(folder: Path) -> None:
    stored = json.loads((folder / "config.json").read_text())
    assert stored["model_type"] == "qwen2_5_vl" and "auto_map" not in stored
    assert taught_pack(folder) == "compact"
    sizes = [tensor.numel() for tensor in load_file(folder / "model.safetensors").values()]
    assert 3.5e6 < sum(sizes) < 4.5e6
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json", "chat_template.jinja",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_the_heads_are_the_smallest_that_servers_take(tokenizer: PreTrainedTokenizerFast) -> None:
    config = starter_config(tokenizer)
    text, vision = config.text_config, config.vision_config
    assert text.hidden_size // text.num_attention_heads == vision.hidden_size // vision.num_heads == 32
    assert sum(text.rope_parameters["mrope_section"]) == 16
    assert text.vocab_size == len(tokenizer)
    for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        assert tokenizer.convert_ids_to_tokens(getattr(config, name)) in SPECIAL_TOKENS


@pytest.fixture(scope="module")
def policy(folder: Path) -> Policy:
    return Policy.load("starter", folder, open_image=WorldSource("mixed", seed=0).open)


def test_prompts_in_use_are_token_for_token_those_of_training(
    policy: Policy, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Over all roles, players included: the policy's encoder, through template and processor, writes what collate lays
    out."""
    encoder = policy.vlm.encoder
    for index in range(100):
        written = page(index, seed=0, authors=CAREFUL)
        turns = [read_request(segment.user).votes for segment in written.segments if is_game(segment.user)]
        if turns == [False, True]:
            break
    assert turns == [False, True]
    (ref,) = WorldSource("mixed", seed=0, split="build").take(index, 1)
    batch = collate(tokenizer, [written])
    prefix = batch.row.ids[: batch.row.stops[0]].tolist()
    for segment in written.segments:
        prompt = encoder.encode(Prompt(ref, segment.user))
        turn = tokenizer(segment.user)["input_ids"]
        assert prompt.input_ids.tolist() == [*prefix, *turn, tokenizer.convert_tokens_to_ids("<|assistant|>")]
    assert encoder.encode(PACK.questioner(ref)).token_types.sum() == IMAGE_TOKENS
    pixels = encoder.image(ref).pixels
    assert torch.equal(pixels["image_grid_thw"], batch.image_grid_thw)
    # The same picture drawn for the page: pictures of training and of use are the same pixels.
    assert (pixels["pixel_values"] - batch.pixel_values).abs().max() < 1e-6


def test_the_layout_of_patches_is_that_of_the_image_processor(policy: Policy) -> None:
    """Random pixels, so that no transposition of rows, columns, channels or frames can hide."""
    processor = policy.vlm.encoder.processor.image_processor
    images = [np.random.default_rng(i).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8) for i in range(3)]
    expected = processor(images=images, return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [[1, 8, 8]] * 3
    found = patches(images)
    assert found.shape == tuple(expected["pixel_values"].shape) == (3 * 64, 3 * 2 * 14 * 14)
    assert np.abs(found - expected["pixel_values"].numpy()).max() < 1e-6
    assert np.abs(found).max() > 1.0


def test_the_processor_sees_any_size_as_sixteen_tokens(policy: Policy) -> None:
    for size in (56, 224, 448):
        image = WorldSource("mixed", seed=0, size=size).open(WorldSource("mixed", seed=0).take(0, 1)[0])
        found = policy.vlm.encoder.processor.image_processor(images=[image], return_tensors="pt")
        assert found["image_grid_thw"].tolist() == [[1, 8, 8]]


def test_the_folder_is_a_policy_that_samples(policy: Policy) -> None:
    (ref,) = WorldSource("mixed", seed=0).take(0, 1)
    prompt = PACK.reasoner(ref, "How many red circles are there?")
    drawn = policy.sample([SampleRequest("r", prompt, 3, 1)], Sampling(max_completion_length=4))
    assert len(drawn["r"]) == 3
    assert all(np.isfinite(rollout.logprobs).all() and (rollout.logprobs <= 0).all() for rollout in drawn["r"])


def test_a_package_without_weights_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import selfsight.starter

    monkeypatch.setattr(selfsight.starter, "FOLDER", tmp_path / "model")
    for call in (selfsight.starter.starter_folder, selfsight.starter.card_text):
        with pytest.raises(SelfsightError, match="selfsight starter build") as missing:
            call()
        assert str(tmp_path / "model") in str(missing.value)


def test_an_image_reference_of_no_world_is_not_drawn(policy: Policy) -> None:
    with pytest.raises(SelfsightError, match="does not name a picture"):
        policy.vlm.encoder.image(ImageRef("f-0123456789abcdef", "/cat.jpg"))
