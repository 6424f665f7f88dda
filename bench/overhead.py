"""How much of finished runs' wall time the controller took: all that is neither the model nor its loading.

    python bench/overhead.py RUN [RUN ...]          shares in [0, 1], as JSON

Read from the `timings` of summary.json, whose parts add up to the whole (methods/timings.py). Sampling, scoring
and learning are the model's; measurement samples too, so the stricter figure leaves it out above and below the line:

    of_training = controller / (controller + sampling + scoring + learning)
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.run.atomic import read_json

MODEL = ("sampling", "scoring", "learning")
PARTS = ("loading", *MODEL, "measurement", "controller")


def overhead(timings: Mapping[str, Any]) -> dict[str, float]:
    """The controller's seconds, its share of the training alone, and its share of the whole run."""
    controller, model = timings["controller"], sum(timings[name] for name in MODEL)
    return {
        "seconds": controller,
        "of_training": controller / (controller + model),
        "of_total": controller / timings["total"],
        "total_seconds": timings["total"],
    }


def of_run(folder: Path) -> dict[str, float]:
    """The figures of a finished run."""
    summary: Any = read_json(folder / "summary.json")
    timings = summary.get("timings", {})
    missing = [name for name in ("total", *PARTS) if name not in timings]
    if missing:
        raise SelfsightError(
            f"{folder / 'summary.json'}: its timings lack {', '.join(missing)}",
            hint="it was written by another version; run it again",
        )
    return overhead(timings)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run")
    options = parser.parse_args(arguments)
    runs = {folder.name: of_run(folder) for folder in options.runs}
    worst = max(figures["of_training"] for figures in runs.values())
    print(json.dumps({"runs": runs, "worst_of_training": worst}, indent=2))


if __name__ == "__main__":
    main()
