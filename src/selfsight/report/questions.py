"""The questions of a VisPlay run as frozen records, table by table.

A table holds what one phase of one round asked: the questioner phase (`asked.parquet`: rewards, `asked_votes.parquet`:
answers) and curation (`questions.parquet`: gates, `votes.parquet`: answers). One table is in memory at a time. Of a
phase under way the parts are read that it has written; its candidates have no fate yet.

A run of an earlier version has no `asked_votes.parquet`: of its questioner phase is known how many agreed, not on what.

What is true of a question is told from outside (`TruthOf`): a report sees no scene and no right answer of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from selfsight.errors import SelfsightError
from selfsight.images import ImageRef
from selfsight.language.votes import Votes
from selfsight.methods.visplay.records import POOL, QUESTIONS, VOTES, Asked, asked_from_rows
from selfsight.report.reading import Trouble, number, round_numbers, trouble_of
from selfsight.run.tables import read_table

Phase = Literal["questioner", "curation"]
Row = dict[str, object]


class Truth(Protocol):
    """What is true of a question: the right answer's key (None: there is no one right answer), and why not."""

    @property
    def key(self) -> str | None: ...

    @property
    def reason(self) -> str: ...


# From an image and a question to what is true; None where nobody knows.
TruthOf = Callable[[ImageRef, str], Truth | None]


@dataclass(frozen=True)
class RewardTerms:
    """What the questioner was paid for a question, term by term, as the run recorded it.

    `cluster_size` and `group_size` are counted here, from the table. `cluster` is None for a question that earned
    nothing because it could not be read or was refused.
    """

    cluster: int | None
    cluster_size: int
    group_size: int
    r_unc: float
    r_div: float
    reward: float


@dataclass(frozen=True)
class QuestionRecord:
    """A question with its votes, and what became of it.

    `asked.votes` is None where nobody was asked, or the answers were not kept; then `confidence` and `label` are all
    that is known. `kept` is None where no curation has decided (the questioner phase, a round under way). `gate` and
    `gate_reason` say who turned it away. `taught` is the label that the reasoner learned from: the vote's own, but in
    a control.
    """

    asked: Asked
    round: int
    phase: Phase
    step: int
    confidence: float | None
    label: str | None
    kept: bool | None
    gate: str
    gate_reason: str
    taught: str | None
    terms: RewardTerms | None
    truth: Truth | None

    @property
    def id(self) -> str:
        """The question's id, unique in its run."""
        return self.asked.question.id

    @property
    def votes(self) -> Votes | None:
        """The vote, where its answers are kept."""
        return self.asked.votes


@dataclass(frozen=True)
class QuestionTable:
    """The questions of one phase of one round, in the order of the run; `whole` is False while the phase goes on."""

    round: int
    phase: Phase
    whole: bool
    questions: tuple[QuestionRecord, ...]


def question_tables(
    path: Path, truth: TruthOf | None, troubles: list[Trouble], *, only_round: int | None = None
) -> Iterator[QuestionTable]:
    """The tables of the run at `path`, oldest first; what cannot be read is named in `troubles` and left out."""
    for round in round_numbers(path):
        if round == 0 or only_round not in (None, round):
            continue
        folder = path / "rounds" / str(round)
        yield from _table(path, round, "questioner", _asked(folder), truth, troubles)
        yield from _table(path, round, "curation", _candidates(folder), truth, troubles)


def count_questions(path: Path) -> dict[tuple[int, Phase], int]:
    """How many questions each table of the run at `path` holds, by round and phase, from the files' own headers."""
    counts: dict[tuple[int, Phase], int] = {}
    for round in round_numbers(path):
        folder = path / "rounds" / str(round)
        tables: tuple[tuple[Phase, _Files], ...] = (("questioner", _asked(folder)), ("curation", _candidates(folder)))
        for phase, files in tables:
            counts[round, phase] = sum(_length(questions) for questions, _ in files.pairs)
    return counts


def find_question(path: Path, id: str, truth: TruthOf | None) -> QuestionRecord:
    """One question of the run at `path` by its id; SelfsightError when it has none of that name."""
    troubles: list[Trouble] = []
    head = id.partition("/")[0]
    round = int(head[1:]) if head.startswith("r") and head[1:].isdecimal() else None
    for table in question_tables(path, truth, troubles, only_round=round):
        for question in table.questions:
            if question.id == id:
                return question
    unread = "".join(f"; {trouble.where} could not be read: {trouble.what}" for trouble in troubles)
    raise SelfsightError(
        f"{path}: holds no question {id!r}{unread}",
        hint="ids look like r1/curation/0/IMAGE/3; the report shows them, and so does rounds/K/questions.parquet",
    )


@dataclass(frozen=True)
class _Files:
    """Where the rows of a table lie: pairs of question and vote files, and the pool."""

    pairs: tuple[tuple[Path, Path | None], ...]
    pool: Path | None
    whole: bool


def _asked(folder: Path) -> _Files:
    if (whole := folder / "asked.parquet").exists():
        return _Files(((whole, _if_kept(folder / "asked_votes.parquet")),), None, True)
    parts = sorted((folder / "parts").glob("asked-*.parquet"))  # after the votes of the same step
    pairs = ((part, _if_kept(part.with_name(part.name.replace("asked-", "asked_votes-", 1)))) for part in parts)
    return _Files(tuple(pairs), None, False)


def _if_kept(votes: Path) -> Path | None:
    """A table of votes, where the version that wrote the run kept them."""
    return votes if votes.exists() else None


def _candidates(folder: Path) -> _Files:
    if (whole := folder / "questions.parquet").exists():
        return _Files(((whole, folder / "votes.parquet"),), folder / "pool.parquet", True)
    written = sorted((folder / "parts").glob("votes-*.parquet"))  # after the candidates of the same piece
    if not written:
        return _Files((), None, False)
    # A run that was resumed with other settings asks anew, under another name: the last one is the run's.
    kind = max(written, key=_written_at).name.rpartition("-")[0]
    pairs = [
        (part.with_name(part.name.replace("votes-", "candidates-", 1)), part)
        for part in written
        if part.name.rpartition("-")[0] == kind
    ]
    return _Files(tuple(pairs), None, False)


def _written_at(part: Path) -> float:
    """When a part was written; parts of a run that goes on may vanish at any moment."""
    try:
        return part.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _table(
    path: Path, round: int, phase: Phase, files: _Files, truth: TruthOf | None, troubles: list[Trouble]
) -> Iterator[QuestionTable]:
    rows: list[Row] = []
    votes: list[Row] = []
    for questions_path, votes_path in files.pairs:
        rows += _rows(path, questions_path, QUESTIONS, troubles)
        votes += [] if votes_path is None else _rows(path, votes_path, VOTES, troubles)
    pool = [] if files.pool is None else _rows(path, files.pool, POOL, troubles)
    if rows:
        taught = {str(row["question_id"]): str(row["label"]) for row in pool}
        yield QuestionTable(round, phase, files.whole, _records(rows, votes, taught, round, phase, truth))


def _length(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError):  # whoever reads the table will say so
        return 0


def _rows(path: Path, file: Path, schema: pa.Schema, troubles: list[Trouble]) -> list[Row]:
    try:
        return read_table(file, schema)
    except SelfsightError as error:
        troubles.append(trouble_of(path, error))
        return []


def _records(
    rows: Sequence[Row], votes: list[Row], taught: dict[str, str], round: int, phase: Phase, truth: TruthOf | None
) -> tuple[QuestionRecord, ...]:
    groups = Counter((row["step"], row["image_id"]) for row in rows)
    clusters = Counter((row["step"], row["image_id"], row["cluster"]) for row in rows)
    records = []
    for row, asked in zip(rows, asked_from_rows(list(rows), votes), strict=True):
        question = asked.question
        r_unc, r_div, reward = (number(row[name]) for name in ("r_unc", "r_div", "reward"))
        terms = None
        if r_unc is not None and r_div is not None and reward is not None:
            place = (row["step"], row["image_id"])
            cluster = None if row["cluster"] is None else int(str(row["cluster"]))
            size = 0 if cluster is None else clusters[(*place, row["cluster"])]
            terms = RewardTerms(cluster, size, groups[place], r_unc, r_div, reward)
        kept = row["kept"]
        records.append(
            QuestionRecord(
                asked=asked,
                round=round,
                phase=phase,
                step=int(str(row["step"])),
                confidence=number(row["confidence"]),
                label=None if row["label"] is None else str(row["label"]),
                kept=None if kept is None else bool(kept),
                gate=str(row["gate"] or ""),
                gate_reason=str(row["gate_reason"] or ""),
                taught=taught.get(question.id),
                terms=terms,
                truth=None if truth is None or not question.valid else truth(question.image, question.text),
            )
        )
    return tuple(records)
