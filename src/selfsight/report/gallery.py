"""A run's questions as data of a page: columns for what a gallery filters and sorts by, details in pieces.

The columns of all questions are small and read at once; the details of a question (its answers' texts, the arithmetic,
the gates) lie in pieces of `PIECE` questions, which a page reads when it shows one of them.

A run may have asked more than a page can hold. Then every table gives a part of its questions in proportion, always
all questions about an image together, chosen by a hash of the image's id, and the page says how many it leaves out.
Texts are cut where they would not fit, and end in an ellipsis there.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from selfsight.config import VisplaySettings
from selfsight.images import ImageRef
from selfsight.language import Votes, family_of, normal_wording
from selfsight.report.arithmetic import answer_text, gate_steps, lesson, reward_lines
from selfsight.report.questions import QuestionRecord, QuestionTable, TruthOf, count_questions, question_tables
from selfsight.report.reading import RunReading, Trouble

PIECE: Final = 250
_TEXTS_BYTES: Final = 12_000_000  # of all answers together
_SHORTEST, _LONGEST = 80, 1_200  # of one answer, in characters
_QUESTION: Final = 400
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"

Columns = dict[str, list[Any]]


class Names:
    """Texts by number, each kept once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of `text`, a new one if it is new."""
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


class Album:
    """The pictures that a page shows, by number; each reference is kept once."""

    def __init__(self) -> None:
        self.refs: list[ImageRef] = []
        self._numbers: dict[str, int] = {}

    def number(self, ref: ImageRef) -> int:
        """The number of `ref`, a new one if it is new."""
        if ref.id not in self._numbers:
            self._numbers[ref.id] = len(self.refs)
            self.refs.append(ref)
        return self._numbers[ref.id]


@dataclass(frozen=True)
class Gallery:
    """`columns` have a value per question; `details` are pieces of records, in the same order.

    `names` are the texts that numbers in columns stand for: families, gates, and answers (None is an unreadable one).
    """

    columns: Columns
    names: dict[str, list[str]]
    details: tuple[tuple[dict[str, Any], ...], ...]
    shown: int
    asked: int


@dataclass
class _Making:
    """A gallery while it is filled."""

    settings: VisplaySettings
    album: Album
    cut: int
    columns: Columns = field(default_factory=dict)
    families: Names = field(default_factory=Names)
    gates: Names = field(default_factory=Names)
    answers: Names = field(default_factory=Names)
    wordings: Names = field(default_factory=Names)
    details: list[dict[str, Any]] = field(default_factory=list)

    def add(self, question: QuestionRecord) -> None:
        read = question.asked.question
        row = {
            "id": question.id,
            "round": question.round,
            "curation": int(question.phase == "curation"),
            "image": self.album.number(read.image),
            "text": shortened(read.text if read.valid else read.completion, _QUESTION),
            "valid": int(read.valid),
            "family": self.families.number(family_of(read.text)) if read.valid else -1,
            "wording": self.wordings.number(normal_wording(read.text)) if read.valid else -1,
            "confidence": _rounded(question.confidence),
            "label": -1 if question.label is None else self.answers.number(question.label),
            "votes": self._vote_counts(question.votes),
            "fate": fate(question),
            "gate": self.gates.number("format" if not read.valid else question.gate)
            if question.gate or not read.valid
            else -1,
            "reward": None if question.terms is None else _rounded(question.terms.reward),
            "truth": judged(question),
        }
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)
        self.details.append(self._detail(question))

    def _vote_counts(self, votes: Votes | None) -> list[int]:
        """Pairs (answer, count), most votes first; -1 are the unreadable ones."""
        if votes is None:
            return []
        flat = [part for key, count in votes.counts.items() for part in (self.answers.number(key), count)]
        return [*flat, -1, votes.abstentions] if votes.abstentions else flat

    def _detail(self, question: QuestionRecord) -> dict[str, Any]:
        asked, read = question.asked, question.asked.question
        detail: dict[str, Any] = {
            "step": question.step,
            "rewards": reward_lines(question, self.settings),
            "gates": [[step.gate, step.outcome, step.detail] for step in gate_steps(question, self.settings)],
            "lesson": lesson(question, self.settings),
        }
        if not read.valid:
            detail["unreadable"] = read.reason
        if read.completion.strip() != read.text:
            detail["completion"] = shortened(read.completion, _LONGEST)
        if asked.votes is not None:
            detail["answers"] = [
                [-1 if key is None else self.answers.number(key), shortened(text, self.cut)]
                for key, text in zip(asked.votes.keys, asked.answers, strict=True)
            ]
        if asked.blind is not None:
            detail["blind"] = self._vote_counts(asked.blind)
        if question.truth is not None:
            found = question.truth
            detail["truth"] = f"the right answer is {answer_text(found.key)}" if found.key else found.reason
        return detail


def gallery(run: RunReading, album: Album, truth: TruthOf | None, troubles: list[Trouble], *, most: int) -> Gallery:
    """The questions of a VisPlay run, at most about `most` of them; their pictures go into `album`."""
    counts = count_questions(run.path)
    total = sum(counts.values())
    votes = min(most, total) * run.config.visplay.num_votes
    cut = max(_SHORTEST, min(_LONGEST, _TEXTS_BYTES // max(1, votes)))
    making = _Making(run.config.visplay, album, cut)
    for table in question_tables(run.path, truth, troubles):
        here = counts.get((table.round, table.phase), len(table.questions))
        for question in chosen(table, here if total <= most else most * here // total):
            making.add(question)
    pieces = [tuple(making.details[start : start + PIECE]) for start in range(0, len(making.details), PIECE)]
    names = {
        "families": making.families.texts,
        "gates": making.gates.texts,
        "answers": [answer_text(key) for key in making.answers.texts],
    }
    return Gallery(making.columns, names, tuple(pieces), len(making.details), total)


def chosen(table: QuestionTable, wanted: int) -> Sequence[QuestionRecord]:
    """About `wanted` questions of a table, in its order, whole images at a time."""
    if wanted >= len(table.questions):
        return table.questions
    of_image: dict[str, int] = {}
    for question in table.questions:
        image = question.asked.question.image.id
        of_image[image] = of_image.get(image, 0) + 1
    taken: set[str] = set()
    for image in sorted(of_image, key=lambda id: hashlib.blake2b(id.encode("utf-8", "replace")).digest()):
        if wanted <= 0:
            break
        taken.add(image)
        wanted -= of_image[image]
    return [question for question in table.questions if question.asked.question.image.id in taken]


def fate(question: QuestionRecord) -> int:
    """0: kept; 1: turned away by a gate, or unreadable; 2: asked, and nobody decided (the questioner phase)."""
    if question.kept:
        return 0
    return 1 if question.kept is False or question.gate or not question.asked.question.valid else 2


def judged(question: QuestionRecord) -> int:
    """0: nobody knows; 1: the label is right; 2: it is wrong; 3: there is no right answer; 4: there is no label."""
    if question.truth is None:
        return 0
    if question.truth.key is None:
        return 3
    if question.label is None:
        return 4
    return 1 if question.label == question.truth.key else 2


def shortened(text: str, most: int) -> str:
    """At most `most` characters; what was cut ends in an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + _ELLIPSIS


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
