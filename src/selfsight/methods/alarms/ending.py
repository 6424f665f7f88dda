"""What an alarm may do to a run: stop it, or end it with its best round as the result.

A rollback does not train on from the best round: with the same settings it would most likely go the same way again, at
the same cost, and what to change is for a person to say. So the run is finished then. What it rolls back to are the
weights on disk behind that round's measurement, and they are checked against the journal before the run says so.

The best round is that of the highest held-out accuracy (greedy answers; in a run of games alone, the spy found on
held-out clues, where that is measured), the base included, the earlier one of equals. Every run has held-out questions,
so none has to be judged by its audit. A maximum of several measurements flatters: the summary gives all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.methods.alarms.rules import Record, place
from selfsight.run import Journal, RunDirectory
from selfsight.run.atomic import read_json
from selfsight.run.invoked import command

STOPPED = 3  # exit code


class StoppedByAlarm(SelfsightError):
    """An alarm stopped the run, as `alarms.policy=stop` asks; everything is saved."""

    exit_code = STOPPED

    def __init__(self, path: Path, fired: Sequence[Record]) -> None:
        first, typed = fired[0], command()
        names = ", ".join(dict.fromkeys(record.alarm for record in fired))
        super().__init__(
            f"stopped by an alarm after {place(first.round, first.phase)} ({names}): {first.says}; everything is saved "
            f"in {path}",
            hint=f"look at it: {typed} report {path}; go on with another setting: {typed} resume {path} "
            f"{first.suggestion}; go on as it is, until the next alarm: {typed} resume {path}; and without stopping "
            f"again: {typed} resume {path} alarms.policy=warn",
        )


@dataclass(frozen=True)
class Rollback:
    """A run that ended in `stage` by `alarms`, with round `to` as its result (0: the base).

    `measured` is the last round that was measured; `scores` are those of the rounds up to it, from round 0, by what
    `by` names.
    """

    stage: str
    alarms: tuple[str, ...]
    to: int
    measured: int
    by: str
    scores: tuple[float, ...]

    def as_json(self) -> dict[str, object]:
        """For checkpoints and summary.json."""
        return asdict(self) | {"alarms": list(self.alarms), "scores": list(self.scores)}

    def says(self, model: str) -> str:
        """One line for the terminal; `model` is where the result lies."""
        where = "the base model" if self.to == 0 else f"round {self.to}"
        best = f"the best of {len(self.scores)} measurements" if self.measured else "the only one that is measured"
        return (
            f"ROLLED BACK to {where}, {best} by {self.by} ({self.scores[self.to]:.1%}); the run ends here, its model "
            f"is {model}"
        )


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `rounds` were measured, and the result is round `final` (0: the base) with its `model` folder,
    seen from the run's, and the fingerprint of its `weights`.
    """

    rounds: int
    final: int
    model: str
    weights: str
    rollback: Rollback | None


class Ending:
    """Ends a run by its alarms. `model_folder` is how a round's folder calls its model; `note` tells the person."""

    def __init__(
        self,
        config: EvolveConfig,
        directory: RunDirectory,
        journal: Journal,
        model_folder: Callable[[int], str],
        note: Callable[[str], None],
    ) -> None:
        self.config, self.directory, self.journal = config, directory, journal
        self.model_folder, self.note = model_folder, note
        self.rolled_back: Rollback | None = None

    def stop(self, fired: Sequence[Record]) -> None:
        """Raises if alarms went off and are to stop the run. Everything must be saved by now."""
        if fired and self.config.alarms.policy == "stop":
            raise StoppedByAlarm(self.directory.path, fired)

    def roll_back(self, round: int, phase: str, fired: Sequence[Record]) -> None:
        """Decides for the best round at the end of a stage, if alarms went off and that is what they are to do."""
        if not fired or self.config.alarms.policy != "rollback":
            return
        found = best_round(self.directory, self.config, fired, round=round, phase=phase)
        if found is None:
            self.note(f"nothing to roll back: round {round} is the best so far; going on")
            return
        if found.to > 0:
            check_weights(self.journal, self.model(found.to))
        self.journal.record(
            f"round-{round}/rollback", inputs={"weights": self.weights(found.to)}, outputs=[], seconds=0.0
        )
        self.note(found.says(self.model(found.to)))
        self.rolled_back = found

    def outcome(self, last: int) -> Outcome:
        """How the run ended; `last` is its last round by the schedule."""
        back = self.rolled_back
        rounds, final = (last, last) if back is None else (back.measured, back.to)
        return Outcome(rounds, final, self.model(final), self.weights(final), back)

    def model(self, round: int) -> str:
        """Where a round's model lies, seen from the run's folder; the base is what the user gave."""
        return f"rounds/{round}/{self.model_folder(round)}" if round else self.config.model

    def weights(self, round: int) -> str:
        """The fingerprint of the weights that a round's measurement was about."""
        return self.journal.inputs(f"round-{round}/evaluation")["weights"]

    def state(self) -> dict[str, object] | None:
        """For a checkpoint."""
        return None if self.rolled_back is None else self.rolled_back.as_json()

    def take_state(self, state: Mapping[str, Any] | None, *, changed: bool) -> bool:
        """Puts back what `state` gave, and says whether the run has ended by it: then no setting may have `changed`."""
        if state is None:
            return False
        found = Rollback(**{**state, "alarms": tuple(state["alarms"]), "scores": tuple(state["scores"])})
        model = self.model(found.to)
        path = self.directory.path / model if found.to else model
        hint = f"a new run from its model: selfsight evolve model={path}, with the settings that you change"
        if changed:
            raise SelfsightError(f"{self.directory.path}: was rolled back to round {found.to} and has ended", hint=hint)
        self.note(found.says(model))
        self.rolled_back = found
        return True


def best_round(
    directory: RunDirectory, config: EvolveConfig, fired: Sequence[Record], *, round: int, phase: str
) -> Rollback | None:
    """Which round alarms at the end of a stage send the run back to; None when the weights are those of the best one.

    Those are never the weights in the middle of a round: they were not measured.
    """
    measured = round if phase == "evaluation" else round - 1
    entries: list[Any] = [read_json(directory.rounds / str(k) / "round.json") for k in range(measured + 1)]
    by, scores = _scores(entries, config)
    best = max(range(len(scores)), key=scores.__getitem__)
    if best == round:
        return None
    alarms = tuple(dict.fromkeys(record.alarm for record in fired))
    return Rollback(fired[0].stage, alarms, best, measured, by, tuple(scores))


def check_weights(journal: Journal, folder: str) -> None:
    """Raises when a round's model folder is not what its stage wrote."""
    (stage,) = (name for name in journal.stages() if folder in journal.outputs(name))
    damages = [damage for damage in journal.verify(stage) if damage.artefact == folder]
    if damages:
        raise SelfsightError(
            f"{damages[0]}; the run cannot be rolled back to it",
            hint="restore the folder and resume, or resume with alarms.policy=warn",
        )


def _scores(entries: Sequence[Mapping[str, Any]], config: EvolveConfig) -> tuple[str, list[float]]:
    if config.method == "vision-zero" and entries[0]["decisions"] is not None:
        return "spies found in held-out games", [float(entry["decisions"]["accuracy"]) for entry in entries]
    return "held-out accuracy", [float(entry["heldout"]["accuracy"]) for entry in entries]
