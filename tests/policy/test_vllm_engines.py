"""Which roles share an engine, and what a machine without vLLM says: no vLLM needed."""

import importlib.util
from pathlib import Path

import pytest

from selfsight.config import SamplerSettings, load_config
from selfsight.errors import SelfsightError
from selfsight.policy import LoraOptions, Policy
from selfsight.policy.open import open_policy
from selfsight.policy.samplers.vllm import options as vllm_options
from selfsight.policy.samplers.vllm.engine import Engine, EngineOptions
from selfsight.policy.samplers.vllm.engines import Engines, engine_options

from .conftest import FAST, Load, open_image
from .test_vllm_sampler import FakeEngine


class FakeEngines(Engines):
    """Starts engines that need no vLLM."""

    policy: Policy

    def _start(self, options: EngineOptions) -> Engine:
        engine = FakeEngine(self.policy)
        engine.options = options
        return engine


def engines_of(policies: dict[str, Policy]) -> dict[str, Engine]:
    engines = FakeEngines(SamplerSettings(backend="vllm"))
    found = {}
    for name, policy in policies.items():
        engines.policy, policy.name = policy, name
        found[name] = engines.sampler(policy).engine
    return found


def test_adapters_and_frozen_roles_share_one_engine(load: Load) -> None:
    lora = LoraOptions(rank=3)
    policies = {name: load(learning=FAST, lora=lora) for name in ("questioner", "reasoner")}
    found = engines_of(policies | {"judge": load(lora=lora)})
    assert found["questioner"] is found["reasoner"] is found["judge"]
    assert found["judge"].options.lora_rank == 3 and found["judge"].options.adapters == 2


def test_roles_with_full_weights_have_an_engine_each(load: Load) -> None:
    found = engines_of({"questioner": load(learning=FAST), "reasoner": load(learning=FAST), "judge": load()})
    assert len(set(map(id, found.values()))) == 3
    assert found["judge"].options.adapters == 0


def test_an_engine_is_started_with_the_settings_and_with_what_the_model_says(load: Load) -> None:
    policy = load(min_pixels=3136, max_pixels=6272)
    settings = SamplerSettings(max_model_len=4096, kv_cache_gib=1.5, max_num_seqs=8, enforce_eager=True)
    options = engine_options(settings, policy)
    assert options.max_model_len == 1024  # the model's own limit
    assert engine_options(SamplerSettings(max_model_len=300), policy).max_model_len == 300
    assert (options.kv_cache_gib, options.max_num_seqs, options.enforce_eager) == (1.5, 8, True)
    assert options.banned_ids == policy.vlm.encoder.placeholder_ids and options.eos_ids == policy.vlm.eos_ids
    assert options.image_size == {"shortest_edge": 3136, "longest_edge": 6272}


def test_closing_a_role_ends_the_engine_of_all(load: Load) -> None:
    lora = LoraOptions(rank=3)
    policies = {name: load(learning=FAST, lora=lora) for name in ("questioner", "reasoner")}
    engines = FakeEngines(SamplerSettings(backend="vllm"))
    for name, policy in policies.items():
        engines.policy, policy.name = policy, name
        policy.sampler = engines.sampler(policy)
        policy.close()
    engine = engines.running["shared"]
    assert isinstance(engine, FakeEngine) and engine.told.count("close") == 2


def test_without_vllm_the_error_comes_before_the_model_is_loaded_and_has_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = load_config("visplay-smoke", ["sampler.backend=vllm", f"model={tmp_path / 'nowhere'}"])
    with pytest.raises(SelfsightError, match="not installed") as caught:
        open_policy(config, "questioner", open_image, trainable=True)
    assert caught.value.hint is not None and "[vllm]'" in caught.value.hint
    assert vllm_options.importlib.util.find_spec("numpy") is None  # the same function was replaced


def test_the_local_sampler_asks_for_no_engine(monkeypatch: pytest.MonkeyPatch, folders, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def refused(self: Engines, policy: Policy) -> None:
        raise AssertionError("an engine was asked for")

    monkeypatch.setattr(Engines, "sampler", refused)
    config = load_config("visplay-smoke", [f"model={folders('qwen2_5_vl')}"])
    assert open_policy(config, "questioner", open_image, trainable=False).weight_version == 0
