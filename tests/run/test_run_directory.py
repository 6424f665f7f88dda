"""The run's folder, its lock and its journal."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selfsight.errors import SelfsightError
from selfsight.run import Journal, RunDirectory, RunLock, being_written, read_journal

CONFIG = {"model": "starter", "seed": 7, "visplay": {"rounds": 3}}


def test_a_new_run_holds_its_configuration(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "runs" / "one", CONFIG) as run:
        assert run.read_config() == CONFIG
        assert list(run.read_config()) == list(CONFIG)
        assert run.round(2) == run.rounds / "2"
        assert run.round(2).is_dir()
        run.write_summary({"method": "visplay", "rounds": []})
    again = RunDirectory.open(tmp_path / "runs" / "one")
    assert again.read_summary() == {"method": "visplay", "rounds": []}
    assert again.journal_path.name == "journal.jsonl"
    assert again.metrics_path.parent == again.path


def test_an_existing_run_is_never_written_over(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "one", CONFIG).close()
    with pytest.raises(SelfsightError, match="holds a run already") as refusal:
        RunDirectory.create(tmp_path / "one", {"seed": 8})
    assert "selfsight resume" in str(refusal.value.hint)
    assert RunDirectory.open(tmp_path / "one").read_config() == CONFIG


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SelfsightError, match=r"is not empty \(thesis\.tex\)"):
        RunDirectory.create(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a file")
    with pytest.raises(SelfsightError, match="one: cannot be written") as refusal:
        RunDirectory.create(tmp_path / "one", CONFIG)
    assert "in the way" in str(refusal.value.hint)


def test_a_run_stopped_while_it_was_being_made_can_be_made_again(tmp_path: Path) -> None:
    for debris in (".lock", ".config.yaml.tmp"):
        (tmp_path / debris).write_text("")
    for debris in ("rounds", "checkpoints"):
        (tmp_path / debris).mkdir()
    RunDirectory.create(tmp_path, CONFIG).close()
    assert RunDirectory.open(tmp_path).read_config() == CONFIG


def test_a_folder_without_a_run_cannot_be_resumed_or_read(tmp_path: Path) -> None:
    for way in (RunDirectory.resume, RunDirectory.open):
        with pytest.raises(SelfsightError, match="holds no run"):
            way(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "just words", "!!python/object/apply:os.getcwd []"])
def test_a_damaged_configuration_is_named_and_never_executed(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SelfsightError, match=r"config\.yaml"):
        RunDirectory.open(tmp_path).read_config()


# --- lock --------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from selfsight.run import RunDirectory
run = RunDirectory.resume(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_and_told_who_holds_the_run(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "one", CONFIG).close()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "one"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SelfsightError, match=f"another process is writing this run: pid {holder.pid} on"):
            RunDirectory.resume(tmp_path / "one")
        RunDirectory.open(tmp_path / "one")  # reading is free
        assert being_written(tmp_path / "one/.lock") is True
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert being_written(tmp_path / "one/.lock") is False
    RunDirectory.resume(tmp_path / "one").close()  # a killed process leaves no stale lock


def test_the_lock_also_holds_inside_one_process_and_ends_with_close(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "one", CONFIG):
        with pytest.raises(SelfsightError, match=f"pid {os.getpid()}"):
            RunDirectory.resume(tmp_path / "one")
        with pytest.raises(SelfsightError, match="holds a run already"):
            RunDirectory.create(tmp_path / "one", CONFIG)
    with RunDirectory.resume(tmp_path / "one"):
        pass


def test_a_lock_whose_owner_has_not_written_its_name_is_still_a_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path / ".lock"):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(SelfsightError, match="only just started"):
            RunLock(tmp_path / ".lock").acquire()


def test_who_looks_whether_a_run_is_written_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    assert being_written(lock) is False
    done = threading.Event()
    found: set[bool | None] = set()

    def look() -> None:
        while not done.is_set():
            found.add(being_written(lock))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(100):
            with RunLock(lock):  # would be refused while somebody else held it
                assert being_written(lock) is True
        with RunLock(lock):  # held until who looks has seen it, however seldom a busy machine lets it look
            deadline = time.monotonic() + 60
            while True not in found and time.monotonic() < deadline:
                time.sleep(0.001)
    finally:
        done.set()
        looker.join()
    assert being_written(lock) is False  # this process lives on, and no longer holds it
    assert True in found


@pytest.mark.parametrize(("held_by", "answer"), [
    ({"pid": 1, "host": "another", "start": ""}, None), ({"pid": -1, "host": socket.gethostname()}, None),
    ({"pid": 2**40, "host": socket.gethostname()}, False), ({"pid": "x", "host": "h"}, False), ([], False),
])  # fmt: skip
def test_a_lock_of_another_machine_tells_nothing_and_a_damaged_one_holds_nobody(
    tmp_path: Path, held_by: object, answer: bool | None
) -> None:
    (tmp_path / ".lock").write_text(json.dumps(held_by))
    assert being_written(tmp_path / ".lock") is answer


# --- journal -----------------------------------------------------------------------------------------------


def finish(run: Path, stage: str, inputs: dict[str, str], files: dict[str, str]) -> None:
    with Journal(run / "journal.jsonl") as journal, journal.stage(stage, inputs) as under_way:
        for name, text in files.items():
            path = under_way.output(run / name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def test_a_finished_stage_is_done_for_its_inputs_only(tmp_path: Path) -> None:
    finish(tmp_path, "round-1/votes", {"weights": "aa"}, {"rounds/1/votes.parquet": "v"})
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.is_done("round-1/votes")
        assert journal.is_done("round-1/votes", {"weights": "aa"})
        assert not journal.is_done("round-1/votes", {"weights": "bb"})
        assert not journal.is_done("round-2/votes")
        assert list(journal.outputs("round-1/votes")) == ["rounds/1/votes.parquet"]
        with pytest.raises(SelfsightError, match="'round-2/votes' is not finished"):
            journal.outputs("round-2/votes")


def test_a_stage_that_fails_is_not_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(ZeroDivisionError), journal.stage("a", {}):
            _ = 1 / 0
        assert not journal.is_done("a")
    assert read_journal(tmp_path / "journal.jsonl") == []


def test_missing_and_changed_artefacts_are_named_and_their_stage_is_repeated(tmp_path: Path) -> None:
    files = {
        "rounds/1/pool.parquet": "p",
        "rounds/1/reasoner/model.safetensors": "w",
        "rounds/1/q.parquet": "q",
    }
    finish(tmp_path, "curation", {}, files)
    finish(tmp_path, "later", {}, {"x": "x"})
    (tmp_path / "rounds/1/pool.parquet").unlink()
    (tmp_path / "rounds/1/reasoner/model.safetensors").write_text("W")
    notes: list[str] = []
    with Journal(tmp_path / "journal.jsonl", note=notes.append) as journal:
        assert not journal.is_done("curation")
        assert journal.is_done("later")
        assert [str(damage) for damage in journal.verify("curation")] == [
            "rounds/1/pool.parquet (from curation) is missing",
            "rounds/1/reasoner/model.safetensors (from curation) is changed",
        ]
    assert len(notes) == 2
    assert "pool.parquet" in notes[0]
    finish(tmp_path, "curation", {}, files)
    with Journal(tmp_path / "journal.jsonl", note=notes.append) as journal:
        assert journal.is_done("curation")
        assert journal.stages() == ["curation", "later"]


def test_a_model_folder_is_one_artefact(tmp_path: Path) -> None:
    folder = tmp_path / "rounds/1/reasoner"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.record("train", inputs={}, outputs=[folder], seconds=1.5)
        (folder / "planted.bin").write_text("x")
        assert [damage.what for damage in journal.verify("train")] == ["changed"]


def test_the_journal_survives_a_torn_line_and_refuses_a_foreign_one(tmp_path: Path) -> None:
    finish(tmp_path, "a", {"config": "1"}, {"x": "x"})
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"stage":"b","inp')
    with Journal(path) as journal:
        assert journal.stages() == ["a"]
    path.write_text(json.dumps({"stage": "a"}) + "\n")
    with pytest.raises(SelfsightError, match="line 1 is not a journal entry"):
        Journal(path)


def test_wall_time_is_recorded(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal, journal.stage("a", {}):
        time.sleep(0.02)
    assert 0.02 <= read_journal(tmp_path / "journal.jsonl")[0].seconds < 5
