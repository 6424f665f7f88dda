"""A tiny run of Vision-Zero for tests, and how it is watched."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from selfsight.config import EvolveConfig, load_config
from selfsight.methods.vision_zero import run as loop
from selfsight.methods.vision_zero.table import Table
from selfsight.policy import Group, LearnStats, Policy, Rollout, SampleRequest, Sampling
from watching import Watcher

# Two rounds of three steps in a few seconds; the schedule switches after every second step.
BUDGET = (
    "threads=1",
    "save_steps=1",
    "optim.learning_rate=1e-3",
    "vision_zero.players=3",
    "vision_zero.clue_rounds=2",
    "vision_zero.rewards.abstained=-0.5",
    "vision_zero.votes=4",
    "vision_zero.games_per_step=3",
    "vision_zero.iterations=6",
    "vision_zero.eval_steps=3",
    "vision_zero.eval_games=5",
    "vision_zero.max_clue_length=8",
    "vision_zero.max_vote_length=6",
    "vision_zero.max_answer_length=8",
    "vision_zero.switching.mode=fixed:2",
    "evaluation.questions=9",
    "evaluation.num_samples=2",
    "evaluation.batch_size=9",
)


def config(model: Path, output_dir: Path, *overrides: str, run_name: str = "run") -> EvolveConfig:
    """The settings of a tiny run in `output_dir`/`run_name`."""
    place = (f"model={model}", f"output_dir={output_dir}", f"run_name={run_name}")
    return load_config("vision-zero-smoke", [*place, *BUDGET, *overrides])


@dataclass
class Witnessed:
    """A finished run and what was seen while it ran."""

    path: Path
    config: EvolveConfig
    summary: dict[str, Any]
    watcher: Watcher
    table: Table
    base_hash: str
    # Every sampling call for games, in order: the requests and their rollouts.
    calls: list[list[tuple[SampleRequest, list[Rollout]]]] = field(default_factory=list)
    learned: list[tuple[list[Group], LearnStats]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)


def witness(settings: EvolveConfig) -> Witnessed:
    """Runs Vision-Zero and watches its policy; nothing of the run is replaced."""
    seen: Any = Witnessed.__new__(Witnessed)
    seen.calls, seen.learned, seen.anchors, seen.watcher = [], [], [], Watcher()
    open_table, sample, learn = loop.open_table, Policy.sample, Policy.learn

    def opened(*args: Any) -> Table:
        seen.table = open_table(*args)
        seen.base_hash = seen.table.policy.weights_hash()
        return seen.table

    def watched_sample(self: Policy, requests: list[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        rollouts = sample(self, requests, sampling)
        if "games" in seen.watcher.phases[-1]:
            seen.calls.append([(request, rollouts[request.id]) for request in requests])
        return rollouts

    def watched_learn(self: Policy, groups: list[Group]) -> LearnStats:
        with self.learner.weights_of("anchor"):
            seen.anchors.append(self.weights_hash())
        stats = learn(self, groups)
        seen.learned.append((groups, stats))
        return stats

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "open_table", opened)
        patch.setattr(Policy, "sample", watched_sample)
        patch.setattr(Policy, "learn", watched_learn)
        seen.summary = loop.evolve(settings, progress=seen.watcher)
    seen.config = settings
    seen.path = Path(settings.output_dir, settings.run_name or "")
    return seen  # type: ignore[no-any-return]
