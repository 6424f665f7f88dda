"""A run that no model makes: its directory, its metrics as they come, and its trackers."""

from pathlib import Path
from typing import Any

from made_runs import heldout, visplay_config
from selfsight.run import JsonlWriter, RunDirectory, pretty_json, write_atomic
from selfsight.trackers import Trackers


def line(round: int, phase: str, step: int, **more: object) -> dict[str, object]:
    """A line of metrics.jsonl, with a figure under a name that a model wrote."""
    families = {"how many <b>_": 3}
    return {"stage": f"round-{round}/{phase}", "step": step, "reward": 0.25 * step, "loss": -0.125, "skipped": False,
            "families": families, **more}  # fmt: skip


class TrackedRun:
    """Writes as a run does and tells its trackers as a run does. Opened again it is resumed."""

    def __init__(self, folder: Path, *names: str, keep: int = 0) -> None:
        path = folder / "made"
        if not path.exists():
            RunDirectory.create(path, visplay_config(folder).model_dump(mode="json")).close()
        self.directory = RunDirectory.open(path)
        self.notes: list[str] = []
        self.metrics = JsonlWriter(self.directory.metrics_path)
        self.metrics.truncate(keep)
        self.trackers = Trackers(path, names, kept=keep, note=self.notes.append)

    def log(self, *lines: dict[str, object]) -> None:
        for one in lines:
            self.metrics.append(one)
            self.trackers.look()

    def measure(self, round: int, accuracy: float = 0.5) -> None:
        entry = {"round": round, "heldout": heldout(accuracy), "kept": 3}
        write_atomic(self.directory.round(round) / "round.json", pretty_json(entry))
        self.trackers.measured([round])

    def stop(self) -> None:
        self.metrics.close()
        self.trackers.close()

    def finish(self, **summary: Any) -> None:
        self.directory.write_summary({"final": heldout(0.6), "delta": {"accuracy": 0.1, "ci95": [0.0, 0.2]}, **summary})
        self.trackers.finished()
        self.stop()
