"""VisPlay's records and their tables: questions, votes and the pool, all joined by question id."""

from dataclasses import dataclass

import pyarrow as pa

from selfsight.images.source import ImageRef
from selfsight.language.votes import Votes, count_votes


@dataclass(frozen=True)
class Question:
    """One completion of the questioner. `text` is empty when it could not be read; `reason` says why."""

    id: str
    image: ImageRef
    text: str
    valid: bool
    reason: str
    completion: str


@dataclass(frozen=True)
class Asked:
    """A question with the reasoner's votes on it (None when the question is invalid and nobody was asked)."""

    question: Question
    votes: Votes | None
    answers: tuple[str, ...]
    min_logprob: float | None = None
    blind: Votes | None = None
    supervisor: float | None = None


@dataclass(frozen=True)
class PoolItem:
    """A kept question with its pseudo-label: one task of the reasoner phase."""

    question_id: str
    image: ImageRef
    question: str
    label: str
    confidence: float


# questions.parquet: every candidate of the round, with what the gates said.
QUESTIONS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("valid", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        pa.field("confidence", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("min_logprob", pa.float64()),
        pa.field("supervisor", pa.float64()),
        pa.field("cluster", pa.int64()),
        pa.field("r_unc", pa.float64()),
        pa.field("r_div", pa.float64()),
        pa.field("reward", pa.float64()),
        pa.field("kept", pa.bool_()),
        pa.field("gate", pa.string()),
        pa.field("gate_reason", pa.string()),
    ]
)

# votes.parquet: every answer that voted on a candidate; asked_votes.parquet: on a question of the questioner phase.
VOTES = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("key", pa.string()),
        pa.field("text", pa.string(), nullable=False),
    ]
)

# pool.parquet: what the reasoner is trained on.
POOL = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
    ]
)


def vote_rows(asked: Asked) -> list[dict[str, object]]:
    """The rows of a table of votes for a question: the reasoner's answers and, where asked, the blind ones."""
    rows: list[dict[str, object]] = []
    if asked.votes is not None:
        for i, (key, text) in enumerate(zip(asked.votes.keys, asked.answers, strict=True)):
            rows.append({"question_id": asked.question.id, "sample": i, "kind": "vote", "key": key, "text": text})
    if asked.blind is not None:
        for i, key in enumerate(asked.blind.keys):
            rows.append({"question_id": asked.question.id, "sample": i, "kind": "blind", "key": key, "text": ""})
    return rows


def question_row(asked: Asked, *, phase: str, step: int, **more: object) -> dict[str, object]:
    """The row of questions.parquet for a question; `more` fills the reward or gate columns."""
    question, votes = asked.question, asked.votes
    row: dict[str, object] = dict.fromkeys(QUESTIONS.names)
    row |= {
        "question_id": question.id,
        "image_id": question.image.id,
        "origin": question.image.origin,
        "phase": phase,
        "step": step,
        "question": question.text,
        "valid": question.valid,
        "reason": question.reason,
        "completion": question.completion,
        "confidence": None if votes is None else votes.confidence,
        "label": None if votes is None else votes.label,
        "min_logprob": asked.min_logprob,
        "supervisor": asked.supervisor,
    }
    return row | more


def pool_rows(pool: list[PoolItem]) -> list[dict[str, object]]:
    """The rows of pool.parquet."""
    return [
        {
            "question_id": item.question_id,
            "image_id": item.image.id,
            "origin": item.image.origin,
            "question": item.question,
            "label": item.label,
            "confidence": item.confidence,
        }
        for item in pool
    ]


def read_pool(rows: list[dict[str, object]]) -> list[PoolItem]:
    """The pool behind the rows of pool.parquet."""
    return [
        PoolItem(
            question_id=str(row["question_id"]),
            image=ImageRef(str(row["image_id"]), str(row["origin"])),
            question=str(row["question"]),
            label=str(row["label"]),
            confidence=float(str(row["confidence"])),
        )
        for row in rows
    ]


def asked_from_rows(questions: list[dict[str, object]], votes: list[dict[str, object]]) -> list[Asked]:
    """What `question_row` and `vote_rows` wrote down, read back."""
    answers: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in votes:
        answers.setdefault((str(row["question_id"]), str(row["kind"])), []).append(row)

    def tally(id: str, kind: str) -> tuple[Votes | None, tuple[str, ...]]:
        rows = sorted(answers.get((id, kind), []), key=lambda row: int(str(row["sample"])))
        if not rows:
            return None, ()
        return count_votes([_key(row["key"]) for row in rows]), tuple(str(row["text"]) for row in rows)

    asked = []
    for row in questions:
        id = str(row["question_id"])
        question = Question(
            id, ImageRef(str(row["image_id"]), str(row["origin"])), str(row["question"]), bool(row["valid"]),
            str(row["reason"]), str(row["completion"]),
        )  # fmt: skip
        lowest = row["min_logprob"]
        supervisor = row["supervisor"]
        asked.append(
            Asked(
                question, *tally(id, "vote"), None if lowest is None else float(str(lowest)), tally(id, "blind")[0],
                None if supervisor is None else float(str(supervisor)),
            )
        )  # fmt: skip
    return asked


def _key(value: object) -> str | None:
    return None if value is None else str(value)
