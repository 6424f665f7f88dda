"""A sampler that reports other log-probs than the learner finds: logged in every step, and said aloud."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfsight.methods.visplay.run import evolve
from selfsight.policy import Policy, Rollout, SampleRequest, Sampling
from watching import Watcher, lines

from .runs import config


@pytest.mark.parametrize(("by", "heard"), [(0.0, False), (-0.25, True)])
def test_a_sampler_that_disagrees_with_the_learner_is_heard_of(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float, heard: bool
) -> None:
    sample = Policy.sample

    def misreporting(self: Policy, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        return {
            id: [replace(rollout, logprobs=rollout.logprobs + np.float32(by)) for rollout in drawn]
            for id, drawn in sample(self, requests, sampling).items()
        }

    monkeypatch.setattr(Policy, "sample", misreporting)
    watcher = Watcher()
    evolve(config(speaker, tmp_path, "visplay.rounds=1"), progress=watcher)
    warnings = [note for note in watcher.notes if "sampler and learner disagree" in note]
    learned = [line for line in lines(tmp_path / "run" / "metrics.jsonl") if "mismatch_kl" in line]
    assert learned
    assert all((line["mismatch_kl"] > 0.015) == heard for line in learned)
    assert all(line["importance_capped"] == 0 for line in learned)
    stages = {line["stage"] for line in learned} if heard else set()
    assert {note.split(",")[0] for note in warnings} == stages
    assert len(warnings) == len(stages)
