"""The recipes for real models, their own types and options: a tiny model of that family samples, scores and learns."""

from pathlib import Path

import pytest

from selfsight.config import load_config
from selfsight.policy import Sampling
from selfsight.policy.open import open_policy
from tiny_models import build_qwen2_5_vl

from .conftest import groups_of, open_image, requests, rescored

RECIPES = ["visplay-qwen2.5-vl-3b", "visplay-qwen2.5-vl-7b", "vision-zero-qwen2.5-vl-7b"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_shares_prompts_and_learns_from_what_was_truly_drawn(recipe: str, tmp_path: Path) -> None:
    folder = build_qwen2_5_vl(tmp_path / "model", hidden=128, heads=4, kv_heads=2)
    config = load_config(recipe, [f"model={folder}"])
    assert config.dtype == "bfloat16" and config.lora is not None and config.optim.gradient_checkpointing
    policy = open_policy(config, "tiny", open_image, trainable=True)
    policy.set_reference("anchor")
    policy.begin_phase()
    assert policy.vlm.backend == "shared" and policy.vlm.decodes_by_step
    for _ in range(2):
        drawn = policy.sample(requests(), Sampling(max_completion_length=12))
        assert rescored(policy, drawn) < 0.15
        learned = policy.learn(groups_of(requests(), drawn))
        assert learned.mismatch_kl < 0.015 and learned.finite  # the alarm's threshold
        policy.step()
        policy.publish()
