"""Whole runs on vLLM: the same code path as locally, sampler and learner agreeing at every step."""

from pathlib import Path

import pytest

from selfsight.config import load_config
from selfsight.methods.vision_zero.run import evolve as play
from selfsight.methods.visplay.run import evolve
from watching import Watcher, lines

ENGINE = (
    "threads=1",
    "sampler.backend=vllm",
    "sampler.enforce_eager=true",
    "sampler.kv_cache_gib=0.25",
    "sampler.max_model_len=1024",
)
MISMATCH = 1e-6  # KL of sampler and learner in float32; it is a square of differences of some 1e-5


@pytest.mark.parametrize("more", [["lora.r=4", "optim.learning_rate=1e-2"], []], ids=["lora", "full"])
def test_visplay_runs_on_vllm_with_sampler_and_learner_in_step(more: list[str], tmp_path: Path) -> None:
    settings = load_config("visplay-smoke", [*ENGINE, *more, f"output_dir={tmp_path}", "run_name=run"])
    summary = evolve(settings, progress=Watcher())
    mismatches = [line["mismatch_kl"] for line in lines(tmp_path / "run" / "metrics.jsonl") if "mismatch_kl" in line]
    assert len(mismatches) == 6 and len(summary["rounds"]) == 2
    assert all(abs(mismatch) < MISMATCH for mismatch in mismatches)
    assert summary["rounds"][0]["heldout"]["n"] == 24


def test_vision_zero_runs_on_vllm_with_sampler_and_learner_in_step(tmp_path: Path) -> None:
    settings = load_config("vision-zero-smoke", [*ENGINE, f"output_dir={tmp_path}", "run_name=run"])
    play(settings, progress=Watcher())
    mismatches = [line["mismatch_kl"] for line in lines(tmp_path / "run" / "metrics.jsonl") if "mismatch_kl" in line]
    assert mismatches and all(abs(mismatch) < MISMATCH for mismatch in mismatches)
