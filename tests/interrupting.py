"""Runs of any method that are killed, stopped or damaged somewhere and go on, for tests of exact resuming."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from watching import Watcher


class Killed(BaseException):
    """What no `except` of the package may catch."""


class DiesAt(Watcher):
    """Ends its process when a phase begins whose name starts like this."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start

    def phase(self, name: str, total: int | None, **more: int | None) -> None:
        super().phase(name, total, **more)
        if name.startswith(self._start):
            raise Killed


class DiesAfter(Watcher):
    """Ends its process when it hears of a phase after so many others."""

    def __init__(self, phases: int) -> None:
        super().__init__()
        self._last = phases

    def phase(self, name: str, total: int | None, **more: int | None) -> None:
        super().phase(name, total, **more)
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

    def phase(self, name: str, total: int | None, **more: int | None) -> None:
        super().phase(name, total, **more)
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


def failing_calls(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    fail: Callable[..., None],
    *,
    seed: int,
    between: tuple[int, int],
) -> Callable[[], Watcher]:
    """Makes watchers, each of which lets one of the next calls of `owner.name` fail, drawn from range(*between).

    `fail` gets that call's arguments, and raises.
    """
    draw, original, left = random.Random(seed), getattr(owner, name), [0]

    def counted(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            fail(*arguments)
        return original(*arguments)

    def watcher() -> Watcher:
        left[0] = draw.randrange(*between)
        return Watcher()

    monkeypatch.setattr(owner, name, counted)
    return watcher


def killed_at_writes(monkeypatch: pytest.MonkeyPatch, seed: int) -> tuple[Callable[[], Watcher], list[str]]:
    """A kill at the 1st to 49th write that must last after each watcher is made, and the names of the files.

    Everything that must last passes through fsync, so the moments around it are the ones that matter.
    """
    killed_in: list[str] = []

    def die(descriptor: int) -> None:
        killed_in.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        raise Killed

    return failing_calls(monkeypatch, os, "fsync", die, seed=seed, between=(1, 50)), killed_in


def goes_on_from_the_checkpoint_before(loop: Any, settings: EvolveConfig, stage: int, file: str) -> None:
    """Kills a run behind a stage, damages a file of its newest checkpoint, and resumes it to its end: that checkpoint
    was the stage's, and is named with the file.
    """
    with pytest.raises(Killed):
        loop.evolve(settings, progress=DiesAfter(stage))
    run = Path(settings.output_dir, settings.run_name or "")
    newest = newest_checkpoint(run)
    assert newest.name == f"step-{stage * 1_000_000}"
    flip_a_bit(newest / file)
    watcher = Watcher()
    loop.resume(run, progress=watcher)
    assert any(note.startswith(f"checkpoint passed over: {newest.name}: {file}") for note in watcher.notes)


def refused_change(loop: Any, run: Path, change: str) -> SelfsightError:
    """The refusal of a run to go on with a changed setting; it has a hint, and the run is as it was."""
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(SelfsightError) as refusal:
        loop.resume(run, overrides=[change], progress=Watcher())
    assert refusal.value.hint
    assert (run / "config.yaml").read_bytes() == before
    return refusal.value


def newest_checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def stopped_killed_and_finished(
    recipe: str, model: Path, output_dir: Path, overrides: Sequence[str]
) -> subprocess.CompletedProcess[bytes]:
    """A run as a process: SIGTERM in its second stage, SIGKILL in the fourth, then to its end."""
    command, run = [sys.executable, "-m", "selfsight"], output_dir / "run"
    place = [f"model={model}", f"output_dir={output_dir}", "run_name=run"]
    first = [*command, "evolve", "--recipe", recipe, *place, *overrides]
    again = [*command, "resume", str(run)]

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
