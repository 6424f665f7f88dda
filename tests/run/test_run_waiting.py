"""OpenMP's threads wait briefly, unless the user decided otherwise."""

import os
import subprocess
import sys

import pytest

from selfsight.run.waiting import wait_briefly

# What a process started by a command of selfsight finds in its environment, and whether torch came too early.
PROGRAM = """
import os, sys
from typer.testing import CliRunner
from selfsight.cli import app

assert "torch" not in sys.modules
CliRunner().invoke(app, ["recipes"])
print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("KMP_BLOCKTIME"), os.environ.get("OMP_WAIT_POLICY"))
"""
# libgomp prints its settings when it is loaded: what torch's threads really do.
DISPLAY = "from selfsight.run.waiting import wait_briefly; wait_briefly(); import torch; torch.ones(2) + 1"


def environment(**given: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    return kept | given


def printed(program: str, **given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], env=environment(**given), capture_output=True, text=True, check=True
    )


def test_every_command_sets_it_before_torch_is_loaded() -> None:
    assert printed(PROGRAM).stdout.split() == ["3000", "1", "None"]


@pytest.mark.parametrize(
    "given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "5"}, {"KMP_LIBRARY": "serial"}]
)
def test_a_user_who_set_one_of_the_variables_is_left_alone(given: dict[str, str]) -> None:
    variables = dict(given)
    assert not wait_briefly(variables)
    assert variables == given


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch's wheels bring GNU's runtime on Linux alone")
def test_the_runtime_that_torch_loads_takes_it() -> None:
    shown = printed(DISPLAY, OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "GOMP_SPINCOUNT = '3000'" in shown
