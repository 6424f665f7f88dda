"""One token a row, layer by layer: what transformers' forward pass computes, in every family and type."""

import logging

import pytest
import torch
from torch import Tensor, nn

from selfsight.policy import LoraOptions, Policy, Sampling
from selfsight.policy.decoder import missing_parts
from selfsight.policy.prefix import Layout
from selfsight.policy.vlm import Vlm

from .conftest import FAMILIES, FAST, Load, flat, requests, rescored

SHORT = Sampling(max_completion_length=8)
HALF = [{}, {"learning": FAST}, {"learning": FAST, "lora": LoraOptions(rank=2)}]
IDS = ["frozen", "full", "lora"]


def differences(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of hidden states, as a share of the largest, at each step of a draw."""
    vlm = policy.vlm
    found: list[float] = []
    by_step = vlm.next_hidden

    def both(tokens: Tensor, position: Tensor, layout: Layout) -> Tensor:
        fast = by_step(tokens, position, layout)
        vlm.decodes_by_step = False
        whole = by_step(tokens, position, layout)
        vlm.decodes_by_step = True
        found.append(float((fast.float() - whole.float()).abs().max() / whole.float().abs().max()))
        return fast

    monkeypatch.setattr(vlm, "next_hidden", both)
    policy.sample(requests(), SHORT)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_the_forward_pass_of_one_token(load: Load, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(family)
    assert policy.vlm.decodes_by_step
    found = differences(policy, monkeypatch)
    assert len(found) == 7 and max(found) < 1e-5


@pytest.mark.parametrize("options", HALF, ids=IDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_prompts_are_shared_and_steps_round_as_the_forward_pass(
    load: Load, family: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load(family, dtype="bfloat16", **options)
    assert policy.vlm.backend == "shared" and policy.vlm.decodes_by_step
    assert max(differences(policy, monkeypatch)) < 0.01
    if options:
        assert rescored(policy, policy.sample(requests(), SHORT)) < 0.15


def test_adapters_take_part_in_every_step(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(learning=FAST, lora=LoraOptions(rank=2))
    before = flat(policy.sample(requests(), SHORT))
    with torch.no_grad():
        for name, parameter in policy.learner.parameters.items():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    assert max(differences(policy, monkeypatch)) < 1e-5
    assert flat(policy.sample(requests(), SHORT)) != before


class OneMore(nn.Module):
    """A norm that adds one to its weight, as Gemma's do."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, self.weight.shape, self.weight + 1, self.variance_epsilon)  # type: ignore[operator]


def test_a_decoder_that_computes_something_else_is_left_to_transformers(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    vlm = load().vlm
    vlm.decoder.layers[1].input_layernorm = OneMore(vlm.decoder.layers[1].input_layernorm)
    with caplog.at_level(logging.WARNING, logger="selfsight"):
        again = Vlm(vlm.folder, vlm.model, vlm.encoder, vlm.options)
    assert again.backend == "shared" and not again.decodes_by_step
    assert "transformers' forward pass decodes, more slowly (layer by layer it differs" in caplog.text


def test_a_decoder_of_another_build_is_left_to_transformers(load: Load) -> None:
    vlm = load().vlm
    assert missing_parts(vlm.decoder) == []
    del vlm.decoder.layers[0].mlp.act_fn
    assert missing_parts(vlm.decoder) == ["mlp.act_fn"]
    assert missing_parts(nn.Identity()) == ["embed_tokens", "rotary_emb", "layers", "norm"]


def test_an_attention_that_ignores_the_layout_is_noticed_in_bfloat16(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.policy.prefix.install", lambda model: None)
    assert "not honoured" in load(dtype="bfloat16").vlm.backend_reason
