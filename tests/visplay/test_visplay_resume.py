"""A run that is stopped, killed or damaged at any moment ends with the bytes of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Witnessed
from runs import BUDGET, Watcher, config, same

from selfsight.config import EvolveConfig, load_config
from selfsight.errors import SelfsightError
from selfsight.methods import measuring
from selfsight.methods.visplay import curation
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.run import Stopped, evolve, resume
from selfsight.run import RunDirectory


class Killed(BaseException):
    """What no `except` of the package may catch."""


def until_done(settings: EvolveConfig, watcher: Callable[[], Watcher], *, expect: type[BaseException]) -> int:
    """Starts a run and resumes it until it ends; the number of times it was interrupted."""
    path = Path(settings.output_dir, settings.run_name or "")
    for interruptions in range(200):
        try:
            if (path / "config.yaml").exists():
                resume(path, progress=watcher())
            else:
                evolve(settings, progress=watcher())
        except expect:
            continue
        return interruptions
    raise AssertionError("the run never ended")


def test_a_run_killed_at_every_stage_boundary_and_between_all_steps(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    killed_at = []

    class Deadly(Watcher):
        """Ends its process when it hears of progress for the third time."""

        def _tick(self) -> None:
            if len(self.phases) + self.steps == 3:
                killed_at.append(self.phases[-1])
                raise Killed

        def phase(self, name: str, total: int | None) -> None:
            super().phase(name, total)
            self._tick()

        def step(self, metrics: Mapping[str, object]) -> None:
            super().step(metrics)
            self._tick()

    settings = config(speaker, tmp_path)
    kills = until_done(settings, Deadly, expect=Killed)
    same(tmp_path / "run", straight.path)
    assert kills == len(killed_at) >= 14
    assert {phase.split(": ")[1] for phase in killed_at} == {"questioner", "curation", "reasoner", "measurement"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_writes(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Everything that must last passes through fsync, so the moments around it are the ones that matter."""
    draw, fsync, left = random.Random(seed), os.fsync, [0]
    killed_in = []

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
    kills = until_done(config(speaker, tmp_path), watcher, expect=Killed)
    same(tmp_path / "run", straight.path)
    assert kills >= 8
    assert len(set(killed_in)) >= 4


def test_a_signal_stops_the_run_at_the_next_step_with_everything_saved(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    class Terminated(Watcher):
        def step(self, metrics: Mapping[str, object]) -> None:
            super().step(metrics)
            if self.steps == 1:  # a second one would end this process
                os.kill(os.getpid(), signal.SIGTERM)

    settings = config(speaker, tmp_path, "save_steps=1000")
    for number in range(100):
        watcher = Terminated()
        try:
            if number == 0:
                evolve(settings, progress=watcher)
            else:
                resume(tmp_path / "run", progress=watcher)
        except Stopped as stopped:
            assert stopped.exit_code == 143
            assert "selfsight resume" in str(stopped.hint)
            assert watcher.steps == 1
            continue
        break
    same(tmp_path / "run", straight.path)
    assert number >= 10


def test_a_signal_is_heard_inside_long_stages(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only between optimiser steps: a measurement stops between batches, curation between pieces."""
    monkeypatch.setattr(curation, "PIECE", 2)
    settings = ("evaluation.batch_size=3", "visplay.rounds=1")
    evolve(config(speaker, tmp_path, *settings, run_name="undisturbed"), progress=Watcher())
    for module, name in ((measuring, "answer_questions"), (loop, "ask_candidates")):
        calls, original = [], getattr(module, name)

        def interrupted(*args: Any, calls: list[Any] = calls, original: Any = original, **options: Any) -> Any:
            calls.append(args)
            if len(calls) == 1:  # a second one would end this process
                os.kill(os.getpid(), signal.SIGINT)
            return original(*args, **options)

        monkeypatch.setattr(module, name, interrupted)
        with pytest.raises(Stopped) as stopped:
            if name == "answer_questions":
                evolve(config(speaker, tmp_path, *settings), progress=Watcher())
            else:
                resume(tmp_path / "run", progress=Watcher())
        assert stopped.value.exit_code == 130
        assert len(calls) == 1
        monkeypatch.setattr(module, name, original)
    resume(tmp_path / "run", progress=Watcher())
    same(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("stage", "file"), [(1, "COMPLETE"), (2, "tensors.safetensors"), (2, "state.json"), (4, "tensors.safetensors")]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    speaker: Path, straight: Witnessed, tmp_path: Path, stage: int, file: str
) -> None:
    """Also when that one lies inside a stage whose parts are gone since it was finished (stage 2)."""

    class Deadly(Watcher):
        def phase(self, name: str, total: int | None) -> None:
            super().phase(name, total)
            if len(self.phases) == stage + 1:
                raise Killed

    with pytest.raises(Killed):
        evolve(config(speaker, tmp_path), progress=Deadly())
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    assert newest.name == f"step-{stage * 1_000_000}"
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / file).write_bytes(content)
    watcher = Watcher()
    resume(tmp_path / "run", progress=watcher)
    assert any(note.startswith(f"checkpoint passed over: {newest.name}: {file}") for note in watcher.notes)
    same(tmp_path / "run", straight.path)


def test_a_run_terminated_and_killed_from_the_shell_ends_the_same(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "selfsight"]
    place = [f"model={speaker}", f"output_dir={tmp_path}", "run_name=run"]
    first = [*command, "evolve", "--recipe", "visplay-smoke", *place, *BUDGET]
    again = [*command, "resume", str(tmp_path / "run")]
    checkpoints = tmp_path / "run" / "checkpoints"

    def interrupted(arguments: list[str], checkpoint: int, number: int) -> subprocess.CompletedProcess[bytes]:
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and not any(checkpoints.glob(f"step-{checkpoint}*/COMPLETE")):
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
    assert b"held-out" in done.stdout
    same(tmp_path / "run", straight.path)


def test_a_longer_run_goes_on_from_a_finished_one(speaker: Path, straight: Witnessed, tmp_path: Path) -> None:
    evolve(config(speaker, tmp_path, "visplay.rounds=1"), progress=Watcher())
    resume(tmp_path / "run", overrides=["visplay.rounds=2"], progress=Watcher())
    ours = (tmp_path / "run" / "rounds" / "2" / "reasoner" / "model.safetensors").read_bytes()
    assert ours == (straight.path / "rounds" / "2" / "reasoner" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "dtype=bfloat16",
        "images=worlds:charts",
        "lora.r=4",
        "optim.freeze_vision=true",
        "visplay.prompt_pack=full",
        "visplay.controls.reward=random",
        "visplay.rounds=1",
        "visplay.pool_images=5",
        "visplay.questioner_steps=0",
        "evaluation.questions=12",
        "evaluation.seed=1",
        "evaluation.world=charts",
        "evaluation.picture_size=56",
    ],
)
def test_a_change_that_would_make_nonsense_of_the_run_is_refused(speaker: Path, half_done: Path, change: str) -> None:
    before = (half_done / "config.yaml").read_bytes()
    with pytest.raises(SelfsightError) as refusal:
        resume(half_done, overrides=[change], progress=Watcher())
    key = change.split("=")[0]
    assert key.removeprefix("visplay.") in str(refusal.value) or key in ("lora.r", "visplay.controls.reward")
    assert refusal.value.hint
    assert (half_done / "config.yaml").read_bytes() == before


def test_an_anchor_that_was_not_kept_is_refused_and_not_made_up(speaker: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        evolve(config(speaker, tmp_path, "grpo.beta_anchor=0.0"), progress=DiesInRound2())
    with pytest.raises(SelfsightError, match=r"grpo\.beta_anchor cannot change from 0"):
        resume(tmp_path / "run", overrides=["grpo.beta_anchor=0.5"], progress=Watcher())


class DiesInRound2(Watcher):
    def phase(self, name: str, total: int | None) -> None:
        super().phase(name, total)
        if name.startswith("round 2"):
            raise Killed


@pytest.fixture(scope="module")
def half_done(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed when its second round began."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(Killed):
        evolve(config(speaker, folder), progress=DiesInRound2())
    return folder / "run"


@pytest.mark.parametrize("name", ["1e5", "2024", "no", "~", ".5", "null", "0x10", "a: b", "- x", "1:30"])
def test_settings_come_back_from_the_runs_folder_as_they_were_given(tmp_path: Path, name: str) -> None:
    settings = config(Path("somewhere"), tmp_path).model_copy(update={"model": name, "images": name})
    with RunDirectory.create(tmp_path / "run", settings.model_dump(mode="json")) as directory:
        assert load_config(directory.config_path) == settings
