"""Gemma 3: sliding windows, and image tokens that see each other both ways. Padded rows serve it, and are exact."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsight.language.prompts import Prompt
from selfsight.policy import Policy, SampleRequest, Sampling
from selfsight.policy.scoring import ScoreItem, score
from selfsight.policy.vlm import Vlm
from tiny_models import build_gemma3

from .conftest import FAST, PROMPTS, Load, image, open_image

ASKED = [*PROMPTS, Prompt(image(1), "Are they alike?", further=(image(2),))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_gemma3(tmp_path_factory.mktemp("models") / "gemma3")


@pytest.fixture
def policy(load: Load, folder: Path) -> Policy:
    return load(folder=folder, learning=FAST)


def plain(policy: Policy, prompt: Prompt, completion: np.ndarray) -> torch.Tensor:
    """Log-probs by transformers' own forward pass, with everything that its processor gives."""
    vlm = policy.vlm
    pictures = {"images": [[open_image(ref) for ref in prompt.images]]} if prompt.images else {}
    inputs = dict(vlm.encoder.processor(text=[vlm.encoder._render(prompt)], return_tensors="pt", **pictures))
    added = torch.from_numpy(completion)[None]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], added], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = torch.cat([inputs["token_type_ids"], torch.zeros_like(added)], dim=1)
    with torch.no_grad():
        logits = vlm.model(**inputs).logits[0].float()
    logits[:, vlm.banned] = -torch.inf
    return logits[-len(completion) - 1 : -1].log_softmax(-1).gather(-1, added[0][:, None])[:, 0]


def completions() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(20, 60, size=size) for size in (9, 4, 30, 2, 7)]  # one longer than the window


def test_it_gets_padded_rows_and_the_reason_is_said(load: Load, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="selfsight"):
        vlm = load(folder=folder).vlm
    assert vlm.backend == "padded"
    assert "'gemma3' is not among those tested" in vlm.backend_reason and vlm.backend_reason in caplog.text


def test_logprobs_are_those_of_a_plain_forward_pass(policy: Policy) -> None:
    """Alone, and padded beside longer and shorter rows."""
    items = [
        ScoreItem(policy.vlm.encoder.encode(prompt), (completion,))
        for prompt, completion in zip(ASKED, completions(), strict=True)
    ]
    expected = [plain(policy, prompt, completion) for prompt, completion in zip(ASKED, completions(), strict=True)]
    with torch.no_grad():
        together = score(policy.vlm, items, 1.0).logprobs
        alone = torch.cat([score(policy.vlm, [item], 1.0).logprobs for item in items])
    for found in (together, alone):
        assert (found - torch.cat(expected)).abs().max() < 1e-5


def test_control_without_the_modality_an_image_is_seen_in_one_direction_only(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    completion = completions()[0]
    expected = plain(policy, ASKED[0], completion)
    monkeypatch.setattr(Vlm, "modality_argument", lambda self, types: {})
    with torch.no_grad():
        found = score(policy.vlm, [ScoreItem(policy.vlm.encoder.encode(ASKED[0]), (completion,))], 1.0).logprobs
    assert (found - expected).abs().max() > 1e-3


def test_samples_say_what_they_were_drawn_from_and_can_be_learned_from(policy: Policy) -> None:
    requests = [SampleRequest(str(k), prompt, 3, k) for k, prompt in enumerate(ASKED)]
    drawn = policy.sample(requests, Sampling(max_completion_length=24))
    for id, rollouts in drawn.items():
        for rollout in rollouts:
            expected = plain(policy, ASKED[int(id)], rollout.token_ids).numpy()
            assert np.abs(rollout.logprobs - expected).max() < 1e-4
            assert not np.isin(rollout.token_ids, policy.vlm.encoder.placeholder_ids).any()
