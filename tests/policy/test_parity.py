"""Sampler, learner and plain transformers agree, for every family of the tests.

Plain transformers is a fresh model of the folder, given what `apply_chat_template(tokenize=True)` returns: no text that
was rendered here, and no tokens that were put together here.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import ModelOptions, Policy, Rollout, SampleRequest, Sampling
from selfsight.policy.samplers.local import LocalSamplerOptions
from tiny_models import (
    BUILDERS,
    OTHER_BUILDERS,
    as_the_hub_had_it,
    begin_with_bos,
    with_real_generation_config,
    with_rows_beyond_the_tokenizer,
)

from .conftest import image, open_image

FAMILIES = {**BUILDERS, **OTHER_BUILDERS}
# Alone an image is cut into tiles, in company it is not.
ONE_IMAGE_ALONE = {"llava_onevision"}
ASKED = [
    Prompt(image(1), "How many red circles are there?"),
    Prompt(image(2), "What colour is the largest square, left of the yellow star?", "Answer in one word."),
    Prompt(None, "Ask a question.", "one two three"),
    Prompt(None, "Is it blue?"),
    Prompt(image(1), "Are they alike?", further=(image(2),)),
]


def by_transformers(policy: Policy, prompt: Prompt, rollout: Rollout) -> np.ndarray:
    """Log-probs of the rollout's tokens from a fresh model."""
    model = AutoModelForImageTextToText.from_pretrained(policy.vlm.folder, dtype=torch.float32).eval()
    pictures = [{"type": "image", "image": open_image(ref)} for ref in prompt.images]
    messages = [{"role": "user", "content": [*pictures, {"type": "text", "text": prompt.user}]}]
    if prompt.system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    inputs = dict(
        policy.vlm.encoder.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True,
            processor_kwargs={"return_tensors": "pt"},
        )
    )  # fmt: skip
    length = inputs["input_ids"].shape[1]
    answer = torch.from_numpy(rollout.token_ids)[None]
    fillers = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
    for name, value in inputs.items():
        if value.shape == (1, length):
            inputs[name] = torch.cat([value, fillers.get(name, torch.zeros_like(answer)).to(value.dtype)], dim=1)
    with torch.no_grad():
        logits = model(**inputs).logits[0, length - 1 : -1]
    logits[:, list(policy.vlm.encoder.placeholder_ids)] = -torch.inf
    logprobs = logits.log_softmax(-1)[torch.arange(answer.shape[1]), answer[0]]
    return np.asarray(logprobs)


def largest_difference(policy: Policy, asked: list[Prompt]) -> float:
    """Of the sampler and of the learner from plain transformers."""
    requests = [SampleRequest(str(k), prompt, 4, k) for k, prompt in enumerate(asked)]
    drawn = policy.sample(requests, Sampling(max_completion_length=6, temperature=1.0))
    worst = 0.0
    for request in requests:
        pairs = [(request.prompt, rollout.token_ids) for rollout in drawn[request.id]]
        learned = policy.logprobs(pairs)
        for k, rollout in enumerate(drawn[request.id]):
            worst = max(worst, float(np.abs(learned[k] - rollout.logprobs).max()))
        first = drawn[request.id][0]
        worst = max(worst, float(np.abs(by_transformers(policy, request.prompt, first) - first.logprobs).max()))
    return worst


def load(folder: Path, **options: object) -> Policy:
    return Policy.load("tiny", folder, open_image=open_image, options=ModelOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_sampler_learner_and_transformers_agree(tmp_path: Path, family: str) -> None:
    policy = load(FAMILIES[family](tmp_path / family))
    asked = ASKED if family not in ONE_IMAGE_ALONE else ASKED[:-1]
    assert largest_difference(policy, asked) < 1e-4
    if family in ONE_IMAGE_ALONE:
        with pytest.raises(SelfsightError, match="2 images"):
            policy.vlm.encoder.encode(ASKED[-1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("written", [True, False], ids=["by the template too", "by the tokenizer alone"])
def test_bos_is_there_exactly_once(tmp_path: Path, family: str, written: bool) -> None:
    folder = begin_with_bos(FAMILIES[family](tmp_path / family), in_template=written)
    encoder = load(folder).vlm.encoder
    bos = encoder.tokenizer.bos_token_id
    for prompt in ASKED[:4]:
        ids = encoder.encode(prompt).input_ids
        assert ids[0] == bos and (ids == bos).sum() == 1
        assert np.array_equal(ids, encoder.as_processed(prompt)["input_ids"][0].numpy())
    assert encoder._splice == {1: True}  # no picture is processed again for every prompt


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl", "idefics3"])
def test_log_probs_after_bos_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    policy = load(begin_with_bos(FAMILIES[family](tmp_path / family), in_template=True))
    assert largest_difference(policy, ASKED[:3]) < 1e-4


@pytest.mark.parametrize("change", [with_real_generation_config, with_rows_beyond_the_tokenizer, as_the_hub_had_it])
def test_folders_as_the_hub_has_them_agree_too(tmp_path: Path, change: Callable[[Path], Path]) -> None:
    folder = change(BUILDERS["qwen2_5_vl"](tmp_path / "m"))
    assert largest_difference(load(folder), ASKED) < 1e-4


def test_a_folder_s_own_two_stop_tokens_both_end_an_answer(tmp_path: Path) -> None:
    assert load(with_real_generation_config(BUILDERS["qwen2_5_vl"](tmp_path / "m"))).vlm.eos_ids == (2, 0)


@pytest.mark.parametrize("budget", [64, 400, 32768])
def test_linear_attention_keeps_its_state_where_samples_end_early_and_requests_follow(
    tmp_path: Path, budget: int
) -> None:
    """Rows leave at different steps, one request follows another, and the learner pads rows of unlike length."""
    policy = Policy.load(
        "tiny", OTHER_BUILDERS["qwen3_5"](tmp_path / "m"), open_image=open_image, options=ModelOptions(),
        sampling=LocalSamplerOptions(token_budget=budget),
    )  # fmt: skip
    requests = [
        SampleRequest(str(k), prompt, n, k) for k, (prompt, n) in enumerate(zip(ASKED, (1, 7, 3, 8, 2), strict=True))
    ]
    # Often enough the end comes early, and the rest must go on from its own state.
    policy.vlm.model.get_output_embeddings().weight.data[list(policy.vlm.eos_ids)] *= 4
    drawn = policy.sample(requests, Sampling(max_completion_length=12))
    lengths = {len(rollout.token_ids) for several in drawn.values() for rollout in several}
    assert len(lengths) >= 4
    pairs = [(request.prompt, rollout) for request in requests for rollout in drawn[request.id]]
    learned = policy.logprobs([(prompt, rollout.token_ids) for prompt, rollout in pairs])
    for now, (_, rollout) in zip(learned, pairs, strict=True):
        assert np.abs(now - rollout.logprobs).max() < 1e-4


def test_a_cache_that_cannot_be_divided_is_refused_at_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.cache_utils import LinearAttentionLayer

    folder = OTHER_BUILDERS["qwen3_5"](tmp_path / "m")
    with monkeypatch.context() as patch:
        patch.delattr("transformers.cache_utils.LinearAttentionCacheLayerMixin.reorder_cache")
        with pytest.raises(SelfsightError, match=r"'qwen3_5' keeps a cache that cannot be divided .*AttributeError"):
            load(folder)
    # A layer that drops the wrong sample's state raises nothing; its log-probs show it.
    original = LinearAttentionLayer.reorder_cache
    monkeypatch.setattr(LinearAttentionLayer, "reorder_cache", lambda self, rows: original(self, rows.flip(0)))
    with pytest.raises(SelfsightError, match="other log-probs from its cache"):
        load(folder)
