"""The record of a run besides its results: check values, changed settings, losses, and what a finished run says.

At every checkpoint it writes checks.json, so that a changed line or summary is found later. When the run goes on it
writes into history.json which settings hold from there, and what the run goes on without.
"""

from collections.abc import Sequence
from typing import Any

from selfsight.config import EvolveConfig, without_bookkeeping
from selfsight.errors import SelfsightError
from selfsight.methods.quarantine import Quarantine
from selfsight.methods.restoring import Found, check_lines
from selfsight.methods.resuming import refuse_late_changes
from selfsight.methods.stages import Stage
from selfsight.run import Damage, Journal, JsonlWriter, Progress, RunDirectory
from selfsight.run.checks import QUARANTINE, Checks, is_pruned
from selfsight.run.hashing import hash_path
from selfsight.run.history import History, Loss, read_history

_CONFIG, _SUMMARY = "config.yaml", "summary.json"
_WHOLE = (_CONFIG, "images.parquet")  # files that are covered from the start


class Record:
    """The record of the run in `directory`, whose settings were `before` and are `now`; `checks` as it was found."""

    def __init__(
        self,
        directory: RunDirectory,
        progress: Progress,
        now: EvolveConfig,
        *,
        before: EvolveConfig | None = None,
        checks: Checks | None = None,
    ) -> None:
        self._directory, self._progress, self._checks = directory, progress, checks
        self._before, self._now = before or now, now
        self._history = History()
        self._damages: tuple[Damage, ...] = ()  # what the run goes on with all the same

    def covers(self, journal: Journal, metrics: JsonlWriter, alarms: JsonlWriter, quarantine: Quarantine) -> None:
        """Names the files that grow while the run goes on."""
        self._journal, self._quarantine = journal, quarantine
        self._metrics, self._alarms = metrics, alarms

    def fingerprints(self) -> dict[str, object]:
        """For a checkpoint: the lines that metrics.jsonl and alarms.jsonl have by now."""
        metrics, alarms = self._metrics.written(), self._alarms.written()
        return {
            "metrics_lines": metrics.lines,
            "alarm_lines": alarms.lines,
            "metrics_blake2b": metrics.blake2b,
            "alarms_blake2b": alarms.blake2b,
        }

    def check_in_place(self) -> None:
        """Raises when another process may be writing the run, or a file was taken away while it was written."""
        self._directory.check_lock()
        for file in (self._metrics, self._alarms):
            file.check_in_place()

    def write_checks(self, *, finished: bool) -> None:
        """checks.json as of now; `finished`: with summary.json, which is what the finished run says."""
        run = self._directory.path
        lines = {file.path.name: file.written() for file in (self._metrics, self._alarms)}
        lines["journal.jsonl"] = self._journal.written()
        if (quarantined := self._quarantine.written()) is not None:
            lines[QUARANTINE] = quarantined
        names = (*_WHOLE, *((_SUMMARY,) if finished else ()))
        Checks(lines, {name: hash_path(run / name) for name in names if (run / name).exists()}).write(run)

    def accept_settings(self) -> None:
        """Writes changed settings into config.yaml; an unchanged file stays as it is.

        Its check value is taken away first: a crash between the two writes must not look like damage.
        """
        if self._now == self._before:
            return
        run = self._directory.path
        if (found := Checks.read(run)) is not None:
            Checks(found.lines, {name: one for name, one in found.files.items() if name != _CONFIG}).write(run)
        self._directory.write_config(self._now.model_dump(mode="json"))

    def goes_on(self, found: Found, done: int, step: int, stages: Sequence[Stage], length_option: str) -> None:
        """Refuses what cannot be; then tells and writes down which settings hold from here on, and what is lost.

        Args:
            found: The checkpoint, with the damage behind it that later stages do not read.
            done: How many stages are done.
            step: At which step of the next one the run goes on.
            stages: All stages of the run.
            length_option: The option that says how long a run is.
        """
        if done == len(stages):
            refuse_late_changes(self._directory.path, self._before, self._now, length_option)
        # Checkpoints of earlier versions have no fingerprints, and those of runs that were not watched no alarm lines.
        state, stage = found.state, stages[min(done, len(stages) - 1)]
        kept = {self._metrics: int(state["metrics_lines"]), self._alarms: int(state.get("alarm_lines", 0))}
        prints = {self._metrics: state.get("metrics_blake2b"), self._alarms: state.get("alarms_blake2b")}
        lost = [(file.path.name, check_lines(file, lines, prints[file])) for file, lines in kept.items()]
        # From here on the run is accepted, and written.
        before, now = (config.model_dump(mode="json") for config in (self._before, self._now))
        order = {one.name: one.index for one in stages}
        history = read_history(self._directory.path).resumed(before, now, stage=stage.name, step=step, order=order)
        losses = [Loss(stage.name, step, file, what) for file, what in lost if what]
        losses += [Loss(stage.name, step, damage.path, damage.what) for damage in found.damages]
        for loss in losses:
            history = history.with_loss(loss)
            self._progress.note(f"{loss.file}: {loss.what}; the run goes on without it, and its record says so")
        self._history, self._damages = history, found.damages
        history.write(self._directory.path)
        for file, lines in kept.items():
            file.truncate(min(lines, file.lines))

    def begins(self) -> None:
        """Forgets what happened before a run begins again at its first stage."""
        for file in (self._metrics, self._alarms):
            file.truncate(0)
        self._history.write(self._directory.path)

    def note_lost_display(self, stage: Stage, step: int) -> None:
        """Writes down, once, that the terminal or log cannot be written any more: nobody may be left to be told."""
        reason = getattr(self._progress, "lost", None)
        if reason is None:
            return
        loss = Loss(stage.name, step, "progress", f"could not be shown any more: {reason}")
        if self._history != (known := self._history.with_loss(loss)):
            self._history = known
            known.write(self._directory.path)

    def for_summary(self) -> dict[str, Any]:
        """For summary.json: changes of settings that can change results, and all losses."""
        told = self._history.as_json()
        matters = without_bookkeeping(self._now)
        changes = [one for one in told["settings_changes"] if str(one["key"]).partition(".")[0] in matters]
        return {**told, "settings_changes": changes}

    def summary_is_whole(self) -> bool:
        """Whether summary.json is what the finished run wrote and still says everything; else it is written again."""
        known = None if self._checks is None else self._checks.files.get(_SUMMARY)
        path = self._directory.summary_path
        if known is None:
            return False
        if not path.exists() or hash_path(path) != known:
            self._progress.note(f"{path.name} is {'changed' if path.exists() else 'missing'}; it is written again")
            return False
        summary, told = self._directory.read_summary(), self.for_summary()
        return {name: summary.get(name) for name in told} == told

    def say_finished(self) -> None:
        """Tells that nothing was left to do; raises where files of the finished run are not what it wrote."""
        bad = [damage for damage in self._damages if not is_pruned(damage)]
        if not bad:
            self._progress.note("this run is finished; nothing is left to do")
            return
        more = f", and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise SelfsightError(
            f"{self._directory.path}: this run is finished, but not whole: {'; '.join(map(str, bad[:3]))}{more}",
            hint="restore them from a copy; the rest of the run can be used, and export and compare refuse what is "
            "damaged",
        )
