"""A model that plays, and one undisturbed run of it that many tests look at."""

from pathlib import Path

import pytest

from speaking import build_speaking
from tiny_models import build_qwen2_5_vl

from .game_runs import Witnessed, config, witness


@pytest.fixture(scope="session")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Qwen2.5-VL that gives clues, votes, and answers."""
    return build_speaking(tmp_path_factory.mktemp("models") / "player", build_qwen2_5_vl, games=True)


@pytest.fixture(scope="session")
def straight(player: Path, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    """An undisturbed run, watched."""
    return witness(config(player, tmp_path_factory.mktemp("straight")))
