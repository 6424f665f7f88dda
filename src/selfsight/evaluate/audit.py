"""The audit: what a run's questions and pseudo-labels are really worth, by exact truth (worlds only).

It reads the run's records after the fact and returns numbers; nothing of it flows back into training. An ill-posed
question's label counts as wrong: there is no right one. Left out: how often a gate rejects a right label (the rejected
candidates are in the records, with their votes).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from selfsight.evaluate.oracle import knows, verdict
from selfsight.images.source import ImageRef

BINS = (0.0, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)


def audit_questions(questions: Sequence[tuple[ImageRef, str]]) -> dict[str, object]:
    """Share of well-posed questions among readable ones, and how they spread over the families.

    Shares are None when no question is about a world.
    """
    known = [verdict(image, text) for image, text in questions if knows(image)]
    families = Counter(v.family or "outside the grammar" for v in known)
    return {
        "questions": len(known),
        "well_posed": sum(v.well_posed for v in known) / len(known) if known else None,
        "in_grammar": sum(v.family is not None for v in known) / len(known) if known else None,
        "families": {name: count / len(known) for name, count in sorted(families.items())},
    }


def audit_labels(labels: Iterable[tuple[ImageRef, str, str, float]]) -> dict[str, object]:
    """Of (image, question, label's key, confidence): label accuracy, well-posed share, calibration by confidence.

    `label_accuracy_well_posed` leaves ill-posed questions out: what the vote is worth where there is something to
    find. A bin of the calibration holds low < confidence <= high; in a calibrated vote `accuracy` is near `confidence`.
    """
    judged = [(verdict(image, text), label, confidence) for image, text, label, confidence in labels if knows(image)]
    if not judged:
        return {
            "labels": 0,
            "label_accuracy": None,
            "label_accuracy_well_posed": None,
            "well_posed": None,
            "families": {},
            "calibration": [],
        }
    right = [v.key == label for v, label, _ in judged]
    well_posed = sum(v.well_posed for v, _, _ in judged)
    calibration = []
    for low, high in pairwise(BINS):
        inside = [(r, c) for r, (_, _, c) in zip(right, judged, strict=True) if low < c <= high]
        if inside:
            calibration.append(
                {
                    "low": low,
                    "high": high,
                    "n": len(inside),
                    "confidence": sum(c for _, c in inside) / len(inside),
                    "accuracy": sum(r for r, _ in inside) / len(inside),
                }
            )
    families: dict[str, list[bool]] = {}
    for r, (v, _, _) in zip(right, judged, strict=True):
        families.setdefault(v.family or "outside the grammar", []).append(r)
    return {
        "labels": len(judged),
        "label_accuracy": sum(right) / len(judged),
        "label_accuracy_well_posed": sum(right) / well_posed if well_posed else None,
        "well_posed": well_posed / len(judged),
        "families": {
            name: {"share": len(rs) / len(judged), "label_accuracy": sum(rs) / len(rs)}
            for name, rs in sorted(families.items())
        },
        "calibration": calibration,
    }
