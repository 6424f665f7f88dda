"""Runs that nobody changes, made once."""

from pathlib import Path

import pytest

from made_runs import vision_zero_run, visplay_run


@pytest.fixture(scope="session")
def visplay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return visplay_run(tmp_path_factory.mktemp("visplay"))


@pytest.fixture(scope="session")
def vision_zero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vision_zero_run(tmp_path_factory.mktemp("vision-zero"))
