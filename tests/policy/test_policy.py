"""The verbs together: publishing, frozen copies, saving, hashes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from selfsight.errors import SelfsightError
from selfsight.policy import LoraOptions, Rollout, Sampling
from tiny_models import build_qwen2_5_vl

from .conftest import FAMILIES, FAST, PROMPTS, WITH_KL, Load, draw_groups, requests
from .test_sampler import SHORT, flat, rescored


def update(policy) -> None:  # type: ignore[no-untyped-def]
    policy.learn(draw_groups(policy))
    policy.step()
    policy.publish()


def test_after_an_update_the_same_image_is_sampled_from_the_new_weights(load: Load) -> None:
    policy = load(learning=FAST)
    before = policy.sample(requests(), SHORT)
    update(policy)
    after = policy.sample(requests(), SHORT)
    assert {r.weight_version for several in before.values() for r in several} == {0}
    assert {r.weight_version for several in after.values() for r in several} == {1}
    assert flat(before) != flat(after)
    assert rescored(policy, after) < 1e-4  # nothing of the old prefix was reused
    assert rescored(policy, before) > 1e-3


def test_sampling_unpublished_weights_is_an_error_that_says_publish(load: Load) -> None:
    policy = load(learning=FAST)
    policy.learn(draw_groups(policy))
    policy.step()
    with pytest.raises(SelfsightError, match="never published") as caught:
        policy.sample(requests(), SHORT)
    assert caught.value.hint is not None and "publish()" in caught.value.hint


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
def test_a_frozen_clone_does_not_move_when_the_original_learns(load: Load, lora: LoraOptions | None) -> None:
    policy = load(learning=FAST, lora=lora)
    update(policy)
    clone = policy.clone_frozen("judge")
    digest, drawn = clone.weights_hash(), flat(clone.sample(requests(), SHORT))
    assert digest == policy.weights_hash() and drawn == flat(policy.sample(requests(), SHORT))
    update(policy)
    assert clone.weights_hash() == digest != policy.weights_hash()
    assert flat(clone.sample(requests(), SHORT)) == drawn != flat(policy.sample(requests(), SHORT))
    assert not clone.trainable
    with pytest.raises(SelfsightError, match="'judge' is frozen"):
        clone.learn([])


def test_a_frozen_clone_shares_what_is_never_trained(load: Load) -> None:
    policy = load(learning=FAST, lora=LoraOptions(rank=2))
    mine = {name: p.data_ptr() for name, p in policy.vlm.model.named_parameters()}
    for name, parameter in policy.clone_frozen("judge").vlm.model.named_parameters():
        assert (parameter.data_ptr() == mine[name]) == ("lora_" not in name), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_policy_loads_again_with_the_same_weights_and_samples(load: Load, family: str, tmp_path: Path) -> None:
    policy = load(family, learning=FAST)
    update(policy)
    policy.save(tmp_path / "saved")
    again = load(family, folder=tmp_path / "saved")
    assert again.weights_hash() == policy.weights_hash()
    assert flat(again.sample(requests(), SHORT)) == flat(policy.sample(requests(), SHORT))
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    assert type(plain) is type(policy.vlm.model)
    assert "selfsight" not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_adapters_are_merged_into_a_plain_folder(load: Load, family: str, tmp_path: Path) -> None:
    policy = load(family, learning=FAST, lora=LoraOptions(rank=2))
    base = load(family).weights_hash()
    update(policy)
    digest = policy.weights_hash()
    policy.save(tmp_path / "saved")
    assert policy.weights_hash() == digest
    again = load(family, folder=tmp_path / "saved")
    assert again.weights_hash() != base
    assert not list((tmp_path / "saved").glob("adapter*"))
    pairs = [(PROMPTS[0], np.array([20, 30, 40])), (PROMPTS[3], np.array([50, 60]))]
    for ours, theirs in zip(policy.logprobs(pairs), again.logprobs(pairs), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)], ids=["full", "lora"])
def test_tied_embeddings_stay_tied_through_learning_saving_and_cloning(
    load: Load, lora: LoraOptions | None, tmp_path: Path
) -> None:
    folder = build_qwen2_5_vl(tmp_path / "tied", tied=True)
    policy = load(folder=folder, learning=WITH_KL, lora=lora)
    policy.set_reference("anchor")
    policy.begin_phase()
    update(policy)
    update(policy)
    policy.save(tmp_path / "saved")
    for other in (load(folder=tmp_path / "saved"), policy.clone_frozen("judge")):
        model = other.vlm.model
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        pairs = [(PROMPTS[0], np.array([20, 30, 40]))]
        assert np.abs(policy.logprobs(pairs)[0] - other.logprobs(pairs)[0]).max() < 1e-4


def test_generation_by_transformers_agrees_with_our_greedy_sampling(load: Load) -> None:
    policy = load()
    ours = policy.sample(requests(n=1), Sampling(greedy=True, max_completion_length=8))["r0"][0]
    vlm = policy.vlm
    encoded = vlm.encoder.encode(PROMPTS[0])
    pixels = vlm.encoder.image(PROMPTS[0].image).pixels
    ids = torch.from_numpy(encoded.input_ids)[None]
    plain = AutoModelForImageTextToText.from_pretrained(vlm.folder).generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=torch.from_numpy(encoded.token_types)[None],
        **pixels,
        do_sample=False,
        max_new_tokens=8,
        suppress_tokens=list(vlm.encoder.placeholder_ids),
    )
    assert plain[0, ids.shape[1] :].tolist() == ours.token_ids.tolist()


def test_a_saved_folder_keeps_the_files_of_the_processor_byte_by_byte(load: Load, tmp_path: Path) -> None:
    policy = load()
    policy.save(tmp_path / "saved")
    for name in (
        "preprocessor_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "processor_config.json",
    ):
        assert (tmp_path / "saved" / name).read_bytes() == (policy.vlm.folder / name).read_bytes()
    assert json.loads((tmp_path / "saved" / "generation_config.json").read_text())["eos_token_id"] == 2


def test_the_hash_sees_one_changed_bit_and_not_the_order_of_loading(load: Load) -> None:
    policy = load()
    digest = policy.weights_hash()
    assert load().weights_hash() == digest
    weight = next(policy.vlm.model.parameters())
    with torch.no_grad():
        weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(torch.inf))
    assert policy.weights_hash() != digest


def test_logprobs_come_back_in_the_order_of_the_pairs(load: Load) -> None:
    policy = load()
    rng = np.random.default_rng(1)
    pairs = [(PROMPTS[i % 4], rng.integers(10, 200, size=1 + i % 5)) for i in range(11)]
    together = policy.logprobs(pairs)
    assert [len(scores) for scores in together] == [len(ids) for _, ids in pairs]
    for pair, scores in zip(pairs, together, strict=True):
        assert np.abs(policy.logprobs([pair])[0] - scores).max() < 1e-5


def test_a_character_of_a_rollout_is_found_in_its_token(load: Load) -> None:
    policy = load("qwen2_5_vl")
    tokenizer = policy.vlm.encoder.tokenizer
    ids = np.asarray([*tokenizer("some words, <question>Is it so?</question>")["input_ids"], tokenizer.eos_token_id])
    rollout = Rollout("q", 0, ids, np.zeros(len(ids), np.float32), policy.vlm.encoder.decode(ids), True, 0)
    for character in range(len(rollout.text)):
        at = policy.token_at(rollout, character)
        before, through = (policy.vlm.encoder.decode(ids[:end]) for end in (at, at + 1))
        assert len(before) <= character < len(through)


def test_an_empty_completion_has_nothing_to_score(load: Load) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        load().logprobs([(PROMPTS[0], np.array([], dtype=np.int64))])
