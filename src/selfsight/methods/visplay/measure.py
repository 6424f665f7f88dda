"""What is measured after every round: the reasoner on held-out worlds, the audit, and round 1's questions again.

Held-out worlds are a separate split, the audit reads tables after the fact, and nothing of either flows back.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.evaluate.audit import audit_labels, audit_questions
from selfsight.evaluate.heldout import HeldOutQuestion, summarise
from selfsight.evaluate.oracle import knows, verdict
from selfsight.evaluate.statistics import paired_interval
from selfsight.images.source import ImageRef
from selfsight.methods.measuring import HeldOut
from selfsight.methods.visplay.records import POOL, QUESTIONS, VOTES
from selfsight.methods.visplay.roles import Roles
from selfsight.run import RunDirectory
from selfsight.run.atomic import pretty_json, write_atomic
from selfsight.run.tables import read_table

SAME_QUESTIONS = 200  # of round 1's own questions, answered again by every later reasoner


class Measurer:
    """Measures the reasoner of a run and audits its records. `pause` is called between batches: it may raise."""

    def __init__(self, config: EvolveConfig, roles: Roles, directory: RunDirectory, pause: Callable[[], None]) -> None:
        self.config, self.directory = config, directory
        self.heldout = HeldOut(
            roles.reasoner, roles.pack, config, max_length=config.visplay.max_answer_length, pause=pause
        )

    def measure(self, round: int) -> tuple[dict[str, Any], list[Path]]:
        """The round's entry for the summary and the files written (round 0 is the base model)."""
        folder = self.directory.round(round)
        answered, table = self.heldout.measure(folder)
        entry: dict[str, Any] = {"round": round, "heldout": summarise(answered)}
        if round > 0:
            entry |= self._records(round)
        write_atomic(folder / "round.json", pretty_json(entry))
        return entry, [table, folder / "round.json"]

    def _records(self, round: int) -> dict[str, Any]:
        folder = self.directory.round(round)
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
        if self.config.evaluation.audit and candidates and knows(_image(candidates[0])):
            asked = [(_image(row), str(row["question"])) for row in candidates if row["valid"]]
            labels = [
                (_image(row), str(row["question"]), str(row["label"]), float(str(row["confidence"]))) for row in pool
            ]
            questions, pseudo = audit_questions(asked), audit_labels(labels)
            entry |= {
                "pseudo_label_accuracy": pseudo["label_accuracy"],
                "well_posed": questions["well_posed"],
                "audit": {"questions": questions, "labels": pseudo},
                "round_1_questions": self._again(),
            }
        return entry

    def _again(self) -> dict[str, Any] | None:
        """This round's reasoner on what round 1 asked, against the base (the paper's 44.0 -> 49.0).

        Only well-posed questions that round 1 did not learn from, and that the base has answered: its votes on them
        are its sampled accuracy. None when there is no such question.
        """
        folder = self.directory.round(1)
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
        answered = self.heldout.answer(questions[:: max(1, len(questions) // SAME_QUESTIONS)][:SAME_QUESTIONS])
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
