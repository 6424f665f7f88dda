"""Whole runs with trackers: what arrives, and that the run is the same with, without, and in spite of them."""

from pathlib import Path

import pytest

from fake_trackers import install_fakes
from interrupting import DiesAt, Killed
from selfsight.errors import SelfsightError
from selfsight.methods.visplay.run import evolve, resume
from selfsight.trackers import known
from watching import Watcher, lines, same

from .conftest import Witnessed
from .runs import config


def test_a_killed_and_resumed_run_arrives_once_and_is_undisturbed(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = install_fakes(tmp_path, monkeypatch)
    with pytest.raises(Killed):
        evolve(config(speaker, tmp_path, "report_to=[jsonl, wandb]"), progress=DiesAt("round 2: reasoner"))
    watcher = Watcher()
    resume(tmp_path / "run", progress=watcher)
    same(tmp_path / "run", straight.path)
    written = lines(tmp_path / "run" / "metrics.jsonl")
    rows = fakes.rows()
    assert fakes.steps() == list(range(len(written)))
    for step, line in enumerate(written):
        phase = line["stage"].partition("/")[2]
        for name in ("reward", "kl", "kept"):
            assert rows[step].get(f"{phase}/{name}") == line.get(name)
    measured = [row["round/heldout/accuracy"] for _, row in sorted(rows.items()) if "round/heldout/accuracy" in row]
    entries = [straight.summary["base"], *(entry["heldout"] for entry in straight.summary["rounds"])]
    assert measured == [entry["accuracy"] for entry in entries]
    assert fakes.told("summary")[0]["figures"]["summary/final/accuracy"] == straight.summary["final"]["accuracy"]
    assert "wandb: https://tracker.invalid/run" in watcher.notes


def test_a_run_whose_tracker_fails_is_the_same_run(
    speaker: Path, straight: Witnessed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_fakes(tmp_path, monkeypatch, "log raises")
    watcher = Watcher()
    evolve(config(speaker, tmp_path, "report_to=wandb"), progress=watcher)
    same(tmp_path / "run", straight.path)
    assert len([note for note in watcher.notes if note.startswith("wandb: RuntimeError")]) == 1


def test_a_missing_tracker_is_found_before_the_run_has_a_folder(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "find_spec", lambda name: None)
    with pytest.raises(SelfsightError, match="tensorboard, which is not installed"):
        evolve(config(speaker, tmp_path, "report_to=[tensorboard]"), progress=Watcher())
    assert not (tmp_path / "run").exists()


def test_a_run_may_keep_no_metrics(speaker: Path, tmp_path: Path) -> None:
    evolve(config(speaker, tmp_path, "report_to=[none]", "visplay.rounds=1"), progress=Watcher())
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == b""
