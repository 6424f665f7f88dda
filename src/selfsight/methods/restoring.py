"""Where a run can go on: the newest checkpoint from before all damage, found before anything is computed.

A checkpoint says that stages before its place are done. What they wrote is read again by later stages, so a resumed run
equals an undisturbed one only if these files are what was written. All of them are hashed here once (about 1 GB/s):

    a file that later stages read is missing or changed
        -> an older checkpoint, from before the stage that wrote it, if one is left: the stage is repeated
        -> otherwise the run is refused, with the names of the files: it cannot end as it would have
    a file that only readers want (a model folder of an earlier round, the questioner's questions)
        -> the run goes on, names it, and writes it into history.json

metrics.jsonl and alarms.jsonl do not decide what is computed next, but alarms are computed from them. Lines that are
gone are named and written into history.json; altered lines are refused, because nobody knows what they said before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight.errors import SelfsightError
from selfsight.evaluate.answers import EVALUATION as EVALUATION_TABLE
from selfsight.methods.alarms.rules import from_json
from selfsight.methods.stages import EVALUATION, Stage
from selfsight.run import Damage, Journal, JsonlWriter
from selfsight.run.atomic import fingerprint_lines, read_jsonl
from selfsight.run.checkpoint import Checkpoint, Checkpoints
from selfsight.run.checks import QUARANTINE, Checks

if TYPE_CHECKING:
    from selfsight.methods.loop import Method

FINISHED = 999_999  # the step of a checkpoint behind which nothing is left of its stage


@dataclass(frozen=True)
class Found:
    """A usable checkpoint, its `state`, the index of the `stage` in it, and the `damages` that the run goes on with."""

    checkpoint: Checkpoint
    state: dict[str, Any]
    stage: int
    damages: tuple[Damage, ...]


def check_inputs(run: Path) -> Checks | None:
    """The run's checks, None where it has none, after a look at settings, list of images, quarantine and journal.

    They decide what comes next and which files are right, so they are looked at before anything is opened.

    Raises:
        SelfsightError: If one of them, or checks.json itself, is not what the run wrote.
    """
    checks = Checks.read(run)
    if checks is None:
        return None
    if QUARANTINE in checks.lines and not (run / QUARANTINE).exists():
        # Deleted by who has mended images. It is written again now, before the next checks.json is.
        checks = replace(checks, lines={name: one for name, one in checks.lines.items() if name != QUARANTINE})
        checks.write(run)
    hints = {
        "config.yaml": "restore it from a copy; settings are changed with `selfsight resume RUN KEY=VALUE`, which "
        "writes down from where they hold",
        "images.parquet": "restore it from a copy: without it nobody knows which images come next",
        QUARANTINE: "restore it from a copy, or delete it: then every image file is looked at again",
        "journal.jsonl": "restore it from a copy: without it nobody knows which files are whole",
    }
    for damage in checks.damages(run):
        if damage.path in hints:
            raise SelfsightError(
                f"{run / damage.path}: is not what the run wrote: {damage.what}", hint=hints[damage.path]
            )
    return checks


def find_checkpoint(
    checkpoints: Checkpoints,
    stages: Sequence[Stage],
    journal: Journal,
    method: "Method",
    note: Callable[[str], None],
) -> Found | None:
    """The newest checkpoint behind which every file is whole that will be read again; None if there is no checkpoint.

    Args:
        checkpoints: Those of the run.
        stages: All stages of the run, by its settings of now.
        journal: Its journal.
        method: Knows what it reads again, and the option that says how long a run is.
        note: Is told what is passed over and what is repeated.

    Raises:
        SelfsightError: If every checkpoint lies behind damage, or the newest one is of a stage that there is not.
    """
    run = checkpoints.folder.parent
    damaged: dict[str, list[Damage]] = {}
    first: list[Damage] = []
    told = 0
    for checkpoint in checkpoints.valid():
        for skipped in checkpoints.skipped[told:]:
            note(f"checkpoint passed over: {skipped}")
        told = len(checkpoints.skipped)
        state: dict[str, Any] = checkpoint.state()
        index = next((stage.index for stage in stages if stage.name == state["stage"]), None)
        if index is None:
            raise SelfsightError(
                f"{run}: the run has got to {state['stage']}, which these settings do not have",
                hint=f"do not lower {method.length_option} below the rounds that have begun",
            )
        step = int(state["step"])
        done = list(stages[: index + (step == FINISHED)])
        for stage in done:
            if stage.name not in damaged:
                damaged[stage.name] = _damages(journal, stage)
        damages = [damage for stage in done for damage in damaged[stage.name]]
        at, finished = stages[index], step == FINISHED
        blocking = [one for one in damages if _reads_again(method, one, at, stages[-1], finished=finished)]
        blocking += _halves(run, journal, stages[index], step)
        if not blocking:
            for damage in first:
                note(f"{damage}: going back to {state['stage']} to write it again")
            return Found(checkpoint, state, index, tuple(damages))
        first = first or blocking
    for skipped in checkpoints.skipped[told:]:
        note(f"checkpoint passed over: {skipped}")
    if first:
        more = f", and {len(first) - 3} more" if len(first) > 3 else ""
        raise SelfsightError(
            f"{run}: the run cannot go on as it would have: {'; '.join(map(str, first[:3]))}{more}",
            hint="restore them from a copy, then resume; no checkpoint from before them is left, so they cannot be "
            "written again here: only a new run can",
        )
    return None


def _reads_again(method: "Method", damage: Damage, at: Stage, last: Stage, *, finished: bool) -> bool:
    """Whether the run still reads a damaged artefact when it goes on in the stage `at`; behind it if `finished`."""
    place = damage.artefact.split("/")
    if place[0] != "rounds":  # a line of the journal
        return True
    round, name = int(place[1]), place[2]
    if name == EVALUATION_TABLE and 0 < round < last.round:
        return method.config.alarms.policy == "rollback"  # any round may become the result
    return method.reads_again(round, name, measured=round < at.round or (finished and at.phase == EVALUATION))


def _damages(journal: Journal, stage: Stage) -> list[Damage]:
    if stage.name not in journal.stages():
        return [Damage(stage.name, "journal.jsonl", "missing", "its line")]
    return journal.verify(stage.name)


def _halves(run: Path, journal: Journal, stage: Stage, step: int) -> list[Damage]:
    """Damage in the files of a stage that was finished once and goes on in its middle: with its partial files gone,
    the steps before that place are read from them.
    """
    whole = stage.name in journal.stages() and not (run / "rounds" / str(stage.round) / "parts").exists()
    if step in (0, FINISHED) or not whole:
        return []
    return [damage for damage in journal.verify(stage.name) if (run / damage.artefact).suffix]


def check_lines(file: JsonlWriter, lines: int, blake2b: str | None) -> str:
    """What a checkpoint's `lines` of a JSONL file have lost, in words; empty when nothing.

    Args:
        file: metrics.jsonl or alarms.jsonl.
        lines: How many it had.
        blake2b: Their fingerprint; None in checkpoints of earlier versions.

    Raises:
        SelfsightError: If lines were altered, or cannot be read as what they should be.
    """
    path = file.path
    hint = (
        "restore it from a copy, or delete it: then the run goes on without these lines and says so in history.json, "
        "summary.json and its report"
    )
    if file.lines >= lines and blake2b is not None:
        found = fingerprint_lines(path, lines)
        if found is None or found.blake2b != blake2b:
            raise SelfsightError(f"{path}: its first {lines} lines are not those that the run wrote", hint=hint)
    try:
        records = read_jsonl(path)[:lines]
    except SelfsightError as error:
        raise SelfsightError(error.message, hint=hint) from error
    for number, record in enumerate(records, start=1):
        if not _is_line(path.name, record):
            raise SelfsightError(f"{path}: line {number} is damaged: its keys are not those of such a line", hint=hint)
    lost = lines - file.lines
    return f"{lost} of {lines} lines are lost" if lost > 0 else ""


def _is_line(name: str, record: dict[str, Any]) -> bool:
    if name == "alarms.jsonl":
        try:
            from_json(record)
        except SelfsightError:
            return False
        return True
    return isinstance(record.get("stage"), str) and isinstance(record.get("step"), int)
