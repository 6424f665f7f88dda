"""What each curation gate turned away, and what the gates kept, judged by exact truth (worlds only).

    python bench/gates.py RUN [RUN ...]          shares in [0, 1], as JSON

The audit of a run looks at what was learned from; this looks at what was not, which is how one sees whether a gate is
worth its questions. Only candidates that had a vote count, since the others have no label that could be right. An
ill-posed question's label is wrong: there is no right one.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfsight.errors import SelfsightError
from selfsight.evaluate.oracle import Verdict, knows, verdict
from selfsight.images.source import ImageRef
from selfsight.run.atomic import read_json

KEPT = "kept"
COLUMNS = ("image_id", "origin", "question", "confidence", "label", "kept", "gate")


def judged(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[float, list[tuple[bool, bool]]]]:
    """Per outcome (a gate's name, or `kept`) and confidence: whether well posed and whether labelled right."""
    found: dict[str, dict[float, list[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        image = ImageRef(row["image_id"], row["origin"])
        if row["label"] is None or not knows(image):
            continue
        truth: Verdict = verdict(image, row["question"])
        outcome = KEPT if row["kept"] else row["gate"] or "not looked at"
        found[outcome][row["confidence"]].append((truth.well_posed, truth.key == row["label"]))
    return found


def shares(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    """How many there are, how many of them are well posed, and how many labelled right."""
    return {
        "questions": len(pairs),
        "well_posed": sum(well for well, _ in pairs) / len(pairs),
        "label_right": sum(right for _, right in pairs) / len(pairs),
    }


def of_round(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A round's outcomes, each as a whole and by the confidence of the vote."""
    return {
        outcome: {
            **shares([pair for pairs in by_confidence.values() for pair in pairs]),
            "by_confidence": {f"{value:g}": shares(by_confidence[value]) for value in sorted(by_confidence)},
        }
        for outcome, by_confidence in sorted(judged(rows).items())
    }


def of_run(folder: Path) -> list[dict[str, Any]]:
    """Every finished round of a run, in order."""
    summary: Any = read_json(folder / "summary.json")
    paths = [folder / "rounds" / str(entry["round"]) / "questions.parquet" for entry in summary["rounds"]]
    for path in paths:
        if not path.is_file():
            raise SelfsightError(f"{path}: is missing", hint="only runs of VisPlay have gates; run it again")
    found = [of_round(pq.read_table(path, columns=list(COLUMNS)).to_pylist()) for path in paths]
    if not any(found):
        raise SelfsightError(f"{folder}: no truth is known about its images", hint="gates are judged on worlds only")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished VisPlay run")
    options = parser.parse_args(arguments)
    print(json.dumps({folder.name: of_run(folder) for folder in options.runs}, indent=2))


if __name__ == "__main__":
    main()
