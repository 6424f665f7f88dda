"""What trackers get of a run, and that no trouble of theirs is the run's."""

import importlib.util
import os
import time
from pathlib import Path

import pytest

from fake_trackers import Fakes, install_fakes
from selfsight.errors import SelfsightError
from selfsight.trackers import beside, require_trackers, tracker_names

from .tracked_runs import TrackedRun, line


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_the_figures_of_a_run_at_their_place_in_metrics_jsonl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fakes = install_fakes(tmp_path, monkeypatch)
    run = TrackedRun(tmp_path, name)
    run.measure(0, accuracy=0.4)
    run.log(*(line(1, "questioner", step) for step in range(3)), line(1, "reasoner", 0))
    run.measure(1)
    run.finish()
    rows = fakes.rows()
    assert fakes.steps() == [0, 1, 2, 3]
    assert rows[2]["questioner/reward"] == 0.5
    assert rows[3]["reasoner/loss"] == -0.125
    assert (rows[0]["round/heldout/accuracy"], rows[4]["round/heldout/accuracy"]) == (0.4, 0.5)
    kind = "summary" if name == "wandb" else "log"
    assert fakes.told(kind)[-1]["figures"]["summary/delta/ci95/high"] == 0.2
    assert [call["exit_code"] for call in fakes.told("finish")] == [0 if name == "wandb" else None]
    assert not [figure for row in rows.values() for figure in row if "<b>" in figure]


def test_a_tracker_learns_the_settings_and_no_folder_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = install_fakes(tmp_path, monkeypatch)
    TrackedRun(tmp_path, "wandb").finish()
    (begun,) = fakes.told("init")
    assert begun["config"]["visplay"]["rounds"] == 2
    assert begun["name"] == "made"
    assert str(tmp_path) not in str(begun["config"])


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_resumed_run_is_the_same_run_and_doubles_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fakes = install_fakes(tmp_path, monkeypatch)
    run = TrackedRun(tmp_path, name)
    run.measure(0)
    run.log(*(line(1, "questioner", step) for step in range(6)))
    run.stop()
    run = TrackedRun(tmp_path, name, keep=4)  # thrown back to its checkpoint
    run.trackers.measured([0])  # known to be done, as a resumed run announces it
    run.log(*(line(1, "questioner", step) for step in range(4, 8)))
    run.measure(1)
    run.finish()
    assert fakes.steps() == list(range(8))
    assert [call["step"] for call in fakes.told("log") if "round/heldout/accuracy" in call["figures"]] == [0, 8]
    first, second = fakes.told("init")
    assert first == second
    assert first["resume"] == "allow"


def test_a_tracker_that_comes_later_gets_all_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = install_fakes(tmp_path, monkeypatch)
    run = TrackedRun(tmp_path)
    run.measure(0)
    run.log(line(1, "questioner", 0))
    run.measure(1)
    run.log(line(2, "questioner", 0))
    run.stop()
    run = TrackedRun(tmp_path, "wandb", keep=2)
    run.trackers.measured([0, 1])
    run.finish()
    assert fakes.steps() == [0, 1]
    assert [call["step"] for call in fakes.told("log") if "round/heldout/accuracy" in call["figures"]] == [0, 1]


@pytest.mark.parametrize("place", ["init", "log", "finish"])
def test_a_tracker_that_raises_is_told_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    install_fakes(tmp_path, monkeypatch, f"{place} raises")
    run = TrackedRun(tmp_path, "wandb")
    run.log(line(1, "questioner", 0))
    run.finish()
    told = [note for note in run.notes if "RuntimeError" in note]
    assert len(told) == 1
    assert told[0].startswith("wandb: RuntimeError: the")
    assert "metrics.jsonl has every figure" in told[0]
    assert "chatter" not in "".join(run.notes)
    assert "Traceback" in (run.directory.path / "trackers" / "wandb.log").read_text()


def until_told(fakes: Fakes, what: str) -> None:
    """Waits until a tracker has been told something."""
    deadline = time.monotonic() + 240
    while not fakes.told(what) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert fakes.told(what)


def test_a_tracker_that_hangs_holds_up_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = install_fakes(tmp_path, monkeypatch, "init hangs")
    run = TrackedRun(tmp_path, "wandb")
    until_told(fakes, "init")
    run.log(*(line(1, "questioner", step) for step in range(50)))
    run.trackers.measured(range(50_000))  # far more than a pipe holds: whoever waited here would wait for ever
    monkeypatch.setattr(beside, "PATIENCE", 0.2)
    run.finish()
    assert [note for note in run.notes if "wandb: not done after 0.2 s, and given up" in note]
    assert run.metrics.lines == 50


def test_a_tracker_that_hangs_at_its_end_costs_a_run_its_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = install_fakes(tmp_path, monkeypatch, "finish hangs")
    run = TrackedRun(tmp_path, "wandb")
    run.log(line(1, "questioner", 0))
    until_told(fakes, "log")
    monkeypatch.setattr(beside, "PATIENCE", 3.0)
    (sender,) = run.trackers._beside
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 30
    assert sender.process.returncode is not None
    assert [note for note in run.notes if "still sending" in note]
    assert [note for note in run.notes if "given up" in note]


def test_what_a_step_pays_is_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_fakes(tmp_path, monkeypatch, "init hangs")
    run = TrackedRun(tmp_path, "wandb", "trackio")
    began = time.thread_time()
    for _ in range(1000):
        run.trackers.look()
    spent = time.thread_time() - began
    monkeypatch.setattr(beside, "HURRY", 0.1)
    run.stop()
    assert spent / 1000 < 1e-3


def test_a_sender_whose_run_was_killed_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = install_fakes(tmp_path, monkeypatch)
    run = TrackedRun(tmp_path, "wandb")
    run.log(line(1, "questioner", 0))
    (sender,) = run.trackers._beside
    os.close(sender.words)  # what the end of its process does
    assert sender.process.wait(240) == 0
    assert fakes.steps() == [0]
    assert [call["exit_code"] for call in fakes.told("finish")] == [1]
    run.trackers._beside = []
    os.close(sender.voice)
    run.metrics.close()


def test_nothing_is_started_for_a_run_without_trackers(tmp_path: Path) -> None:
    run = TrackedRun(tmp_path)
    run.finish()
    assert not (run.directory.path / "trackers").exists()


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("selfsight.trackers.known.find_spec", lambda name: None if name == "wandb" else found("json"))
    require_trackers(["jsonl", "trackio"])
    with pytest.raises(SelfsightError, match="asks for wandb, which is not installed") as refused:
        require_trackers(["wandb", "trackio"])
    assert "[trackers]'" in (refused.value.hint or "")


def test_places_that_are_no_trackers_start_none() -> None:
    assert tracker_names(["jsonl", "wandb", "none", "wandb"]) == ("wandb",)
