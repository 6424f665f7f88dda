"""The vLLM sampler's own part, with an engine that needs no vLLM: the learner's model, drawn from by the local one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.language.prompts import Prompt
from selfsight.policy import LoraOptions, Policy, Rollout, SampleRequest, Sampling
from selfsight.policy.processor import EncodedPrompt
from selfsight.policy.samplers.vllm.adapters import check_adapters
from selfsight.policy.samplers.vllm.agreement import Agreement
from selfsight.policy.samplers.vllm.engine import Ask, Drawn, EngineFailure, EngineOptions, Key
from selfsight.policy.samplers.vllm.inputs import placeholder_range
from selfsight.policy.samplers.vllm.options import command_line, engine_settings
from selfsight.policy.samplers.vllm.sampler import VllmSampler
from selfsight.policy.scoring import ScoreItem, score
from selfsight.policy.weights import plain_state

from .conftest import FAST, PROMPTS, Load, draw_groups, requests

SHORT = Sampling(max_completion_length=6)
LORA = LoraOptions(rank=2)


class FakeEngine:
    """Draws ids from each seed alone, scores them as the learner does, and remembers what it was told."""

    def __init__(
        self, policy: Policy, *, fail_after: int | None = None, max_model_len: int = 512, wrong: float = 0.0
    ) -> None:
        self.vlm, self.wrong = policy.vlm, wrong
        vlm = policy.vlm
        self.options = EngineOptions(
            vlm.folder, "float32", vlm.eos_ids, vlm.encoder.placeholder_ids, max_model_len=max_model_len
        )
        self.told: list[str] = []
        self.weights: Mapping[str, Tensor] = {}
        self.asks: list[Ask] = []
        self.fail_after = fail_after

    def draw(self, asks: Sequence[Ask], sampling: Sampling, adapter: str | None) -> Iterator[tuple[Key, Drawn]]:
        self.told.append(f"draw {adapter}")
        self.asks = list(asks)
        for count, ask in enumerate(reversed(asks)):
            if count == self.fail_after:
                self.fail_after = None
                raise EngineFailure("out of memory")
            random = np.random.default_rng(ask.seed)
            ids = random.integers(20, 200, sampling.max_completion_length).tolist()
            if ask.seed % 2:
                ids = [*ids[:3], self.options.eos_ids[0]]
            item = ScoreItem(ask.prompt, (np.array(ids),))
            with torch.no_grad():
                scores = score(self.vlm, [item], 1.0 if sampling.greedy else sampling.temperature).logprobs
            seen = 0.0 if ask.image is None else self.wrong
            yield ask.key, Drawn(ids, [float(value) + seen for value in scores])

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        self.told.append("weights")
        self.weights = {name: tensor.clone() for name, tensor in weights.items()}

    def load_adapter(self, name: str, folder: Path) -> None:
        self.told.append(f"adapter {name}")
        self.weights = load_file(folder / "adapter_model.safetensors")
        self.config = json.loads((folder / "adapter_config.json").read_text())

    def reset_caches(self) -> None:
        self.told.append("reset")

    def close(self) -> None:
        self.told.append("close")


def with_engine(policy: Policy, **options: float) -> FakeEngine:
    engine = FakeEngine(policy, **options)  # type: ignore[arg-type]
    policy.sampler = VllmSampler(policy.name, policy.vlm, engine)
    return engine


def test_rollouts_are_joined_by_request_and_sample_whatever_order_they_come_in(load: Load) -> None:
    policy = load()
    engine = with_engine(policy)
    rollouts = policy.sample(requests(n=5), SHORT)
    assert {key: [r.index for r in several] for key, several in rollouts.items()} == {
        f"r{i}": list(range(5)) for i in range(len(PROMPTS))
    }
    by_key = {ask.key: ask for ask in engine.asks}
    for several in rollouts.values():
        for r in several:
            assert r.finished == (by_key[r.request_id, r.index].seed % 2 == 1)
            assert len(r.token_ids) == len(r.logprobs) == (4 if r.finished else 6)
            assert r.finished == (int(r.token_ids[-1]) in policy.vlm.eos_ids)
            assert r.text == policy.vlm.encoder.decode(r.token_ids[:-1] if r.finished else r.token_ids)


def test_an_engine_that_breaks_off_gives_the_samples_of_an_undisturbed_one(load: Load) -> None:
    policy = load()
    with_engine(policy)
    whole = policy.sample(requests(), SHORT)
    engine = with_engine(policy, fail_after=7)
    again = policy.sample(requests(), SHORT)
    assert engine.told.count("draw None") == 2 and len(engine.asks) == 16 - 7
    for key, several in whole.items():
        assert [r.token_ids.tolist() for r in several] == [r.token_ids.tolist() for r in again[key]]


def test_the_engine_is_given_the_learners_own_ids_and_pixels(load: Load) -> None:
    policy = load()
    engine = with_engine(policy)
    policy.sample(requests(n=1), SHORT)
    encoder = policy.vlm.encoder
    for ask, prompt in zip(engine.asks, PROMPTS, strict=True):
        assert ask.prompt is encoder.encode(prompt)
        assert ask.image is (encoder.image(prompt.images[0]) if prompt.images else None)


def test_full_weights_are_handed_over_and_every_cache_reset_before_the_new_version_counts(load: Load) -> None:
    policy = load(learning=FAST)
    policy.learn(draw_groups(policy))
    engine = with_engine(policy)
    policy.step()
    with pytest.raises(SelfsightError, match="never published"):
        policy.sample(requests(), SHORT)
    policy.publish()
    assert engine.told == ["weights", "reset"]
    state = plain_state(policy.vlm.model)
    assert engine.weights.keys() == state.keys()
    assert all((engine.weights[name] == tensor).all() for name, tensor in state.items())
    assert {r.weight_version for several in policy.sample(requests(), SHORT).values() for r in several} == {1}


def test_a_lora_role_serves_its_adapter_from_the_start_and_under_peft_names(load: Load) -> None:
    policy = load(learning=FAST, lora=LORA)
    engine = with_engine(policy)
    assert engine.told == ["adapter tiny", "reset"]
    assert engine.config["r"] == 2 and engine.config["lora_alpha"] == LORA.alpha
    name = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"
    assert name in engine.weights
    policy.sample(requests(), SHORT)
    assert engine.told[-1] == "draw tiny"
    pairs = [n for n in engine.weights if "lora_A" in n]
    assert len(engine.weights) == 2 * len(pairs) and all("vis" not in n for n in engine.weights)


def test_a_frozen_role_draws_from_the_engines_own_weights_and_hands_over_none(load: Load) -> None:
    policy = load()
    engine = with_engine(policy)
    policy.publish()
    policy.sample(requests(), SHORT)
    assert engine.told == ["reset", "draw None"]


def test_adapters_in_the_vision_tower_are_refused_by_name(load: Load) -> None:
    policy = load(learning=FAST, lora=LoraOptions(rank=2, targets=("q_proj", "qkv")))
    with pytest.raises(SelfsightError, match=r"visual\..*qkv"):
        VllmSampler("tiny", policy.vlm, FakeEngine(policy))
    check_adapters(load(learning=FAST, lora=LORA).vlm)


def test_an_engine_that_sees_other_images_than_the_learner_is_refused_at_the_first(load: Load) -> None:
    policy = load()
    with_engine(policy, wrong=0.01)
    policy.sample(requests(PROMPTS[3:]), SHORT)  # text alone is as the learner has it
    with pytest.raises(SelfsightError, match=r"differ from the learner's by 0\.01 .* image of shape \(1, 8, 8\)"):
        policy.sample(requests(), SHORT)
    with_engine(policy, wrong=1e-4)
    policy.sample(requests(), SHORT)


def test_every_shape_of_image_is_compared_once(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load()
    with_engine(policy)
    scored: list[Prompt] = []
    right = Agreement._scored

    def counted(self: Agreement, prompt: Prompt, rollout: Rollout) -> np.ndarray:
        scored.append(prompt)
        return right(self, prompt, rollout)

    monkeypatch.setattr(Agreement, "_scored", counted)
    for _ in range(2):
        policy.sample(requests(), SHORT)
    assert scored == [PROMPTS[0], PROMPTS[3]]  # of one shape, and without an image


def test_a_model_family_that_was_not_compared_is_refused(load: Load) -> None:
    policy = load("internvl")
    with pytest.raises(SelfsightError, match="'internvl'"):
        VllmSampler("tiny", policy.vlm, FakeEngine(policy))


def test_a_prompt_longer_than_the_engine_takes_is_refused_with_both_numbers(load: Load) -> None:
    policy = load()
    with_engine(policy, max_model_len=40)
    with pytest.raises(SelfsightError, match=r"\d+ tokens and 6 new ones pass the engine's limit of 40"):
        policy.sample(requests(), SHORT)


def test_temperatures_that_vllm_would_silently_raise_are_refused(load: Load) -> None:
    policy = load()
    with_engine(policy)
    with pytest.raises(SelfsightError, match=r"below 0\.01"):
        policy.sample(requests(), Sampling(temperature=0.005))
    policy.sample(requests(), Sampling(temperature=0.005, greedy=True))


def test_a_request_for_no_samples_asks_for_nothing(load: Load) -> None:
    policy = load()
    engine = with_engine(policy)
    assert policy.sample([SampleRequest("a", Prompt(None, "x"), 0, 0)], SHORT) == {"a": []}
    assert engine.asks == []


def test_two_requests_with_one_id_are_refused_by_the_vllm_sampler_too(load: Load) -> None:
    policy = load()
    with_engine(policy)
    with pytest.raises(ValueError, match="share an id"):
        policy.sample([requests()[0]] * 2, SHORT)


def test_an_images_tokens_must_be_one_stretch_of_the_prompt(load: Load) -> None:
    encoder = load().vlm.encoder
    assert PROMPTS[0].image is not None
    prompt, image = encoder.encode(PROMPTS[0]), encoder.image(PROMPTS[0].image)
    offset, length = placeholder_range(prompt, image)
    assert set(prompt.input_ids[offset : offset + length]) == {encoder.processor.image_token_id}
    assert length == int(image.pixels["image_grid_thw"].prod()) // 4
    for types in (np.roll(prompt.token_types, 1) | prompt.token_types, np.insert(prompt.token_types, offset + 1, 0)):
        ids = np.resize(prompt.input_ids, len(types))
        with pytest.raises(SelfsightError, match="one stretch"):
            placeholder_range(EncodedPrompt(ids, types, prompt.images), image)


def test_settings_of_both_modes_are_the_same(tmp_path: Path) -> None:
    options = EngineOptions(tmp_path, "bfloat16", (2,), (5, 6), max_model_len=2048, kv_cache_gib=1.5)
    settings = engine_settings(options)
    words = command_line(settings)
    assert words[0] == str(tmp_path)
    assert words[words.index("--kv-cache-memory-bytes") + 1] == str(3 * 2**29)
    assert words[words.index("--limit-mm-per-prompt") + 1] == '{"image": 1, "video": 0}'
    assert "--no-enforce-eager" in words and "--enable-prefix-caching" in words
    assert json.loads(words[words.index("--additional-config") + 1]) == settings["additional_config"]
    assert sum(word.startswith("--") for word in words) == len(settings) - 1
