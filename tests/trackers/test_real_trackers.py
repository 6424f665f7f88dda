"""The trackers' own packages, without a network: what was sent is read back. Each is skipped where it is missing."""

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from selfsight.trackers import beside
from watching import lines

from .tracked_runs import TrackedRun, line


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where a tracker is not installed, and says so."""
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed (pip install '.[trackers]')")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(beside, "PATIENCE", 240.0)
    monkeypatch.setattr(beside, "HURRY", 240.0)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def interrupted_run(folder: Path, name: str) -> TrackedRun:
    """A run that was thrown back from step 6 to step 4 and found other figures there, finished."""
    run = TrackedRun(folder, name)
    run.measure(0, accuracy=0.4)
    run.log(*(line(1, "questioner", step) for step in range(6)))
    run.stop()
    assert not [note for note in run.notes if "metrics.jsonl" in note], run.notes
    run = TrackedRun(folder, name, keep=4)
    run.trackers.measured([0])
    run.log(*(line(1, "questioner", step, reward=-1.0 * step) for step in range(4, 7)))
    run.measure(1, accuracy=0.6)
    run.finish()
    assert not [note for note in run.notes if "metrics.jsonl" in note], run.notes
    return run


READ_EVENTS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
print(json.dumps([scalars, texts]))
"""


@needs("tensorboard")
def test_tensorboard_shows_metrics_jsonl_after_a_resume_too(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, "tensorboard")
    folder = run.directory.path / "tensorboard"
    read = subprocess.run([sys.executable, "-c", READ_EVENTS, str(folder)], capture_output=True, text=True, check=True)
    scalars, texts = json.loads(read.stdout)
    written = lines(run.directory.metrics_path)
    assert len(written) == 7
    for name in ("reward", "loss", "skipped"):
        shown: list[list[float]] = scalars.pop(f"questioner/{name}")
        assert [step for step, _ in shown] == list(range(7))
        assert all(math.isclose(value, float(one[name]), abs_tol=1e-6)
                   for (_, value), one in zip(shown, written, strict=True))  # fmt: skip
    accuracies = scalars["round/heldout/accuracy"]
    assert [step for step, _ in accuracies] == [0, 7]
    assert [round(value, 6) for _, value in accuracies] == [0.4, 0.6]
    assert [step for step, _ in scalars["summary/delta/accuracy"]] == [7]
    assert not [name for name in scalars if "<b>" in name]
    (settings,) = texts.values()
    assert "recipe: visplay-starter" in settings


READ_WANDB = """
import json, pathlib, struct, sys
from wandb.proto import wandb_internal_pb2 as pb

def records(path):  # a log of LevelDB's format: blocks of 32 KiB, records that may go on in the next one
    data, at, record = pathlib.Path(path).read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0:
            return
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""

def named(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}

rows, summary, ids = [], {}, set()
for path in sys.argv[1:]:
    for data in records(path):
        record = pb.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            rows.append(named(record.history.item) | {"_step": record.history.step.num})
        elif kind == "summary":
            summary |= named(record.summary.update)
        elif kind == "run":
            ids.add((record.run.run_id, record.run.project, record.run.display_name))
print(json.dumps([rows, summary, sorted(ids)]))
"""


@needs("wandb")
def test_wandb_offline_keeps_every_step_once_under_one_id(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path, "wandb")
    files = sorted((run.directory.path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # wandb writes a file for each process; `wandb sync` joins them by their id
    read = subprocess.run([sys.executable, "-c", READ_WANDB, *map(str, files)], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    rows, summary, ids = json.loads(read.stdout)
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        step = row["_step"]
        assert step not in by_step
        by_step[step] = row
    assert [by_step[step]["questioner/reward"] for step in range(7)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, -6.0]
    assert (by_step[0]["round/heldout/accuracy"], by_step[7]["round/heldout/accuracy"]) == (0.4, 0.6)
    assert summary["summary/delta/accuracy"] == 0.1
    ((_, project, name),) = ids
    assert (project, name) == ("selfsight", "made")


READ_TRACKIO = """
import json
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("selfsight")
print(json.dumps([name, SQLiteStorage.get_logs("selfsight", name)]))
"""


@needs("trackio")
def test_trackio_keeps_every_step_once_in_one_run(tmp_path: Path) -> None:
    interrupted_run(tmp_path, "trackio")
    read = subprocess.run([sys.executable, "-c", READ_TRACKIO], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    name, logs = json.loads(read.stdout.splitlines()[-1])
    assert name.startswith("made-")
    rewards = {row["step"]: row["questioner/reward"] for row in logs if "questioner/reward" in row}
    assert [row["step"] for row in logs if "questioner/reward" in row] == list(range(7))
    assert list(rewards.values()) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, -6.0]
    accuracies = {row["step"]: row["round/heldout/accuracy"] for row in logs if "round/heldout/accuracy" in row}
    assert accuracies == {0: 0.4, 7: 0.6}
