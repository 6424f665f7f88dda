"""A round against the base model, from what the run measured of both: the same questions, paired.

For the last round that is the run's own comparison. For another one it is made in the same way from both rounds'
evaluation.parquet; a test holds the two to each other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from selfsight.errors import SelfsightError
from selfsight.evaluate.statistics import paired_interval
from selfsight.report.reading import RunReading

_COLUMNS: Final = ("id", "family", "question", "key", "greedy", "sampled", "majority")


@dataclass(frozen=True)
class FamilyChange:
    """A kind of held-out question: greedy accuracy before and after on `n` questions, and the change."""

    family: str
    n: int
    before: float
    after: float
    change: float
    low: float
    high: float


def compared(run: RunReading, round: int) -> dict[str, Any]:
    """A summary of the run as if it had ended with `round`: what the sentences of a verdict are made of."""
    rounds = [entry for entry in run.rounds if entry["round"] <= round]
    base, last = run.base, rounds[-1]
    if base is None:
        raise SelfsightError(
            f"{run.path}: its base model was not measured", hint="restore rounds/0, or start a new run"
        )
    own = run.config.vision_zero
    decisions = last.get("decisions")
    chance = decisions.get("chance") if isinstance(decisions, dict) else (run.summary or {}).get("chance")
    return {
        "method": run.config.method,
        "recipe": run.config.recipe,
        "images": {"kind": "worlds" if run.config.images.startswith("worlds") else "own"},
        "base": base["heldout"],
        "base_decisions": base.get("decisions"),
        "rounds": rounds,
        "final": last["heldout"],
        "delta": paired_change(run.path, round),
        "chance": chance,
        "mode": own.switching.mode,
        "baseline": own.rewards.baseline,
    }


def paired_change(path: Path, round: int) -> dict[str, object]:
    """The change in held-out accuracy from the base model to a round, with 95 % intervals."""
    before, after = _both(path, round)
    change: dict[str, object] = {}
    for measure, name, bounds in (("greedy", "accuracy", "ci95"), ("sampled", "sampled", "sampled_ci95"),
                                  ("majority", "majority", "majority_ci95")):  # fmt: skip
        found = paired_interval(before[measure], after[measure], seed=0)
        change |= {name: found.mean, bounds: [found.low, found.high]}
    return change


def family_changes(path: Path, round: int) -> list[FamilyChange]:
    """The same for each kind of held-out question, greedy."""
    before, after = _both(path, round)
    changes = []
    for family in sorted(set(before["family"])):
        places = [place for place, name in enumerate(before["family"]) if name == family]
        was, now = ([side["greedy"][place] for place in places] for side in (before, after))
        found = paired_interval(was, now, seed=0)
        changes.append(
            FamilyChange(
                family, len(places), sum(was) / len(was), sum(now) / len(now), found.mean, found.low, found.high
            )
        )
    return changes


def _both(path: Path, round: int) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    before, after = _answers(path, 0), _answers(path, round)
    if any(before[name] != after[name] for name in ("id", "family", "question", "key")):
        raise SelfsightError(
            f"{path}: rounds 0 and {round} were not asked the same questions", hint="restore their evaluation.parquet"
        )
    return before, after


def _answers(path: Path, round: int) -> dict[str, list[Any]]:
    file = path / "rounds" / str(round) / "evaluation.parquet"
    try:
        table = pq.read_table(file, columns=list(_COLUMNS), partitioning=None)
        answers: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in _COLUMNS}
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SelfsightError(f"{file}: cannot be read ({error})", hint="restore it, or choose another round") from error
    return answers
