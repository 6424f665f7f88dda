"""Waves join the steps of those that run as soon as there is room, and no sample notices."""

import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsight.language.prompts import Prompt
from selfsight.policy import LocalSamplerOptions, LoraOptions, Policy, SampleRequest, Sampling
from selfsight.policy.prefix import Layout
from selfsight.policy.samplers.local import LocalSampler
from selfsight.policy.samplers.wave import Wave
from tiny_models import build_qwen2_5_vl

from .conftest import FAMILIES, FAST, PROMPTS, Load, flat, image, rescored
from .test_sampler import _end_early

LONG = Sampling(max_completion_length=24)


def many(count: int = 12, n: int = 4) -> list[SampleRequest]:
    return [SampleRequest(f"r{k}", PROMPTS[k % len(PROMPTS)], n, 100 + k) for k in range(count)]


def steps_of(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every step that is taken from now on."""
    inner, rows = policy.vlm.next_hidden, []

    def counted(tokens: Tensor, position: Tensor, layout: Layout) -> Tensor:
        rows.append(len(tokens))
        return inner(tokens, position, layout)

    monkeypatch.setattr(policy.vlm, "next_hidden", counted)
    return rows


@pytest.mark.parametrize("family", FAMILIES)
def test_waves_that_join_draw_what_they_draw_alone(load: Load, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(family, waves=900)  # three waves of half the budget
    _end_early(policy, 4.0)
    rows = steps_of(policy, monkeypatch)
    together = policy.sample(many(), LONG)
    ages = len(rows)
    alone: dict[tuple[str, int], tuple[int, ...]] = {}
    rows.clear()
    for request in many():
        alone |= flat(policy.sample([request], LONG))
    assert flat(together) == alone
    assert len({len(ids) for ids in alone.values()}) > 5  # they leave one by one
    assert ages < len(rows) / 2
    pairs = [(q.prompt, r.token_ids) for q in many() for r in together[q.id]]
    scores = policy.logprobs(pairs)
    drawn = [r for q in many() for r in together[q.id]]
    assert max(np.abs(s - r.logprobs).max() for s, r in zip(scores, drawn, strict=True)) < 1e-4


def test_the_budget_is_kept_and_kept_filled(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty requests of four samples that may take 24 tokens each, and most of which take fewer."""
    budget = 3000
    found = []
    for in_turn in (False, True):
        policy = load(waves=budget)
        _end_early(policy, 6.0)
        if in_turn:
            monkeypatch.setattr(LocalSampler, "_joins", lambda *_: False)
        rows = steps_of(policy, monkeypatch)
        drawn = policy.sample(many(80), LONG)
        assert max(rows) <= budget // 24
        found.append((flat(drawn), len(rows)))
    assert found[0][0] == found[1][0]
    assert found[0][1] < 0.8 * found[1][1]


def test_what_fits_into_the_budget_is_one_wave(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(waves=10_000)
    rows = steps_of(policy, monkeypatch)
    policy.sample(many(), LONG)
    assert rows[0] == 48 and len(rows) <= 23


def test_prompts_of_other_lengths_count_as_they_are_laid_out(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """All prompts of a wave are as long as its longest: one long one among short ones must not pass the budget."""
    budget = 1500
    policy = load(waves=budget)
    long = Prompt(image(1), " ".join(["circle"] * 300))
    asked = [SampleRequest("long", long, 2, 1), *many(30, 2)]
    held = []
    draw = LocalSampler._draw

    def watched(self: LocalSampler, waves: Sequence[Wave], logits: Tensor, sampling: Sampling) -> None:
        held.append(sum(wave.held for wave in waves))
        draw(self, waves, logits, sampling)

    monkeypatch.setattr(LocalSampler, "_draw", watched)
    drawn = policy.sample(asked, LONG)
    assert max(held) <= budget
    assert flat({"long": drawn["long"]}) == flat(policy.sample(asked[:1], LONG))


def test_a_wave_that_is_done_is_gone_before_the_next_begins(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(waves=300)
    seen: list[weakref.ref[Wave]] = []
    begin = LocalSampler._begin

    def watched(self: LocalSampler, asked: Any, sampling: Sampling) -> Wave:
        assert not any(wave.done for wave in (ref() for ref in seen) if wave is not None)
        wave = begin(self, asked, sampling)
        seen.append(weakref.ref(wave))
        return wave

    monkeypatch.setattr(LocalSampler, "_begin", watched)
    policy.sample(many(), LONG)
    assert len(seen) > 3


def test_no_more_samples_at_once_than_logits_have_room(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = flat(load().sample(many(), LONG))
    monkeypatch.setattr("selfsight.policy.samplers.local._LOGITS", 10 * 400)
    policy = load()
    rows = steps_of(policy, monkeypatch)
    assert flat(policy.sample(many(), LONG)) == expected
    assert max(rows) <= 10


@pytest.mark.parametrize("options", [{"lora": LoraOptions(rank=2)}, {"dtype": "bfloat16"}], ids=["lora", "bfloat16"])
def test_waves_join_with_adapters_and_in_half_precision(load: Load, options: dict[str, Any]) -> None:
    policy = load(learning=FAST, waves=500, **options)
    asked = [SampleRequest(f"r{k}", prompt, 4, 7 + k) for k, prompt in enumerate(PROMPTS)]
    assert rescored(policy, policy.sample(asked, LONG)) < (0.15 if "dtype" in options else 1e-4)


def test_padded_rows_go_alone(load: Load) -> None:
    asked = many(6)
    expected = flat(load().sample(asked, LONG))
    assert flat(load(backend="padded", waves=10_000).sample(asked, LONG)) == expected


def test_on_a_gpu_waves_are_as_large_as_their_memory(load: Load, tmp_path) -> None:  # type: ignore[no-untyped-def]
    vlm = load(folder=build_qwen2_5_vl(tmp_path / "model", hidden=128, heads=4, kv_heads=2, layers=3)).vlm
    assert vlm.key_value_bytes == 2 * 3 * 2 * 32 * 4
    vlm.text_config.num_key_value_heads = None  # as in decoders whose heads share no keys
    assert vlm.key_value_bytes == 2 * 3 * 4 * 32 * 4
    vlm.text_config.num_key_value_heads = 2
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"), key_value_bytes=vlm.key_value_bytes)
    assert LocalSamplerOptions(kv_cache_gib=1.5).tokens_at_once(on_gpu) == int(1.5 * 2**30) // 1536
    assert LocalSamplerOptions(kv_cache_gib=1.5).tokens_at_once(vlm) == 65536
    assert LocalSamplerOptions(token_budget=7).tokens_at_once(on_gpu) == 7
