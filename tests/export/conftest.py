"""A run that nobody changes, made once."""

from pathlib import Path

import pytest

from .exportable import exportable


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exportable(tmp_path_factory.mktemp("run"))
