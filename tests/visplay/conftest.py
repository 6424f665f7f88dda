"""A model that speaks, one undisturbed run of it that many tests look at, and a folder of photographs."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import skimage
import sklearn.datasets

from selfsight.config import EvolveConfig
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.roles import Roles
from selfsight.policy import Group, LearnStats, Policy, Rollout, SampleRequest, Sampling
from speaking import build_speaking
from tiny_models import build_qwen2_5_vl
from watching import Watcher

from .runs import config


@dataclass
class Witnessed:
    """A finished run and what was seen while it ran."""

    path: Path
    config: EvolveConfig
    summary: dict[str, Any]
    watcher: Watcher
    roles: Roles
    base_hash: str
    # In order: phase as displayed and both roles' hashes at its start.
    hashes: list[tuple[str, str, str]] = field(default_factory=list)
    # In order: phase, role, request and its rollouts.
    sampled: list[tuple[str, str, SampleRequest, list[Rollout]]] = field(default_factory=list)
    # In order: phase, role, groups and what `learn` said of them.
    learned: list[tuple[str, str, list[Group], LearnStats]] = field(default_factory=list)
    # For each of those: hash of the phase's reference and of the anchor.
    references: list[tuple[str, str]] = field(default_factory=list)


def witness(settings: EvolveConfig) -> Witnessed:
    """Runs VisPlay and watches both policies; nothing of the run is replaced."""
    seen: Any = Witnessed.__new__(Witnessed)
    seen.hashes, seen.sampled, seen.learned, seen.references, seen.watcher = [], [], [], [], Watcher()
    watcher = seen.watcher
    open_roles, sample, learn = loop.open_roles, Policy.sample, Policy.learn

    def opened(*args: Any) -> Roles:
        seen.roles = open_roles(*args)
        seen.base_hash = seen.roles.reasoner.weights_hash()
        return seen.roles

    def watched_sample(self: Policy, requests: list[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        rollouts = sample(self, requests, sampling)
        seen.sampled += [(watcher.phases[-1], self.name, request, rollouts[request.id]) for request in requests]
        return rollouts

    def watched_learn(self: Policy, groups: list[Group]) -> LearnStats:
        found = []
        for which in ("phase", "anchor"):
            with self.learner.weights_of(which):
                found.append(self.weights_hash())
        seen.references.append(tuple(found))
        stats = learn(self, groups)
        seen.learned.append((watcher.phases[-1], self.name, groups, stats))
        return stats

    class Hashing(Watcher):
        def phase(self, name: str, total: int | None, **more: int | None) -> None:
            watcher.phase(name, total, **more)
            seen.hashes.append((name, seen.roles.questioner.weights_hash(), seen.roles.reasoner.weights_hash()))

        def note(self, text: str) -> None:
            watcher.note(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "open_roles", opened)
        patch.setattr(Policy, "sample", watched_sample)
        patch.setattr(Policy, "learn", watched_learn)
        seen.summary = loop.evolve(settings, progress=Hashing())
    seen.config = settings
    seen.path = Path(settings.output_dir, settings.run_name or "")
    return seen  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Qwen2.5-VL that asks and answers."""
    return build_speaking(tmp_path_factory.mktemp("models") / "speaker", build_qwen2_5_vl)


@pytest.fixture(scope="session")
def straight(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    """An undisturbed run with the robust gates, watched."""
    return witness(config(speaker, tmp_path_factory.mktemp("straight")))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen real photographs: those inside the wheels of scikit-image and scikit-learn."""
    folder = tmp_path_factory.mktemp("photographs")
    found = sorted(Path(skimage.__file__).parent.glob("data/*.png")) + sorted(
        Path(sklearn.datasets.__file__).parent.glob("images/*.jpg")
    )
    for path in found[-12:]:
        shutil.copy(path, folder / path.name)
    assert len(list(folder.iterdir())) == 12
    return folder
