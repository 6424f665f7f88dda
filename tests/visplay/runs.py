"""A tiny run of VisPlay for tests, and how to look at what it left on disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfsight.config import EvolveConfig, load_config

# Two rounds in about two seconds: every stage more than once, every phase with more than one step.
BUDGET = (
    "threads=1",
    "visplay.gates={preset: robust}",  # the preset itself, not the starter recipe's tuning of it
    "save_steps=1",
    "grpo.num_generations=4",
    "optim.learning_rate=1e-3",
    "visplay.rounds=2",
    "visplay.questioner_steps=2",
    "visplay.reasoner_steps=3",
    "visplay.images_per_step=3",
    "visplay.num_votes=6",
    "visplay.questions_per_image=4",
    "visplay.questions_per_step=3",
    "visplay.pool_images=6",
    "visplay.min_pool=3",
    "visplay.max_question_length=12",
    "visplay.max_answer_length=8",
    "evaluation.questions=9",
    "evaluation.num_samples=2",
    "evaluation.batch_size=9",
)


def config(model: Path, output_dir: Path, *overrides: str, run_name: str = "run") -> EvolveConfig:
    """The settings of a tiny run in `output_dir`/`run_name`."""
    place = (f"model={model}", f"output_dir={output_dir}", f"run_name={run_name}")
    return load_config("visplay-smoke", [*place, *BUDGET, *overrides])


class Watcher:
    """A progress display that remembers what it was told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.steps = 0

    def phase(self, name: str, total: int | None) -> None:
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
        for pattern in ("*.parquet", "*.safetensors", "round.json", "games.jsonl")
        for path in (run / "rounds").rglob(pattern)
    }
    found["metrics"] = [
        {key: value for key, value in line.items() if key != "tokens_per_second"}
        for line in lines(run / "metrics.jsonl")
    ]
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
