"""Runs a set of VisPlay variants over seeds and makes one table of them.

    python bench/visplay_table.py --out runs/table                          all default variants, seeds 0 1 2
    python bench/visplay_table.py --out runs/table --jobs 2 --threads 1     two runs at a time
    python bench/visplay_table.py --out runs/table --variants robust,paper --seeds 0 visplay.rounds=5
    python bench/visplay_table.py --out runs/table --collect-only           only make the table again

The same command again goes on where it was stopped: finished runs are kept, unfinished ones resumed. KEY=VALUE settings
hold for every run. Writes OUT/table.json and OUT/table.md, and prints the latter; exit code 1 when runs are missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collect import build_table, read_run
from machine import describe_machine
from run_set import DEFAULT_VARIANTS, VISPLAY, PlannedRun, last_line, plan, read_attempts, work_through
from selfsight.errors import SelfsightError
from selfsight.run.atomic import pretty_json, read_json, write_atomic
from table_text import render


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        runs = plan(
            options.out.absolute(), options.variants, options.seeds, recipe=options.recipe, threads=options.threads,
            overrides=options.overrides,
        )  # fmt: skip
        for run in runs:
            run.config()  # a mistake in a setting is found before the first hour of computing
        if not options.collect_only:
            work_through(runs, jobs=options.jobs, threads=options.threads, say=lambda t: print(t, file=sys.stderr))
        table = table_of(runs, reference=options.reference)
    except SelfsightError as error:
        print(f"Error: {error.message}" + (f"\n  -> {error.hint}" if error.hint else ""), file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out / "table.json", pretty_json(table))
    text = render(table)
    write_atomic(options.out / "table.md", text.encode())
    print(text, end="")
    return 1 if table["unfinished"] else 0


def table_of(runs: Sequence[PlannedRun], *, reference: str) -> dict[str, Any]:
    """The table of what is finished, with what is not named beside it."""
    finished = [run for run in runs if run.state == "finished"]
    for run in finished:
        run.check()
    table = build_table([read_run(run.variant, run.seed, run.folder) for run in finished], reference=reference)
    table["unfinished"] = [_so_far(run) for run in runs if run not in finished]
    table["recipe"] = runs[0].recipe
    table["machine"] = describe_machine()
    table["attempts"] = {run.name: read_attempts(run.record) for run in runs}
    return table


def _so_far(run: PlannedRun) -> dict[str, Any]:
    """What an unfinished run has shown: a collapse that ends a run early is a result, too."""
    greedy: list[float] = []
    while (entry := run.folder / "rounds" / str(len(greedy)) / "round.json").is_file():
        measured: Any = read_json(entry)
        greedy.append(measured["heldout"]["accuracy"])
    return {"run": run.name, "state": run.state, "last_line": last_line(run.log), "greedy_so_far": greedy}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, logs and the table")
    parser.add_argument(
        "--variants",
        type=lambda text: text.split(","),
        default=list(DEFAULT_VARIANTS),
        help=f"of {', '.join(VISPLAY)}",
    )
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2], help="such as 0,1,2"
    )
    parser.add_argument("--recipe", default="visplay-starter", help="what the variants are variants of")
    parser.add_argument("--reference", default="robust", help="the variant that the others are compared with")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run; a part of the result")
    parser.add_argument("--collect-only", action="store_true", help="start nothing, only make the table")
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
