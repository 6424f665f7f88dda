"""The loop of every run: a method over a run directory, stage by stage, measured after every round, resumable.

A `Method` says who learns and which stages there are, does a stage (`perform`), and adds what only it measures
(`findings`). The loop does the rest: held-out questions, metrics, checkpoints, stopping, the summary. Everything
random is derived from the seed and the place in the schedule, so the state of a run is its policies, the place, and
what the method adds (`own_state`): that is what a checkpoint holds. A run that is killed goes on from the newest
checkpoint and, on one machine with one thread setting, ends with the very weights of an undisturbed run.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from selfsight.config import EvolveConfig, config_hash, load_config
from selfsight.errors import SelfsightError
from selfsight.evaluate.answers import summarise
from selfsight.images import ImageError, telling
from selfsight.methods.alarms.ending import Ending
from selfsight.methods.alarms.watch import Watch
from selfsight.methods.contract import Method
from selfsight.methods.learning import learn_from
from selfsight.methods.measuring import HeldOut
from selfsight.methods.parts import remove_parts
from selfsight.methods.quarantine import Quarantine
from selfsight.methods.readings import Readings
from selfsight.methods.record import Record
from selfsight.methods.restoring import FINISHED, check_inputs, find_checkpoint
from selfsight.methods.stages import EVALUATION, Stage
from selfsight.methods.starting import surprises
from selfsight.methods.summary import RunSummary, build_summary
from selfsight.methods.timings import Timings
from selfsight.policy import Group, Policy
from selfsight.run import (
    Journal,
    JsonlWriter,
    Progress,
    RunDirectory,
    StopRequested,
    check_free,
    pretty_json,
    write_atomic,
)
from selfsight.run.checkpoint import Checkpoints
from selfsight.run.failure import FailureRecord
from selfsight.run.hashing import hash_bytes
from selfsight.run.invoked import command, shortest
from selfsight.run.read_back import UnfaithfulFolder
from selfsight.trackers import Trackers, require_trackers, tracker_names

MISMATCH_ALARM = 0.015  # KL(sampler || learner), nats a token


class Stopped(SelfsightError):
    """The user asked the run to stop; everything is saved."""

    def __init__(self, path: Path, exit_code: int) -> None:
        super().__init__(
            f"stopped; everything is saved in {path}", hint=f"go on with: {command()} resume {shortest(path)}"
        )
        self.exit_code = exit_code


def begin(config: EvolveConfig, opening: Callable[[EvolveConfig], Method], progress: Progress) -> dict[str, Any]:
    """Runs a method in a new run directory and returns its summary (also in summary.json)."""
    name = config.run_name or f"{config.recipe}-seed{config.seed}-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(config.output_dir) / name
    # What can be wrong with settings, images and model is found before the folder is made.
    check_free(path)
    require_trackers(config.report_to)
    timings = Timings()
    with telling(progress.note):
        method = opening(config)
    with RunDirectory.create(path, config.model_dump(mode="json")) as directory:
        progress.note(f"run folder: {path}")
        return Loop(config, method, directory, progress, timings, Record(directory, progress, config)).drive()


def go_on(
    path: Path,
    overrides: Sequence[str],
    opening: Callable[[EvolveConfig], Method],
    refuse_changes: Callable[[EvolveConfig, EvolveConfig], None],
    progress: Progress,
) -> dict[str, Any]:
    """Continues a run where it stopped, with changed settings if any are given. A finished run returns its summary."""
    with RunDirectory.resume(path) as directory:
        timings = Timings()
        checks = check_inputs(directory.path)  # before settings are believed
        config = load_config(directory.config_path, overrides)
        before = load_config(directory.config_path)
        refuse_changes(before, config)
        require_trackers(config.report_to)
        with telling(progress.note):
            method = opening(config)
        record = Record(directory, progress, config, before=before, checks=checks)
        return Loop(config, method, directory, progress, timings, record).drive()


class Loop:
    """One run of a method over its directory."""

    def __init__(
        self, config: EvolveConfig, method: Method, directory: RunDirectory, progress: Progress, timings: Timings,
        record: Record,
    ) -> None:  # fmt: skip
        self.config, self.method = config, method
        self.directory, self.progress, self.timings = directory, progress, timings
        self.stages = method.stages()
        self.trainable = {role: policy for role, policy in method.policies.items() if policy.trainable}
        self.checkpoints = Checkpoints(directory.checkpoints, save_total_limit=config.save_total_limit)
        self._mismatch_said = ""  # the stage that the user was last warned in
        self.failures = FailureRecord(directory.failure_path, expected=Stopped)
        self.record = record

    # ---- the schedule ----------------------------------------------------------------------------------

    def drive(self) -> dict[str, Any]:
        """All stages that are not done yet, then the summary."""
        directory, config = self.directory, self.config
        with (
            ExitStack() as ending,
            self.failures,
            StopRequested() as stop,
            Journal(directory.journal_path, note=self.progress.note) as journal,
            JsonlWriter(directory.metrics_path) as metrics,
            JsonlWriter(directory.alarms_path) as alarms,
            Quarantine(directory, self.method.source, self.progress.note) as quarantine,
        ):
            for policy in self.method.policies.values():
                ending.callback(policy.close)
            self.stop, self.journal, self.metrics, self.alarms = stop, journal, metrics, alarms
            self.record.covers(journal, metrics, alarms, quarantine)
            watch = Watch(config, directory, alarms, self.progress.note)
            self.ending = Ending(config, directory, journal, self.method.model_folder, self.progress.note)
            self.base = self._weights_hash()
            first, step = self._restore()
            self.record.accept_settings()  # changed settings hold once the run has accepted them
            self.failures.forget()  # of an earlier start: it goes on from here
            whole = first == len(self.stages) and self.record.summary_is_whole()
            self.record.write_checks(finished=whole)
            self.trackers = ending.enter_context(self._start_trackers(first))
            self.weights = self._weights_hash()
            self.timings.loaded(list(self.method.policies.values()))
            for text in surprises(config, gpu=torch.cuda.is_available()) if first == 0 else ():
                self.progress.note(text)
            self.method.announce(self, first)
            for stage in self.stages[first:]:
                self.failures.at(stage.name, step)
                start = time.perf_counter()
                inputs = {"config": config_hash(config), "weights": self.weights}
                outputs = self._evaluate(stage) if stage.phase == EVALUATION else self.method.perform(self, stage, step)
                inputs |= quarantine.inputs()  # as it is now: what the stage found bad, it did without
                self.weights = self._weights_hash()
                fired = watch.look(stage.name, stage.round, stage.phase)
                journal.record(stage.name, inputs=inputs, outputs=outputs, seconds=time.perf_counter() - start)
                self.ending.roll_back(stage.round, stage.phase, fired)
                self.timings.lap(stage.phase)
                step = 0
                finished = self.ending.rolled_back is not None or stage.index + 1 == len(self.stages)
                if finished:
                    self._save(stage, FINISHED)
                else:
                    self._save(self.stages[stage.index + 1], 0)
                # Only now: until the checkpoint lay on the disk, a resumed stage would have needed them.
                remove_parts(directory.round(stage.round))
                self.timings.lap(stage.phase, "controller")
                if finished:
                    break
                self.ending.stop(fired)
            if whole:
                self.record.say_finished()
                self.trackers.finished()
                return RunSummary(directory.read_summary(), shortest(directory.path))
            summary = build_summary(
                directory,
                config,
                ended=self.ending.outcome(self.stages[-1].round),
                source=self.method.source,
                pack=self.method.answerer.pack,
                timings=self.timings,
                own=self.method.account(self) | self.record.for_summary(),
            )
            directory.write_summary(summary)
            self.record.write_checks(finished=True)
            self.trackers.finished()
            if first == len(self.stages):
                self.record.say_finished()
            return RunSummary(summary, shortest(directory.path))

    def _start_trackers(self, first: int) -> Trackers:
        """What else gets the figures of the stages from `first` on, and of those before it what it has not yet."""
        names = tracker_names(self.config.report_to)
        trackers = Trackers(self.directory.path, names, kept=self.metrics.lines, note=self.progress.note)
        trackers.measured(stage.round for stage in self.stages[:first] if stage.phase == EVALUATION)
        return trackers

    def _weights_hash(self) -> str:
        """One fingerprint of all policies' weights."""
        return hash_bytes(" ".join(policy.weights_hash() for policy in self.method.policies.values()).encode())

    # ---- parts of a stage ------------------------------------------------------------------------------

    def update(
        self, policy: Policy, groups: Sequence[Group], stage: Stage, step: int, measured: Mapping[str, object]
    ) -> None:
        """Learns from a batch, publishes, logs. A batch without groups is only logged."""
        line: dict[str, object] = {"stage": stage.name, "step": step, **measured}
        if groups:
            learned = learn_from(policy, groups, self.config.grpo.num_iterations)
            line |= learned
            self._watch_mismatch(stage, step, learned)
        self.log(line)
        self.progress.step(line)

    def _watch_mismatch(self, stage: Stage, step: int, learned: Mapping[str, Any]) -> None:
        """Says once per stage that the sampler draws from something else than what is trained."""
        if learned["mismatch_kl"] > MISMATCH_ALARM and stage.name != self._mismatch_said:
            self._mismatch_said = stage.name
            self.progress.note(
                f"{stage.name}, step {step}: sampler and learner disagree about the same weights: KL "
                f"{learned['mismatch_kl']:.3f}, above {MISMATCH_ALARM}. Importance weights above "
                f"{self.config.grpo.importance_cap:g} are cut ({learned['importance_capped']:.1%} of the tokens). "
                "dtype=float32 brings the two closest."
            )

    def _evaluate(self, stage: Stage) -> list[Path]:
        """Measures a round; round 0 is the base model."""
        folder = self.directory.round(stage.round)
        heldout = HeldOut(self.method.answerer, self.config, pause=lambda: self.stop_here(stage, 0))
        self.progress.phase(f"round {stage.round}: measurement", None)
        answered, table = heldout.measure(folder)
        if stage.round == 0 and self.method.asks:
            self.require_readable(stage, 0, heldout.readings)
        found, files = self.method.findings(self, stage.round, heldout)
        entry = {"round": stage.round, "heldout": summarise(answered), **found}
        write_atomic(folder / "round.json", pretty_json(entry))
        self.progress.step({"accuracy": entry["heldout"]["accuracy"]})
        self.trackers.measured([stage.round])
        return [table, *files, folder / "round.json"]

    def log(self, line: dict[str, object]) -> None:
        """A line for metrics.jsonl."""
        self.record.check_in_place()
        if "none" not in self.config.report_to:
            self.metrics.append(line)
            self.trackers.look()

    def stop_here(self, stage: Stage, step: int) -> None:
        """Leaves the run, saved, if the user has asked for it: `stage` will go on at `step`."""
        self.failures.at(stage.name, step)
        if self.stop:
            self.timings.lap(stage.phase)
            self._save(stage, step)
            raise Stopped(self.directory.path, self.stop.exit_code)

    def require_readable(self, stage: Stage, step: int, readings: Readings) -> None:
        """Stops the run, saved, when nearly all of a model's first completions are unreadable (`max_unreadable`)."""
        if not readings.beyond(self.config.max_unreadable):
            return
        self.timings.lap(stage.phase)
        self._save(stage, step)
        where = "measurement" if stage.phase == EVALUATION else f"{stage.phase}, step {step}"
        error = readings.failure(f"round {stage.round}, {where}", self.config, self.directory.path)
        for completion in error.completions:
            self.progress.note(f"cannot be read: {completion}")
        raise error

    @contextmanager
    def saved_if_images_fail(self, stage: Stage, step: int) -> Iterator[None]:
        """Too many bad images stop the run as a signal would: with a checkpoint."""
        try:
            yield
        except ImageError as error:
            self.timings.lap(stage.phase)
            self._save(stage, step)
            mended = "files that you mended are looked at anew once quarantine.jsonl in the run's folder is deleted"
            again = f"everything is saved, and `selfsight resume {self.directory.path}` goes on"
            raise ImageError(error.message, hint=f"{error.hint}; {mended}; {again}") from error

    @contextmanager
    def saved_if_model_fails(self, stage: Stage, step: int) -> Iterator[None]:
        """Around the writing of a round's model: what was learned is in a checkpoint if the folder turns out wrong."""
        try:
            yield
        except UnfaithfulFolder as error:
            self.timings.lap(stage.phase)
            self._save(stage, step)
            again = f"everything is saved, and `selfsight resume {self.directory.path}` writes the folder again"
            raise UnfaithfulFolder(error.where, error.what, hint=f"{error.hint}; {again}") from error

    # ---- checkpoints -----------------------------------------------------------------------------------

    def save_sometimes(self, stage: Stage, step: int, steps: int) -> None:
        """A checkpoint every `save_steps` of a stage's `steps`; after the last one the stage's end saves."""
        if step % self.config.save_steps == 0 and step < steps:
            self.timings.lap(stage.phase)
            self._save(stage, step)

    def _save(self, stage: Stage, step: int) -> None:
        """A checkpoint that says: `stage` goes on at `step`."""
        self.record.check_in_place()
        self.record.note_lost_display(stage, step)
        tensors: dict[str, Any] = {}
        counters: dict[str, object] = {}
        for role, policy in self.trainable.items():
            own, counters[role] = policy.state_dict(anchor=False)  # the anchor is the base model, opened anew
            tensors |= {f"{role}/{name}": value for name, value in own.items()}
        state = {
            "stage": stage.name,
            "step": step,
            **self.record.fingerprints(),
            "rollback": self.ending.state(),
            "config": config_hash(self.config),
            "base": self.base,
            "counters": counters,
            "timings": self.timings.state(),
            **self.method.own_state(),
        }
        self.checkpoints.save(stage.checkpoint_step(step), tensors, state)
        self.record.write_checks(finished=False)

    def _restore(self) -> tuple[int, int]:
        """Where to go on: index of the stage and step inside it; policies, state and metrics are put back."""
        found = find_checkpoint(self.checkpoints, self.stages, self.journal, self.method, self.progress.note)
        if found is None:
            self.record.begins()
            return 0, 0
        state = found.state
        if state["base"] != self.base:
            raise SelfsightError(
                f"the model {self.config.model} is not the one that this run began with",
                hint="put the original weights back; the run is held to them, and compared with them",
            )
        changed = state["config"] != config_hash(self.config)
        rolled_back = self.ending.take_state(state.get("rollback"), changed=changed)
        finished = state["step"] == FINISHED
        done = len(self.stages) if rolled_back else found.stage + finished
        step = 0 if finished else int(state["step"])
        self.record.goes_on(found, done, step, self.stages, self.method.length_option)  # or refuses
        self.checkpoints.forget_after(found.checkpoint.step)
        if changed:
            self.progress.note("the settings have changed since the last checkpoint; going on with the new ones")
        tensors = found.checkpoint.tensors()
        for role, policy in self.trainable.items():
            own = {n.removeprefix(f"{role}/"): t for n, t in tensors.items() if n.startswith(f"{role}/")}
            policy.load_state_dict(own, state["counters"][role])
        self.method.take_state(state)
        self.timings.add(state["timings"])
        if not finished:
            self.progress.note(f"resuming at {state['stage']}, step {state['step']}")
        return done, step
