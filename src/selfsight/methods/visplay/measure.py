"""What is measured of a round besides the held-out questions: the audit, and round 1's questions again.

The audit reads tables after the fact, and nothing of it flows back.
"""

from collections import Counter
from typing import Any

from selfsight.evaluate.answers import summarise
from selfsight.evaluate.audit import audit_labels, audit_questions
from selfsight.evaluate.oracle import knows, verdict
from selfsight.evaluate.questions import HeldOutQuestion
from selfsight.evaluate.statistics import paired_interval
from selfsight.images.source import ImageRef
from selfsight.methods.measuring import HeldOut
from selfsight.methods.visplay.records import POOL, QUESTIONS, VOTES
from selfsight.run import RunDirectory
from selfsight.run.tables import read_table

SAME_QUESTIONS = 200  # of round 1's own questions, answered again by every later reasoner


def round_findings(directory: RunDirectory, round: int, first: int, heldout: HeldOut) -> dict[str, Any]:
    """What a round's records say of it, and how its reasoner answers what round `first` asked."""
    folder = directory.round(round)
    candidates = read_table(folder / "questions.parquet", QUESTIONS)
    pool = read_table(folder / "pool.parquet", POOL)
    confidences = [float(str(row["confidence"])) for row in candidates if row["confidence"] is not None]
    entry: dict[str, Any] = {
        "candidates": len(candidates),
        "valid": sum(bool(row["valid"]) for row in candidates) / max(1, len(candidates)),
        "kept": len(pool),
        "rejected": dict(sorted(Counter(str(row["gate"]) for row in candidates if row["gate"]).items())),
        "mean_confidence": sum(confidences) / len(confidences) if confidences else None,
        "pseudo_label_accuracy": None,
        "well_posed": None,
    }
    if heldout.config.evaluation.audit and candidates and knows(_image(candidates[0])):
        asked = [(_image(row), str(row["question"])) for row in candidates if row["valid"]]
        labels = [(_image(row), str(row["question"]), str(row["label"]), float(str(row["confidence"]))) for row in pool]
        questions, pseudo = audit_questions(asked), audit_labels(labels)
        entry |= {
            "pseudo_label_accuracy": pseudo["label_accuracy"],
            "well_posed": questions["well_posed"],
            "audit": {"questions": questions, "labels": pseudo},
            "round_1_questions": _again(directory, first, heldout),
        }
    return entry


def _again(directory: RunDirectory, first: int, heldout: HeldOut) -> dict[str, Any] | None:
    """This round's reasoner on what round `first` asked, against the base (the paper's 44.0 -> 49.0).

    Only well-posed questions that round `first` did not learn from, and that the reasoner of its beginning (the base,
    unless games came first) has answered: its votes on them are its sampled accuracy. None when there is no such
    question.
    """
    folder = directory.round(first)
    learned = {str(row["question_id"]) for row in read_table(folder / "pool.parquet", POOL)}
    votes: dict[str, list[object]] = {}
    for row in read_table(folder / "votes.parquet", VOTES):
        if row["kind"] == "vote":
            votes.setdefault(str(row["question_id"]), []).append(row["key"])
    questions = []
    for row in read_table(folder / "questions.parquet", QUESTIONS):
        id, text = str(row["question_id"]), str(row["question"])
        if id in votes and id not in learned:
            found = verdict(_image(row), text)
            if found.key is not None:
                questions.append(HeldOutQuestion(id, _image(row), text, found.family or "", found.key))
    if not questions:
        return None
    answered = heldout.answer(questions[:: max(1, len(questions) // SAME_QUESTIONS)][:SAME_QUESTIONS])
    before = [sum(key == a.key for key in votes[a.id]) / len(votes[a.id]) for a in answered]
    after = [a.sampled for a in answered]
    change = paired_interval(before, after, seed=0, clusters=[a.image_id for a in answered])
    summary = summarise(answered)
    return {name: summary[name] for name in ("accuracy", "sampled", "majority", "n")} | {
        "base_sampled": sum(before) / len(before),
        "sampled_change": {"mean": change.mean, "ci95": [change.low, change.high]},
    }


def _image(row: dict[str, object]) -> ImageRef:
    return ImageRef(str(row["image_id"]), str(row["origin"]))
