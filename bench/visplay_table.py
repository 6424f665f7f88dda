"""Runs a set of VisPlay variants over seeds and makes one table of them.

    python bench/visplay_table.py --out runs/table                          all default variants, seeds 0 1 2
    python bench/visplay_table.py --out runs/table --jobs 2 --threads 1     two runs at a time
    python bench/visplay_table.py --out runs/table --variants robust,paper --seeds 0 visplay.rounds=5
    python bench/visplay_table.py --out runs/table --collect-only           only make the table again

The same command again goes on where it was stopped: finished runs are kept, unfinished ones resumed. KEY=VALUE settings
hold for every run. Writes OUT/table.json and OUT/table.md, and prints the latter; exit code 1 when runs are missing.
"""

import sys
from collections.abc import Sequence
from typing import Any

from collect import build_table, read_run
from machine import describe_machine
from run_set import DEFAULT_VARIANTS, VISPLAY, PlannedRun, carry_out, last_line, read_attempts, refused, table_parser
from selfsight.errors import SelfsightError
from selfsight.run.atomic import pretty_json, read_json, write_atomic
from table_text import render


def main(arguments: Sequence[str] | None = None) -> int:
    parser = table_parser(__doc__, VISPLAY, DEFAULT_VARIANTS, recipe="visplay-starter")
    parser.add_argument("--reference", default="robust", help="the variant that the others are compared with")
    options = parser.parse_intermixed_args(arguments)
    try:
        runs = carry_out(options, VISPLAY)
        table = table_of(runs, reference=options.reference)
    except SelfsightError as error:
        return refused(error)
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


if __name__ == "__main__":
    sys.exit(main())
