"""A mixed run that is killed anywhere ends with the bytes of one that was not."""

from pathlib import Path

import pytest

from interrupting import DiesAt, DiesSoon, Killed, killed_at_writes, refused_change, until_done
from selfsight.methods.mixed import run as loop
from watching import Watcher, same

from .conftest import Witnessed, config


def test_a_run_killed_at_every_stage_boundary_and_between_all_steps(
    model: Path, straight: Witnessed, tmp_path: Path
) -> None:
    killed_at: list[str] = []
    kills = until_done(loop, config(model, tmp_path), lambda: DiesSoon(killed_at), expect=Killed, at_most=100)
    same(tmp_path / "run", straight.path)
    assert len(kills) == len(killed_at) >= 10
    assert {name.split(": ")[1] for name in killed_at} >= {"games", "measurement", "questioner", "curation", "reasoner"}


def test_a_run_killed_at_random_writes(
    model: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, killed_in = killed_at_writes(monkeypatch, 5)
    kills = until_done(loop, config(model, tmp_path), watcher, expect=Killed, at_most=100)
    same(tmp_path / "run", straight.path)
    assert len(kills) >= 4
    assert len(set(killed_in)) >= 3


@pytest.fixture(scope="module")
def half_done(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its second round."""
    place = tmp_path_factory.mktemp("half")
    with pytest.raises(Killed):
        loop.evolve(config(model, place), progress=DiesAt("round 2: games"))
    return place / "run"


@pytest.mark.parametrize(
    "change",
    [
        "mixed.first=vision-zero", "visplay.rounds=1", "vision_zero.eval_steps=6", "method=visplay",
        "vision_zero.players=4", "visplay.controls.labels=permuted",
    ],
)  # fmt: skip
def test_a_change_that_would_make_nonsense_of_the_run_is_refused(half_done: Path, change: str) -> None:
    refused_change(loop, half_done, change)


def test_a_run_can_be_given_more_rounds_of_both(half_done: Path) -> None:
    summary = loop.resume(half_done, overrides=["visplay.rounds=3", "vision_zero.iterations=9"], progress=Watcher())
    assert summary["schedule"] == ["visplay", "vision-zero"] * 3
    assert len(summary["rounds"]) == 6
