"""Held-out question answering, measured after every round of any method: the same questions, pictures and seeds.

Held-out worlds are a separate split, and nothing of what is found flows back into training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from selfsight.config import EvaluationSettings, EvolveConfig
from selfsight.evaluate.heldout import (
    PICTURE_SIZES,
    Answered,
    HeldOutQuestion,
    answer_questions,
    as_records,
    heldout_questions,
)
from selfsight.language.prompts import PromptPack
from selfsight.policy import Policy
from selfsight.run.tables import read_table, write_table

EVALUATION = pa.schema(
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
_TABLE = "evaluation.parquet"


@dataclass(frozen=True)
class Answerer:
    """Who is asked: a policy, how it is spoken to, and the tokens of an answer at most."""

    policy: Policy
    pack: PromptPack
    max_length: int


class HeldOut:
    """Asks questions of the held-out kind. `pause` is called between batches: it may raise."""

    def __init__(self, answerer: Answerer, config: EvolveConfig, pause: Callable[[], None]) -> None:
        self.answerer, self.config, self.pause = answerer, config, pause

    def measure(self, folder: Path) -> tuple[list[Answered], Path]:
        """The answers to the run's held-out questions, written to `folder` for `read_evaluation`."""
        settings = self.config.evaluation
        size = picture_size(self.config, self.answerer.pack)
        answered = self.answer(
            heldout_questions(settings.questions, seed=settings.seed, size=size, world=settings.world)
        )
        write_table(folder / _TABLE, as_records(answered), EVALUATION)
        return answered, folder / _TABLE

    def answer(self, questions: Sequence[HeldOutQuestion]) -> list[Answered]:
        """The answers to any questions, in the run's way of measuring."""
        settings: EvaluationSettings = self.config.evaluation
        answered: list[Answered] = []
        for start in range(0, len(questions), settings.batch_size):
            self.pause()
            answered += answer_questions(
                self.answerer.policy,
                self.answerer.pack,
                questions[start : start + settings.batch_size],
                num_samples=settings.num_samples,
                seed=settings.seed,
                batch_size=settings.batch_size,
                max_completion_length=self.answerer.max_length,
            )
        return answered


def picture_size(config: EvolveConfig, pack: PromptPack) -> int:
    """Side in pixels of a run's held-out pictures."""
    return config.evaluation.picture_size or PICTURE_SIZES[pack.name]


def read_evaluation(folder: Path) -> list[Answered]:
    """The answers behind a round's measurement."""
    rows: list[dict[str, Any]] = read_table(folder / _TABLE, EVALUATION)
    return [Answered(**row | {"sampled_keys": tuple(row["sampled_keys"])}) for row in rows]
