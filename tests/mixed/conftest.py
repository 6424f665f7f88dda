"""A model that asks, answers, gives clues and votes, and one undisturbed mixed run of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selfsight.config import EvolveConfig, load_config
from selfsight.methods.mixed.run import evolve
from selfsight.policy import Group, LearnStats, Policy
from speaking import build_speaking
from tiny_models import build_qwen2_5_vl
from vision_zero.game_runs import BUDGET as GAMES
from visplay.runs import BUDGET as QUESTIONS
from watching import Watcher


def config(model: Path, output_dir: Path, *overrides: str) -> EvolveConfig:
    """The settings of a tiny run of four rounds in `output_dir`/run: questions, games, questions, games."""
    place = (f"model={model}", f"output_dir={output_dir}", "run_name=run")
    # One look at the images in curation, so that a run killed after every third sign of progress gets through it.
    curation = "visplay.max_pool_attempts=1"
    return load_config("mixed-smoke", [*place, *QUESTIONS, *GAMES, curation, *overrides])


@dataclass
class Witnessed:
    """A finished run and what was seen while it ran: `learned` is (phase, policy, groups, weights before)."""

    path: Path
    summary: dict[str, Any]
    watcher: Watcher
    learned: list[tuple[str, str, list[Group], str]]
    references: list[str]


def witness(settings: EvolveConfig) -> Witnessed:
    """Runs both methods and watches; nothing of the run is replaced."""
    watcher, learned, references, learn = Watcher(), [], [], Policy.learn

    def watched(self: Policy, groups: list[Group]) -> LearnStats:
        learned.append((watcher.phases[-1], self.name, groups, self.weights_hash()))
        with self.learner.weights_of("phase"):
            references.append(self.weights_hash())
        return learn(self, groups)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Policy, "learn", watched)
        summary = evolve(settings, progress=watcher)
    return Witnessed(Path(settings.output_dir, "run"), summary, watcher, learned, references)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Qwen2.5-VL that does all that either method asks of it."""
    return build_speaking(tmp_path_factory.mktemp("models") / "model", build_qwen2_5_vl, games=True)


@pytest.fixture(scope="session")
def straight(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    """An undisturbed run, watched."""
    return witness(config(model, tmp_path_factory.mktemp("straight")))
