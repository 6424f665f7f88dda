"""wandb and trackio as importable modules that write down what they are told, or fail as real ones do.

A sender is a process of its own, so they cannot be patched in: they lie in a folder that stands first in PYTHONPATH.
`FAKE_TROUBLE` says where one raises or hangs: "init raises", "log hangs", ...
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selfsight.trackers import beside

_SHARED = """
import json, os, time

def told(what, **facts):
    trouble, _, how = os.environ.get("FAKE_TROUBLE", "").partition(" ")
    if what == trouble and how == "raises":
        raise RuntimeError("the \\x1b[2Jserver\\nsaid no")
    with open(os.environ["FAKE_RECORD"], "a") as record:
        record.write(json.dumps({"what": what, **facts}) + "\\n")
    if what == trouble:
        time.sleep(3600)

print("chatter of the package")

class Run:
    url, dir, summary = "https://tracker.invalid/run", "here", None

    def log(self, figures, step=None):
        told("log", figures=figures, step=step)

    def finish(self, exit_code=None):
        told("finish", exit_code=exit_code)

class Summary:
    def update(self, figures):
        told("summary", figures=figures)

Run.summary = Summary()

def init(settings=None, **facts):
    told("init", **facts)
    return Run()
"""
_WANDB = "\n\ndef Settings(**settings):\n    return settings\n"


@dataclass(frozen=True)
class Fakes:
    """What the modules were told, in order."""

    record: Path

    def told(self, what: str) -> list[dict[str, Any]]:
        """All calls of one kind."""
        if not self.record.exists():
            return []
        calls = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [call for call in calls if call["what"] == what]

    def steps(self) -> list[int]:
        """The steps of all rows that hold figures of a line of metrics.jsonl."""
        return [call["step"] for call in self.told("log") if "round/number" in call["figures"]]

    def rows(self) -> dict[int, dict[str, float]]:
        """All figures by step, as a tracker would show them."""
        rows: dict[int, dict[str, float]] = {}
        for call in self.told("log"):
            rows.setdefault(call["step"], {}).update(call["figures"])
        return rows


def install_fakes(folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: str = "") -> Fakes:
    """Puts the modules in front of the real ones, here and for new processes; senders get all the time they need."""
    site = folder / "site"
    site.mkdir()
    (site / "wandb.py").write_text(_SHARED + _WANDB)
    (site / "trackio.py").write_text(_SHARED)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("FAKE_RECORD", str(folder / "record.jsonl"))
    monkeypatch.setenv("FAKE_TROUBLE", trouble)
    monkeypatch.setattr(beside, "PATIENCE", 240.0)
    monkeypatch.setattr(beside, "HURRY", 240.0)
    return Fakes(folder / "record.jsonl")
