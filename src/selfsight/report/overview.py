"""What a run showed, at a glance: the verdict, before and after, rounds, labels against the truth, where time went.

The sentences are those of the terminal (`terminal.verdict`, `games.skill`); no figure here is computed anew, only
looked up, and what a run did not measure is left out. A run that is not finished has no verdict: before and after are
compared, question by question, at its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from selfsight.config import ControlSettings
from selfsight.report.alarms import alarm_board, result_entry, rollback_sentence
from selfsight.report.figures import change, share, with_interval
from selfsight.report.games import ablations, about_games, skill
from selfsight.report.reading import Entry, Failure, RunReading, StageTime, Trouble, interval, number
from selfsight.report.terminal import verdict
from selfsight.run.progress import duration
from selfsight.settings.public import without_folders

Status = Literal["better", "worse", "unclear", "unfinished"]

SEEDS = "Intervals (95 %) are over questions. They do not cover what another seed would have given."
MEASURES = (("greedy", "accuracy", "ci95"), ("sampled", "sampled", "sampled_ci95"),
            ("majority", "majority", "majority_ci95"))  # fmt: skip


@dataclass(frozen=True)
class Headline:
    """The verdict: `sentences` for people, the first one decides; `status` is its colour."""

    status: Status
    sentences: tuple[str, ...]
    control: str


@dataclass(frozen=True)
class BeforeAfter:
    """One line of figures, as text: of the base, of the last round, and the change in points."""

    name: str
    before: str
    after: str
    change: str


@dataclass(frozen=True)
class Estimate:
    """A share with its interval, where it has one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measured:
    """A curve over rounds; round 0 is the base."""

    name: str
    points: tuple[tuple[int, Estimate], ...]


@dataclass(frozen=True)
class FamilyChange:
    """A family of held-out questions: greedy accuracy before and after."""

    family: str
    before: float
    after: float


@dataclass(frozen=True)
class Bin:
    """A bin of the calibration: mean confidence of the labels in it, and the share that is right."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class RoundFigures:
    """A round's pool: what was asked, kept and turned away, and what the labels are worth where truth exists."""

    round: int
    candidates: int | None
    kept: int | None
    confidence: float | None
    labels_right: float | None
    well_posed: float | None
    rejected: tuple[tuple[str, int], ...]
    calibration: tuple[Bin, ...]


@dataclass(frozen=True)
class Overview:
    """Everything on the first page but the curves over steps."""

    headline: Headline
    facts: tuple[tuple[str, str], ...]
    before_after: tuple[BeforeAfter, ...]
    measured: tuple[Measured, ...]
    chance: float | None
    families: tuple[FamilyChange, ...]
    rounds: tuple[RoundFigures, ...]
    stages: tuple[StageTime, ...]
    notes: tuple[str, ...]
    alarms: dict[str, Any] | None


def overview(run: RunReading, troubles: list[Trouble]) -> Overview:
    """The first page of a run; a summary that holds no verdict is named in `troubles`."""
    headline = _headline(run, troubles)
    stages = {stage.name: stage for stage in run.stages}  # a stage that was repeated counts as it was at last
    return Overview(
        headline=headline,
        facts=_facts(run),
        before_after=_before_after(run),
        measured=_measured(run),
        chance=number((run.summary or {}).get("chance")),
        families=_families(run.base, _result(run)),
        rounds=tuple(_round(entry) for entry in run.rounds if "kept" in entry) if run.asks else (),
        stages=tuple(stages.values()),
        notes=_notes(run),
        alarms=alarm_board(run, troubles),
    )


def _headline(run: RunReading, troubles: list[Trouble]) -> Headline:
    if run.summary is not None:
        try:
            return _finished(run, run.summary)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            troubles.append(Trouble("summary.json", f"holds no verdict ({type(error).__name__}: {error})"))
    done, planned = len(run.rounds), run.rounds_planned
    where = f"{done} of {planned} rounds are measured" if done else "no round is measured yet"
    sentences = [f"This run is not finished: {where}.", "Whether it got better is decided at its end."]
    if run.failure is not None:
        sentences = [*failed(run.failure), *sentences]
    return Headline("unfinished", tuple(sentences), ", ".join(control(run)))


def failed(failure: Failure) -> list[str]:
    """Why a run ended before its time, in sentences: the reason, what to do, and completions that show it."""
    return [
        f"This run stopped at {failure.where}: {failure.message}.",
        *([f"What to do: {failure.hint}."] if failure.hint else []),
        *(f"One that could not be read: {text}" for text in failure.completions),
    ]


def _finished(run: RunReading, summary: Entry) -> Headline:
    sentences = [verdict(summary)]
    decisive = summary["delta"]
    if run.plays and (found := skill(summary)) is not None:
        # What is trained comes first; without questions, answering them is transfer.
        sentences.insert(1 if run.asks else 0, found)
        decisive = decisive if run.asks else (result_entry(summary) or {})["decisions"]["change"]
    if run.plays:
        sentences.append(about_games(summary))
    if (rolled_back := rollback_sentence(summary)) is not None:
        sentences.append(rolled_back)
    if run.failure is not None:  # of a resume that was to make it longer
        sentences += failed(run.failure)
    low, high = decisive["ci95"]
    status: Status = "better" if low > 0 else "worse" if high < 0 else "unclear"
    return Headline(status, (*sentences, SEEDS), ", ".join(control(run)))


def control(run: RunReading) -> list[str]:
    """In what a run was not the method but a control or an ablation."""
    found = []
    if run.asks:
        normal = ControlSettings().model_dump()
        found += [f"{name}={value}" for name, value in run.config.visplay.controls if value != normal[name]]
    if run.plays:
        own = run.config.vision_zero
        found += ablations({"mode": own.switching.mode, "baseline": own.rewards.baseline})
    return found


def _facts(run: RunReading) -> tuple[tuple[str, str], ...]:
    config = run.config
    facts = [
        ("method", " and ".join([*(["VisPlay"] if run.asks else []), *(["Vision-Zero"] if run.plays else [])])),
        ("recipe", config.recipe),
        ("model", without_folders(config.model)),
        ("images", without_folders(config.images)),
        ("seed", str(config.seed)),
        ("rounds", f"{len(run.rounds)} of {run.rounds_planned}"),
    ]
    if run.base is not None:
        facts.append(("held-out questions", str(run.base["heldout"].get("n"))))
    timings = (run.summary or {}).get("timings")
    total = number(timings.get("total")) if isinstance(timings, dict) else None
    total = total if total is not None else sum(stage.seconds for stage in run.stages) or None
    if total is not None:
        facts.append(("time", duration(total)))
    versions = (run.summary or {}).get("versions")
    if isinstance(versions, dict):
        facts.append(("version", str(versions.get("selfsight"))))
    return tuple(facts)


def _before_after(run: RunReading) -> tuple[BeforeAfter, ...]:
    if run.base is None:
        return ()
    delta = _mapping((run.summary or {}).get("delta"))
    base, final = run.base["heldout"], (_result(run) or {}).get("heldout", {})
    rows = []
    if run.plays:
        rows += _spy_found(run)
    for name, value, ci in MEASURES:
        moved, bounds = number(delta.get(value)), interval(delta.get(ci))
        rows.append(BeforeAfter(f"answers, {name}", _figure(base, value, ci), _figure(final, value, ci),
                                change(moved, bounds)))  # fmt: skip
    before, after = number(base.get("format_failures")), number(final.get("format_failures"))
    moved = None if before is None or after is None else after - before
    rows.append(BeforeAfter("unreadable answers", share(before), share(after), change(moved, None)))
    return tuple(rows)


def _spy_found(run: RunReading) -> list[BeforeAfter]:
    before = _mapping((run.base or {}).get("decisions"))
    after = _mapping((_result(run) or {}).get("decisions"))
    moved = _mapping(after.get("change"))
    return [
        BeforeAfter(f"spy found, {name}", _figure(before, value, ci), _figure(after, value, ci),
                    change(number(moved.get(value)), interval(moved.get(ci))))
        for name, value, ci in MEASURES if number(before.get(value)) is not None
    ]  # fmt: skip


def _measured(run: RunReading) -> tuple[Measured, ...]:
    entries = [*([run.base] if run.base else []), *run.rounds]
    found = []
    if run.plays:
        points = [(int(e["round"]), _estimate(_mapping(e.get("decisions")), "accuracy", "ci95")) for e in entries]
        found.append(Measured("spy found", _present(points)))
    for name, value, ci in MEASURES:
        points = [(int(entry["round"]), _estimate(entry["heldout"], value, ci)) for entry in entries]
        found.append(Measured(f"answers, {name}", _present(points)))
    return tuple(curve for curve in found if curve.points)


def _result(run: RunReading) -> Entry | None:
    """The measurement of the run's result: the last one, or the one that the run was rolled back to."""
    entries = [*([run.base] if run.base else []), *run.rounds]
    final = number((run.summary or {}).get("final_round"))
    if final is not None:
        return next((entry for entry in entries if entry["round"] == final), None)
    return run.rounds[-1] if run.rounds else None


def _families(base: Entry | None, last: Entry | None) -> tuple[FamilyChange, ...]:
    if base is None or last is None:
        return ()
    before, after = _mapping(base["heldout"].get("families")), _mapping(last["heldout"].get("families"))
    found = []
    for family in before:
        was, now = (number(_mapping(side.get(family)).get("greedy")) for side in (before, after))
        if was is not None and now is not None:
            found.append(FamilyChange(family, was, now))
    return tuple(sorted(found, key=lambda change: change.before - change.after))


def _round(entry: Entry) -> RoundFigures:
    rejected = [(gate, int(count)) for gate, value in _mapping(entry.get("rejected")).items()
                if (count := number(value)) is not None]  # fmt: skip
    labels = _mapping(_mapping(entry.get("audit")).get("labels"))
    bins = []
    for one in labels.get("calibration") or ():
        confidence, accuracy, n = (number(_mapping(one).get(name)) for name in ("confidence", "accuracy", "n"))
        if confidence is not None and accuracy is not None and n is not None:
            bins.append(Bin(confidence, accuracy, int(n)))
    candidates, kept = number(entry.get("candidates")), number(entry.get("kept"))
    return RoundFigures(
        round=int(entry["round"]),
        candidates=None if candidates is None else int(candidates),
        kept=None if kept is None else int(kept),
        confidence=number(entry.get("mean_confidence")),
        labels_right=number(entry.get("pseudo_label_accuracy")),
        well_posed=number(entry.get("well_posed")),
        rejected=tuple(sorted(rejected, key=lambda pair: -pair[1])),
        calibration=tuple(bins),
    )


def _notes(run: RunReading) -> tuple[str, ...]:
    """What a reader must know to read the figures right."""
    notes = []
    summary = run.summary or {}
    measured_on = _mapping(summary.get("measured_on"))
    if measured_on:
        notes.append(
            f"Held-out questions are about pictures of the world {measured_on.get('world')!s}, "
            f"{measured_on.get('picture_size')!s} pixels a side, which training never draws."
        )
    if summary.get("images_repeat"):
        notes.append("The images were fewer than the run needed, so some were used more than once.")
    images = _mapping(summary.get("images"))
    left_out = _mapping(images.get("of", images)).get("quarantined")
    if isinstance(left_out, list) and left_out:
        notes.append(f"{len(left_out)} image files were left out; quarantine.jsonl of the run names them.")
    return tuple(notes)


def _figure(entry: Mapping[str, Any], value: str, ci: str) -> str:
    return with_interval(number(entry.get(value)), interval(entry.get(ci)))


def _estimate(entry: Mapping[str, Any], value: str, ci: str) -> Estimate | None:
    found, bounds = number(entry.get(value)), interval(entry.get(ci))
    return None if found is None else Estimate(found, *(bounds or (None, None)))


def _present(points: Sequence[tuple[int, Estimate | None]]) -> tuple[tuple[int, Estimate], ...]:
    return tuple((round, estimate) for round, estimate in points if estimate is not None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
