"""Answers to held-out questions: the record, its table in a run, and the figures that are made of it. No torch.

Every answer is kept per question, so that two models are compared pairwise.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from selfsight.errors import SelfsightError
from selfsight.evaluate.statistics import Interval, paired_interval, share_interval
from selfsight.run.tables import read_table, write_table

EVALUATION: Final = "evaluation.parquet"
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("greedy", pa.float64(), nullable=False),
        pa.field("sampled", pa.float64(), nullable=False),
        pa.field("majority", pa.float64(), nullable=False),
        pa.field("greedy_format_failure", pa.float64(), nullable=False),
        pa.field("sampled_format_failure", pa.float64(), nullable=False),
        pa.field("greedy_text", pa.string(), nullable=False),
        pa.field("sampled_keys", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Answered:
    """How a model did on one question: greedy right or wrong, share of right samples, credit of the majority.

    `sampled_keys` are the answer keys of the samples, empty for an abstention, so that everything can be scored again.
    """

    id: str
    family: str
    image_id: str
    question: str
    key: str
    greedy: float
    sampled: float
    majority: float
    greedy_format_failure: float
    sampled_format_failure: float
    greedy_text: str
    sampled_keys: tuple[str, ...]


def write_evaluation(folder: Path, answered: Sequence[Answered]) -> Path:
    """Writes the answers of a round into its folder, for `read_evaluation`."""
    write_table(folder / EVALUATION, as_records(answered), _SCHEMA)
    return folder / EVALUATION


def read_evaluation(folder: Path) -> list[Answered]:
    """The answers behind a round's measurement."""
    rows: list[dict[str, Any]] = read_table(folder / EVALUATION, _SCHEMA)
    return [Answered(**row | {"sampled_keys": tuple(row["sampled_keys"])}) for row in rows]


def summarise(answered: Sequence[Answered]) -> dict[str, object]:
    """Accuracies in [0, 1] with 95 % intervals (see `statistics`), format failures, and accuracies per family."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(a, name) for a in answered])

    families = sorted({a.family for a in answered})
    greedy, sampled = share_interval(column("greedy")), share_interval(column("sampled"))
    majority = share_interval(column("majority"))
    return {
        "accuracy": greedy.mean,
        "ci95": [greedy.low, greedy.high],
        "n": len(answered),
        "sampled": sampled.mean,
        "sampled_ci95": [sampled.low, sampled.high],
        "majority": majority.mean,
        "majority_ci95": [majority.low, majority.high],
        "format_failures": float(column("greedy_format_failure").mean()),
        "sampled_format_failures": float(column("sampled_format_failure").mean()),
        "families": {family: _of_family([a for a in answered if a.family == family]) for family in families},
    }


def compare(before: Sequence[Answered], after: Sequence[Answered], *, seed: int = 0) -> dict[str, object]:
    """Paired change from one model to another on the same questions, with 95 % intervals."""
    if [(a.id, a.question, a.key) for a in before] != [(a.id, a.question, a.key) for a in after]:
        raise SelfsightError(
            "the two evaluations are not about the same questions",
            hint="evaluate both models with the same number of questions and the same seed",
        )

    def change(name: str) -> Interval:
        return paired_interval(
            np.array([getattr(a, name) for a in before]),
            np.array([getattr(a, name) for a in after]),
            seed=seed,
        )

    greedy, sampled, majority = change("greedy"), change("sampled"), change("majority")
    return {
        "accuracy": greedy.mean,
        "ci95": [greedy.low, greedy.high],
        "sampled": sampled.mean,
        "sampled_ci95": [sampled.low, sampled.high],
        "majority": majority.mean,
        "majority_ci95": [majority.low, majority.high],
    }


def as_records(answered: Sequence[Answered]) -> list[dict[str, object]]:
    """Rows for evaluation.parquet."""
    return [asdict(a) for a in answered]


def _of_family(answered: Sequence[Answered]) -> dict[str, object]:
    """A kind of question; `ci95` is that of the greedy answers, and has a width when all of them are right."""
    greedy = share_interval([a.greedy for a in answered])
    return {
        "n": len(answered),
        "greedy": greedy.mean,
        "ci95": [greedy.low, greedy.high],
        "sampled": float(np.mean([a.sampled for a in answered])),
        "majority": float(np.mean([a.majority for a in answered])),
    }
