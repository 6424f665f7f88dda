"""Runs of any method that are killed, stopped or damaged somewhere and go on, for tests of exact resuming."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from selfsight.config import EvolveConfig
from watching import Watcher


class Killed(BaseException):
    """What no `except` of the package may catch."""


class DiesAt(Watcher):
    """Ends its process when a phase begins whose name starts like this."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start

    def phase(self, name: str, total: int | None) -> None:
        super().phase(name, total)
        if name.startswith(self._start):
            raise Killed


class DiesAfter(Watcher):
    """Ends its process when it hears of a phase after so many others."""

    def __init__(self, phases: int) -> None:
        super().__init__()
        self._last = phases

    def phase(self, name: str, total: int | None) -> None:
        super().phase(name, total)
        if len(self.phases) == self._last + 1:
            raise Killed


class DiesSoon(Watcher):
    """Ends its process when it hears of progress for the third time; `killed_at` gathers the phases."""

    def __init__(self, killed_at: list[str]) -> None:
        super().__init__()
        self._killed_at = killed_at

    def _tick(self) -> None:
        if len(self.phases) + self.steps == 3:
            self._killed_at.append(self.phases[-1])
            raise Killed

    def phase(self, name: str, total: int | None) -> None:
        super().phase(name, total)
        self._tick()

    def step(self, metrics: Mapping[str, object]) -> None:
        super().step(metrics)
        self._tick()


def until_done(
    loop: Any, settings: EvolveConfig, watcher: Callable[[], Watcher], *, expect: type[BaseException], at_most: int
) -> list[Any]:
    """Starts a run by the module `loop` and resumes it until it ends; what it was interrupted by, each time."""
    path = Path(settings.output_dir, settings.run_name or "")
    interruptions: list[Any] = []
    for _ in range(at_most):
        try:
            if (path / "config.yaml").exists():
                loop.resume(path, progress=watcher())
            else:
                loop.evolve(settings, progress=watcher())
        except expect as interruption:
            interruptions.append(interruption.with_traceback(None))  # which would keep the dead run's models
            continue
        return interruptions
    raise AssertionError("the run never ended")


def killed_at_writes(monkeypatch: pytest.MonkeyPatch, seed: int) -> tuple[Callable[[], Watcher], list[str]]:
    """A kill at the 1st to 49th write that must last after each watcher is made, and the names of the files.

    Everything that must last passes through fsync, so the moments around it are the ones that matter.
    """
    draw, fsync, left = random.Random(seed), os.fsync, [0]
    killed_in: list[str] = []

    def deadly(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            killed_in.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            raise Killed
        fsync(descriptor)

    def watcher() -> Watcher:
        left[0] = draw.randrange(1, 50)
        return Watcher()

    monkeypatch.setattr(os, "fsync", deadly)
    return watcher, killed_in


def newest_checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def stopped_killed_and_finished(first: list[str], again: list[str], run: Path) -> subprocess.CompletedProcess[bytes]:
    """A run as a process: SIGTERM in its second stage, SIGKILL in the fourth, then to its end."""

    def interrupted(arguments: list[str], checkpoint: int, number: int) -> subprocess.CompletedProcess[bytes]:
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and not any(run.glob(f"checkpoints/step-{checkpoint}*/COMPLETE")):
                time.sleep(0.005)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    stopped = interrupted(first, 1_000_001, signal.SIGTERM)
    assert stopped.returncode == 143, stopped.stderr
    assert b"everything is saved" in stopped.stderr
    killed = interrupted(again, 3_000_001, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = subprocess.run(again, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done
