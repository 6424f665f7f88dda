"""Runs of any method for tests: a progress display that remembers, and what a run has left on disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


class Watcher:
    """A progress display that remembers what it was told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.steps = 0

    def phase(self, name: str, total: int | None, **more: int | None) -> None:
        self.phases.append(name)

    def step(self, metrics: Mapping[str, object]) -> None:
        self.steps += 1

    def note(self, text: str) -> None:
        self.notes.append(text)


def table(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(run: Path) -> dict[str, object]:
    """Everything a run has computed, without wall times and paths: equal for equal runs."""
    found: dict[str, object] = {
        path.relative_to(run).as_posix(): path.read_bytes()
        for pattern in ("*.parquet", "*.safetensors", "round.json", "*.jsonl")
        for path in (run / "rounds").rglob(pattern)
    }
    found["metrics"] = [
        {key: value for key, value in line.items() if key not in ("tokens_per_second", "peak_memory_gib")}
        for line in lines(run / "metrics.jsonl")
    ]
    found["alarms"] = (run / "alarms.jsonl").read_bytes()
    summary = json.loads((run / "summary.json").read_text())
    found["summary"] = {key: value for key, value in summary.items() if key != "timings"}
    found["stages"] = list(dict.fromkeys(line["stage"] for line in lines(run / "journal.jsonl")))
    found["parts"] = [path.name for path in (run / "rounds").rglob("parts")]
    return found


def same(run: Path, reference: Path) -> None:
    """Asserts that two runs have computed the same, naming what differs."""
    ours, theirs = results(run), results(reference)
    assert sorted(ours) == sorted(theirs)
    assert [key for key in ours if ours[key] != theirs[key]] == []
