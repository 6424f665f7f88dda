"""A run of games that goes on looks at what it has written before it computes anything."""

import shutil
from pathlib import Path

import pytest

from interrupting import DiesAt, Killed, flip_a_bit
from selfsight.errors import SelfsightError
from selfsight.methods.vision_zero.run import evolve, resume
from watching import Watcher

from .game_runs import Witnessed, config


class Refused(Watcher):
    """A progress display of a run that must not compute anything."""

    def phase(self, name: str, total: int | None) -> None:
        raise AssertionError(f"it has begun to compute: {name}")


@pytest.fixture(scope="module")
def killed(player: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed when its second round was to be measured; not to be written."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        evolve(config(player, folder), progress=DiesAt("round 2: measurement"))
    return folder / "run"


@pytest.mark.parametrize("file", ["0/clues.jsonl", "0/decisions.jsonl", "0/round.json", "1/round.json"])
def test_what_later_rounds_are_compared_with_is_needed(killed: Path, tmp_path: Path, file: str) -> None:
    run = Path(shutil.copytree(killed, tmp_path / "run"))
    flip_a_bit(run / "rounds" / file)
    with pytest.raises(SelfsightError, match=rf"rounds/{file} .* is changed"):
        resume(run, progress=Refused())


def test_games_of_a_measured_round_are_not(killed: Path, straight: Witnessed, tmp_path: Path) -> None:
    run = Path(shutil.copytree(killed, tmp_path / "run"))
    flip_a_bit(run / "rounds/1/games.jsonl")
    summary = resume(run, progress=Watcher())
    assert [loss["file"] for loss in summary["losses"]] == ["rounds/1/games.jsonl"]
    model = "rounds/2/model/model.safetensors"
    assert (run / model).read_bytes() == (straight.path / model).read_bytes()
