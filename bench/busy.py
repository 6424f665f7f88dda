"""What waiting threads cost a run on an idle and on a busy machine.

    python bench/busy.py --repeats 5 --work 2 --out busy.json

One small run of VisPlay on the starter, as a whole process with two threads, under several settings of OpenMP's
waiting, alone and beside `--work` processes that never pause. The settings take turns, so a machine whose speed
drifts treats all alike; every ratio is of the same turn. Before each run its output folder is new.

`selfsight` is what the command line sets by itself; `spinning` is the runtime's own default, asked for by a variable
that leaves it as it is. Seconds are of the clock and of the processor (children included).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe_machine

VARIANTS: dict[str, dict[str, str]] = {
    "spinning": {"KMP_LIBRARY": "throughput"},  # Intel's and LLVM's default; with it selfsight leaves all as it is
    "selfsight": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
RUN = (
    "visplay.rounds=1", "visplay.questioner_steps=2", "visplay.reasoner_steps=2", "evaluation.questions=36",
    "report_to=none",
)  # fmt: skip
# Ends by itself once its parent is gone, however that went.
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(10_000))"


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`count` processes that never pause, for as long as the block lasts."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())]) for _ in range(count)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def one_run(variables: dict[str, str], threads: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor that one run takes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "selfsight", "evolve", "--recipe", "visplay-smoke", *RUN, f"threads={threads}",
             f"output_dir={folder}"],
            env=kept | variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def measured(repeats: int, threads: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every variant, turn by turn; one turn before is not counted."""
    found: dict[str, dict[str, list[float]]] = {name: {"clock": [], "processor": []} for name in VARIANTS}
    for turn in range(repeats + 1):
        for name, variables in VARIANTS.items():
            clock, processor = one_run(variables, threads)
            if turn:
                found[name]["clock"].append(clock)
                found[name]["processor"].append(processor)
    return found


def compared(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Medians, and the median ratio of a variant to `spinning` in the same turn."""
    return {
        name: {
            "clock_seconds": statistics.median(seconds["clock"]),
            "processor_seconds": statistics.median(seconds["processor"]),
            "clock_over_spinning": statistics.median(
                a / b for a, b in zip(seconds["clock"], found["spinning"]["clock"], strict=True)
            ),
        }
        for name, seconds in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--work", type=int, default=2, help="busy processes beside the run")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": describe_machine(), "threads": options.threads, "work": options.work}
    figures["idle"] = compared(measured(options.repeats, options.threads))
    print(json.dumps(figures["idle"], indent=2), flush=True)
    with busy_processes(options.work):
        figures["busy"] = compared(measured(options.repeats, options.threads))
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
