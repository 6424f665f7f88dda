"""What the display of a resumed run counts: the steps that were done before the stop, too."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from selfsight.methods.visplay.run import Stopped, evolve, resume
from watching import Watcher

from .runs import config


class Shown(Watcher):
    """Remembers how many steps of each phase were said to be done, and stops the run after one step."""

    def __init__(self, stop_in: str = "") -> None:
        super().__init__()
        self.done: dict[str, int | None] = {}
        self.at_most: dict[str, int | None] = {}
        self._stop_in = stop_in

    def phase(self, name: str, total: int | None, **more: int | None) -> None:
        super().phase(name, total, **more)
        self.done[name], self.at_most[name] = more.get("done"), more.get("at_most")

    def step(self, metrics: Mapping[str, object]) -> None:
        super().step(metrics)
        if self._stop_in and self.phases[-1].endswith(self._stop_in):
            self._stop_in = ""
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("phase", ["questioner", "reasoner"])
def test_a_resumed_phase_goes_on_counting(speaker: Path, tmp_path: Path, phase: str) -> None:
    with pytest.raises(Stopped):
        evolve(config(speaker, tmp_path, "visplay.rounds=1"), progress=Shown(phase))
    watcher = Shown()
    resume(tmp_path / "run", progress=watcher)
    assert watcher.done[f"round 1: {phase}"] == 1
    # Two attempts more than the first may be needed: nobody knows the total.
    assert watcher.at_most.get("round 1: curation") == (3 if phase == "questioner" else None)
