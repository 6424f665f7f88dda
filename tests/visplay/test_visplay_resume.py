"""A run that is stopped, killed or damaged at any moment ends with the bytes of one that was not."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from interrupting import (
    DiesAt,
    DiesSoon,
    Killed,
    goes_on_from_the_checkpoint_before,
    killed_at_writes,
    refused_change,
    stopped_killed_and_finished,
    until_done,
)
from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.methods import measuring
from selfsight.methods.visplay import curation
from selfsight.methods.visplay import run as loop
from selfsight.methods.visplay.run import Stopped, evolve, resume
from selfsight.run import RunDirectory
from watching import Watcher, same

from .conftest import Witnessed
from .runs import BUDGET, config


def test_a_run_killed_at_every_stage_boundary_and_between_all_steps(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    killed_at: list[str] = []
    kills = until_done(loop, config(speaker, tmp_path), lambda: DiesSoon(killed_at), expect=Killed, at_most=200)
    same(tmp_path / "run", straight.path)
    assert len(kills) == len(killed_at) >= 14
    assert {phase.split(": ")[1] for phase in killed_at} == {"questioner", "curation", "reasoner", "measurement"}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_writes(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    watcher, killed_in = killed_at_writes(monkeypatch, seed)
    kills = until_done(loop, config(speaker, tmp_path), watcher, expect=Killed, at_most=200)
    same(tmp_path / "run", straight.path)
    assert len(kills) >= 8
    assert len(set(killed_in)) >= 4


def test_a_signal_stops_the_run_at_the_next_step_with_everything_saved(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    class Terminated(Watcher):
        def step(self, metrics: Mapping[str, object]) -> None:
            super().step(metrics)
            if self.steps == 1:  # a second one would end this process
                os.kill(os.getpid(), signal.SIGTERM)

    watchers: list[Terminated] = []

    def watcher() -> Watcher:
        watchers.append(Terminated())
        return watchers[-1]

    stops = until_done(loop, config(speaker, tmp_path, "save_steps=1000"), watcher, expect=Stopped, at_most=100)
    for stopped, watched in zip(stops, watchers, strict=False):
        assert stopped.exit_code == 143
        assert "selfsight resume" in str(stopped.hint)
        assert watched.steps == 1
    same(tmp_path / "run", straight.path)
    assert len(stops) >= 10


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
    goes_on_from_the_checkpoint_before(loop, config(speaker, tmp_path), stage, file)
    same(tmp_path / "run", straight.path)


def test_a_run_terminated_and_killed_from_the_shell_ends_the_same(
    speaker: Path, straight: Witnessed, tmp_path: Path
) -> None:
    done = stopped_killed_and_finished("visplay-smoke", speaker, tmp_path, BUDGET)
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
    refusal = refused_change(loop, half_done, change)
    key = change.split("=")[0]
    assert key.removeprefix("visplay.") in str(refusal) or key in ("lora.r", "visplay.controls.reward")


def test_an_anchor_that_was_not_kept_is_refused_and_not_made_up(speaker: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        evolve(config(speaker, tmp_path, "grpo.beta_anchor=0.0"), progress=DiesAt("round 2"))
    with pytest.raises(SelfsightError, match=r"grpo\.beta_anchor cannot change from 0"):
        resume(tmp_path / "run", overrides=["grpo.beta_anchor=0.5"], progress=Watcher())


@pytest.fixture(scope="module")
def half_done(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed when its second round began."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.raises(Killed):
        evolve(config(speaker, folder), progress=DiesAt("round 2"))
    return folder / "run"


@pytest.mark.parametrize("name", ["1e5", "2024", "no", "~", ".5", "null", "0x10", "a: b", "- x", "1:30"])
def test_settings_come_back_from_the_runs_folder_as_they_were_given(tmp_path: Path, name: str) -> None:
    settings = config(Path("somewhere"), tmp_path).model_copy(update={"model": name, "images": name})
    with RunDirectory.create(tmp_path / "run", settings.model_dump(mode="json")) as directory:
        assert load_config(directory.config_path) == settings
