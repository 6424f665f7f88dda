"""The runs behind a table: which variants of a method there are, and how a set of runs is worked through.

A variant is the recipe with a few overrides, so that every run of a table shares model, images, budget and held-out
set, and differs in one thing. Each run is `selfsight evolve` in a process of its own with a fixed number of threads.
Working through a set can be interrupted and repeated: a run with a summary is left alone, one without is resumed, and
a folder whose settings are not those asked for is refused, because its figures would not belong to the table.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from selfsight.config import EvolveConfig, config_hash, load_config
from selfsight.errors import SelfsightError

# The labelled control learns from true answers. Its questions come from the untrained questioner and pass the same
# gates. `labelled-trained` lets the questioner adapt as in `robust`; `labelled-open` has no gate on agreement, since a
# labelled run need not leave out what the vote is unsure of: it may be the higher ceiling.
VISPLAY: Mapping[str, tuple[str, ...]] = {
    "robust": (),
    "paper": ("grpo.beta_anchor=0.0", "visplay.gates={preset: paper}"),
    "random": ("visplay.controls.reward=random",),
    "shuffled": ("visplay.controls.images=shuffled",),
    "permuted": ("visplay.controls.labels=permuted",),
    "untrained": ("visplay.controls.questioner=untrained",),
    "labelled": ("visplay.controls.labels=truth", "visplay.controls.questioner=untrained"),
    "labelled-trained": ("visplay.controls.labels=truth",),
    "labelled-open": (
        "visplay.controls.labels=truth",
        "visplay.controls.questioner=untrained",
        "visplay.gates={preset: paper, band: null}",
    ),
}
# Both stages in turn against either alone, and what role advantage estimation is for.
VISION_ZERO: Mapping[str, tuple[str, ...]] = {
    "iterative": (),
    "clue-only": ("vision_zero.switching.mode=clue_only",),
    "decision-only": ("vision_zero.switching.mode=decision_only",),
    "no-baselines": ("vision_zero.rewards.baseline=off",),
}
DEFAULT_VARIANTS = ("robust", "paper", "random", "permuted", "shuffled", "untrained", "labelled")
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # as in the Makefile
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class PlannedRun:
    """One cell of the table: a variant with a seed, and where it lives below the output folder."""

    variant: str
    seed: int
    recipe: str
    overrides: tuple[str, ...]
    out: Path

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        return self.out / "runs" / self.name

    @property
    def log(self) -> Path:
        """What the run printed, all attempts one after the other."""
        return self.out / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """Wall time and exit code of every attempt."""
        return self.out / "logs" / f"{self.name}.json"

    @property
    def state(self) -> str:
        """How far it is: new, unfinished or finished."""
        if not (self.folder / "config.yaml").is_file():
            return "new"
        return "finished" if (self.folder / "summary.json").is_file() else "unfinished"

    def config(self) -> EvolveConfig:
        """The settings that this run must have."""
        return load_config(self.recipe, self.overrides)

    def check(self) -> None:
        """Raises SelfsightError when the folder holds a run with other settings."""
        found = load_config(self.folder / "config.yaml")
        if config_hash(found) != config_hash(self.config()):
            raise SelfsightError(
                f"{self.folder}: holds a run with other settings than this table's",
                hint="give another --out folder, or the settings it was started with",
            )

    def command(self) -> list[str]:
        """The command line: a new run, or the continuation of an unfinished one."""
        selfsight = [sys.executable, "-m", "selfsight"]
        if self.state == "unfinished":
            return [*selfsight, "resume", str(self.folder)]
        return [*selfsight, "evolve", "--recipe", self.recipe, *self.overrides]


def plan(
    out: Path,
    variants: Sequence[str],
    seeds: Sequence[int],
    *,
    recipe: str,
    threads: int,
    overrides: Sequence[str] = (),
    known: Mapping[str, tuple[str, ...]] = VISPLAY,
) -> list[PlannedRun]:
    """All runs of a table, of variants that are `known`; seed by seed, so that an interrupted set holds whole seeds."""
    for variant in variants:
        if variant not in known:
            raise SelfsightError(f"there is no variant {variant!r}", hint=f"choose from: {', '.join(known)}")
    runs = []
    for seed in seeds:
        for variant in variants:
            fixed = (f"seed={seed}", f"threads={threads}", f"output_dir={json.dumps(str(out / 'runs'))}")
            runs.append(
                PlannedRun(
                    variant, seed, recipe,
                    (*overrides, *known[variant], *fixed, f"run_name={variant}-seed{seed}"), out,
                )
            )  # fmt: skip
    return runs


def table_parser(
    about: str | None, known: Iterable[str], default: Sequence[str], *, recipe: str | None
) -> argparse.ArgumentParser:
    """The options that every table has: which runs there are, and how they are worked through. Without a `recipe`, each
    variant has its own and none is asked for.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, logs and the table")
    parser.add_argument(
        "--variants", type=lambda text: text.split(","), default=list(default), help=f"of {', '.join(known)}"
    )
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2], help="such as 0,1,2"
    )
    if recipe is not None:
        parser.add_argument("--recipe", default=recipe, help="what the variants are variants of")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run; a part of the result")
    parser.add_argument("--collect-only", action="store_true", help="train nothing, only make the table")
    return parser


def carry_out(options: argparse.Namespace, known: Mapping[str, tuple[str, ...]]) -> list[PlannedRun]:
    """The runs that the options of `table_parser` ask for, worked through unless the table alone is wanted."""
    runs = plan(
        options.out.absolute(), options.variants, options.seeds, recipe=options.recipe, threads=options.threads,
        overrides=options.overrides, known=known,
    )  # fmt: skip
    for run in runs:
        run.config()  # a mistake in a setting is found before the first hour of computing
    if not options.collect_only:
        work_through(runs, jobs=options.jobs, threads=options.threads, say=lambda text: print(text, file=sys.stderr))
    return runs


def refused(error: SelfsightError) -> int:
    """Tells what a table could not be made of; the exit code."""
    print(f"Error: {error.message}" + (f"\n  -> {error.hint}" if error.hint else ""), file=sys.stderr)
    return 2


def environment(threads: int) -> dict[str, str]:
    """Every numerical library keeps to the same number of threads; results are reproducible for one setting."""
    fixed = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return _ALLOCATOR | dict(os.environ) | fixed


def work_through(
    runs: Sequence[PlannedRun], *, jobs: int, threads: int, say: Callable[[str], None] = print
) -> list[PlannedRun]:
    """Starts or resumes what is not finished, `jobs` at a time; returns the runs that ended without a summary.

    SIGINT and SIGTERM are passed on once to the runs under way, which save and stop; nothing new is started.
    """
    for run in runs:
        if run.state != "new":
            run.check()
    waiting = [run for run in runs if run.state != "finished"]
    say(f"{len(runs)} runs, {len(runs) - len(waiting)} of them finished")
    running: dict[subprocess.Popen[bytes], tuple[PlannedRun, float]] = {}
    asked_to_stop = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        if not asked_to_stop:
            asked_to_stop = True
            for process in running:
                process.send_signal(signal.SIGTERM)

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while running or (waiting and not asked_to_stop):
            while waiting and len(running) < jobs and not asked_to_stop:
                run = waiting.pop(0)
                say(f"{run.name}: {'resumed' if run.state == 'unfinished' else 'started'}")
                running[_start(run, threads)] = (run, time.monotonic())
            for process in [p for p in running if p.poll() is not None]:
                run, began = running.pop(process)
                _note_attempt(run, time.monotonic() - began, process.returncode, threads)
                say(f"{run.name}: {_outcome(run, process.returncode)}")
            time.sleep(_POLL_SECONDS)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return [run for run in runs if run.state != "finished"]


def _start(run: PlannedRun, threads: int) -> "subprocess.Popen[bytes]":
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab") as log:
        # A session of its own: Ctrl-C must reach the run once, through us, since a second signal ends it unsaved.
        return subprocess.Popen(
            run.command(), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment(threads),
            start_new_session=True,
        )  # fmt: skip


def _note_attempt(run: PlannedRun, seconds: float, exit_code: int, threads: int) -> None:
    attempts = read_attempts(run.record)
    attempts.append({"seconds": round(seconds, 1), "exit_code": exit_code, "threads": threads})
    run.record.write_text(json.dumps(attempts, indent=2) + "\n", encoding="utf-8")


def read_attempts(record: Path) -> list[dict[str, Any]]:
    """The attempts at a run, oldest first; none when this program never started it."""
    if not record.is_file():
        return []
    attempts: list[dict[str, Any]] = json.loads(record.read_text(encoding="utf-8"))
    return attempts


def _outcome(run: PlannedRun, exit_code: int) -> str:
    if run.state == "finished":
        return "finished"
    return f"ended with exit code {exit_code} and no summary; the last line of {run.log}: {last_line(run.log)}"


def last_line(log: Path) -> str:
    """The last line with text in a log; empty when there is none."""
    if not log.is_file():
        return ""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
