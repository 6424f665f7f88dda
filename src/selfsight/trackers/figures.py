"""From a run's files to named numbers, under the names that they have there.

A line of metrics.jsonl: PHASE/NAME, the phase being that of its stage (`questioner/reward`), since both roles log the
same names. A round's measurement: round/NAME, with groups below (`round/heldout/accuracy`); the same of summary.json.
An interval [low, high] becomes two figures. A tracker's step is a line's place in metrics.jsonl, from 0.

Left out: texts, whatever is not a finite number, and groups whose names come from models or are many (`_LEFT_OUT`).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

# `families` of a step are opening words of questions, written by a model; calibration is a table, not a figure.
_LEFT_OUT: Final = frozenset({"families", "calibration"})
_PLACE: Final = frozenset({"stage", "step"})


def step_figures(line: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a line of metrics.jsonl, and of which round it is."""
    stage = line.get("stage")
    round, _, phase = str(stage).partition("/")
    figures = _flat({name: value for name, value in line.items() if name not in _PLACE}, phase or "run")
    if (number := round.removeprefix("round-")).isdecimal():
        figures["round/number"] = float(number)
    return figures


def round_figures(entry: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a round's round.json; round 0 is the base model's."""
    return _flat({name: value for name, value in entry.items() if name != "round"}, "round")


def summary_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures of summary.json that are the run's and not one round's."""
    return _flat({name: summary.get(name) for name in ("base", "final", "delta", "timings")}, "summary")


def _flat(group: Mapping[str, Any], prefix: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, value in group.items():
        path = f"{prefix}/{name}"
        if isinstance(value, Mapping):
            if name not in _LEFT_OUT:
                figures |= _flat(value, path)
        elif isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)):
            figures |= {f"{path}/low": float(value[0]), f"{path}/high": float(value[1])}
        elif _is_number(value) or isinstance(value, bool):
            figures[path] = float(value)
    return figures


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
