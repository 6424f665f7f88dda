"""VisPlay's controller: one plain loop over the stages of a run (arXiv 2511.15661, algorithm 1).

    for each round:  questioner phase -> curation -> reasoner phase -> measurement

Both policies live through the whole run; a phase trains one and only samples from the other. Everything random is
derived from the seed and the place in the schedule, so the state of a run is the two policies and the place: that is
what a checkpoint holds. A run that is killed goes on from the newest checkpoint and, on one machine with one
thread setting, ends with the very weights of an undisturbed run.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig, config_hash, load_config
from selfsight.errors import SelfsightError
from selfsight.images import ImageError, ImageSource
from selfsight.language.similarity import NoveltyMemory
from selfsight.methods.visplay.asking import Place
from selfsight.methods.visplay.curation import (
    ask_candidates,
    candidates_hash,
    check_pool,
    decide,
    labeller,
    pieces,
    pool_wanted,
)
from selfsight.methods.visplay.measure import Measurer
from selfsight.methods.visplay.parts import all_asked, part, remove_parts, save_model
from selfsight.methods.visplay.phases import learn_from, questioner_batch, reasoner_batch
from selfsight.methods.visplay.quarantine import Quarantine
from selfsight.methods.visplay.records import (
    POOL,
    QUESTIONS,
    VOTES,
    Asked,
    PoolItem,
    asked_from_rows,
    pool_rows,
    question_row,
    read_pool,
    vote_rows,
)  # fmt: skip
from selfsight.methods.visplay.resuming import refuse_changes
from selfsight.methods.visplay.roles import Roles, open_roles
from selfsight.methods.visplay.schedule import Stage, stages
from selfsight.methods.visplay.stream import ImageStream, open_images
from selfsight.methods.visplay.summary import build_summary
from selfsight.methods.visplay.timings import Timings
from selfsight.policy import Group, Policy
from selfsight.run import Journal, JsonlWriter, Progress, RunDirectory, StopRequested, check_free, derive
from selfsight.run.checkpoint import Checkpoints
from selfsight.run.hashing import hash_bytes
from selfsight.run.tables import read_table, write_table

FINISHED = 999_999


class Stopped(SelfsightError):
    """The user asked the run to stop; everything is saved."""

    def __init__(self, path: Path, exit_code: int) -> None:
        super().__init__(f"stopped; everything is saved in {path}", hint=f"go on with: selfsight resume {path}")
        self.exit_code = exit_code


def evolve(config: EvolveConfig, *, progress: Progress) -> dict[str, Any]:
    """Runs VisPlay in a new run directory and returns its summary (also in summary.json)."""
    name = config.run_name or f"{config.recipe}-seed{config.seed}-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(config.output_dir) / name
    # What can be wrong with settings, images and model is found before the folder is made.
    check_free(path)
    timings = Timings()
    source, roles = _open(config)
    with RunDirectory.create(path, config.model_dump(mode="json")) as directory:
        progress.note(f"run folder: {path}")
        return Run(directory, config, source, roles, progress, timings).drive()


def resume(path: Path, *, overrides: Sequence[str] = (), progress: Progress) -> dict[str, Any]:
    """Continues a run where it stopped, with changed settings if any are given. A finished run returns its summary."""
    with RunDirectory.resume(Path(path)) as directory:
        timings = Timings()
        config = load_config(directory.config_path, overrides)
        refuse_changes(load_config(directory.config_path), config)
        source, roles = _open(config)
        return Run(directory, config, source, roles, progress, timings).drive()


def _open(config: EvolveConfig) -> tuple[ImageSource, Roles]:
    labeller(config)  # refuses images without truth where truth is asked for
    source = open_images(config)
    return source, open_roles(config, source)


class Run:
    """One run of VisPlay over its directory."""

    def __init__(
        self,
        directory: RunDirectory,
        config: EvolveConfig,
        source: ImageSource,
        roles: Roles,
        progress: Progress,
        timings: Timings,
    ) -> None:
        self.directory, self.config, self.roles = directory, config, roles
        self.progress, self.timings = progress, timings
        self.stream = ImageStream(source, config, roles.shown)
        self.stages = stages(config)
        self.labeller = labeller(config)
        self.checkpoints = Checkpoints(directory.checkpoints, save_total_limit=config.save_total_limit)

    # ---- the schedule ----------------------------------------------------------------------------------

    def drive(self) -> dict[str, Any]:
        """All stages that are not done yet, then the summary."""
        directory, config = self.directory, self.config
        with (
            StopRequested() as stop,
            Journal(directory.journal_path, note=self.progress.note) as journal,
            JsonlWriter(directory.metrics_path) as metrics,
            Quarantine(directory, self.stream.source, self.progress.note) as quarantine,
        ):
            self.stop, self.journal, self.metrics = stop, journal, metrics
            self.base = self._weights_hash()
            first, step = self._restore()
            directory.write_config(config.model_dump(mode="json"))  # changed settings hold once the run has accepted
            self.weights = self._weights_hash()
            self.timings.loaded([self.roles.questioner, self.roles.reasoner])
            if self.stream.repeats and first == 0:
                self.progress.note(
                    f"{self.stream.source.name} holds {self.stream.source.size()} images, fewer than the "
                    f"{self.stream.per_round * config.visplay.rounds} that {config.visplay.rounds} rounds may use: "
                    "images will repeat"
                )
            for stage in self.stages[first:]:
                start = time.perf_counter()
                inputs = {"config": config_hash(config), "weights": self.weights}
                outputs = getattr(self, f"_{stage.phase}")(stage, step)
                inputs |= quarantine.inputs()  # as it is now: what the stage found bad, it did without
                self.weights = self._weights_hash()
                journal.record(stage.name, inputs=inputs, outputs=outputs, seconds=time.perf_counter() - start)
                self.timings.lap(stage.phase)
                step = 0
                if stage.index + 1 < len(self.stages):
                    self._save(self.stages[stage.index + 1], 0)
                else:
                    self._save(stage, FINISHED)
                # Only now: until the checkpoint lay on the disk, a resumed stage would have needed them.
                remove_parts(directory.round(stage.round))
                self.timings.lap(stage.phase, "controller")
            summary = build_summary(
                directory, config, stream=self.stream, pack=self.roles.pack, weights=self.weights, timings=self.timings
            )
            directory.write_summary(summary)
            return summary

    def _weights_hash(self) -> str:
        """One fingerprint of both roles' weights."""
        return hash_bytes(f"{self.roles.questioner.weights_hash()} {self.roles.reasoner.weights_hash()}".encode())

    # ---- stages ----------------------------------------------------------------------------------------

    def _evaluation(self, stage: Stage, step: int) -> list[Path]:
        self.progress.phase(f"round {stage.round}: measurement", None)
        measurer = Measurer(self.config, self.roles, self.directory, pause=lambda: self._stop_here(stage, 0))
        entry, outputs = measurer.measure(stage.round)
        self.progress.step({"accuracy": entry["heldout"]["accuracy"]})
        return outputs

    def _questioner(self, stage: Stage, first: int) -> list[Path]:
        config, roles = self.config, self.roles
        memory = self._memory(stage.round)
        steps = config.visplay.questioner_steps
        folder = self.directory.round(stage.round)
        self.progress.phase(f"round {stage.round}: questioner", steps)
        if first == 0:
            roles.questioner.begin_phase()
        for step in range(first, steps):
            self._stop_here(stage, step)
            place = Place(stage.round, "questioner", step)
            with self._saved_if_images_fail(stage, step):
                images = self.stream.for_step(stage.round, step)
            batch = questioner_batch(roles, config, images, place, memory)
            write_table(part(folder, "asked", step), batch.rows, QUESTIONS)
            self._update(roles.questioner, batch.groups, stage, step, batch.metrics)
            self._save_sometimes(stage, step + 1, steps)
        roles.questioner.end_phase()
        asked = folder / "asked.parquet"
        write_table(asked, all_asked(folder, steps), QUESTIONS)
        return [asked, save_model(roles.questioner, folder / "questioner")]

    def _curation(self, stage: Stage, first: int) -> list[Path]:
        config, folder = self.config, self.directory.round(stage.round)
        memory = self._memory(stage.round)
        first_attempt = sum(start < config.visplay.pool_images for start, _ in pieces(config))
        self.progress.phase(f"round {stage.round}: curation", first_attempt)
        asked: list[Asked] = []
        curated = decide(asked, config, memory, stage.round, self.labeller)
        for piece, (start, count) in enumerate(pieces(config)):
            # At least pool_images are looked at; more only while the pool is not full.
            if start >= config.visplay.pool_images and len(curated.pool) >= pool_wanted(config):
                break
            self._stop_here(stage, 0)
            asked += self._piece(stage, folder, piece, start, count, memory)
            curated = decide(asked, config, memory, stage.round, self.labeller)
            confidences = [a.votes.confidence for a in asked if a.votes is not None]
            self.progress.step({"kept": len(curated.pool), "confidence": sum(confidences) / max(1, len(confidences))})
        rows = [
            question_row(
                a, phase="curation", step=0, kept=curated.verdicts[a.question.id].kept,
                gate=curated.verdicts[a.question.id].gate, gate_reason=curated.verdicts[a.question.id].reason,
            )
            for a in asked
        ]  # fmt: skip
        questions, votes, pool = (folder / f"{name}.parquet" for name in ("questions", "votes", "pool"))
        write_table(questions, rows, QUESTIONS)
        write_table(votes, [row for a in asked for row in vote_rows(a)], VOTES)
        write_table(pool, pool_rows(list(curated.pool)), POOL)
        counts = {count.gate: {"seen": count.seen, "rejected": count.rejected} for count in curated.counts}
        self._log(
            {
                "stage": stage.name,
                "step": 0,
                "candidates": len(asked),
                "kept": len(curated.pool),
                "gates": counts,
            }
        )
        check_pool(curated.pool, curated.counts, config, stage.round)
        return [questions, votes, pool]

    def _piece(
        self, stage: Stage, folder: Path, piece: int, start: int, count: int, memory: NoveltyMemory
    ) -> list[Asked]:
        """Candidates about one piece of images: from the disk when an interrupted run wrote them already."""
        kind = candidates_hash(self.config, self.weights)  # those of other settings are not this run's
        rows_path, votes_path = part(folder, f"candidates-{kind}", piece), part(folder, f"votes-{kind}", piece)
        if not votes_path.exists():
            with self._saved_if_images_fail(stage, 0):
                images = self.stream.for_curation(stage.round, start, count)
            place = Place(stage.round, "curation", piece)
            asked = ask_candidates(self.roles, self.config, images, place, memory)
            write_table(rows_path, [question_row(a, phase="curation", step=piece) for a in asked], QUESTIONS)
            write_table(votes_path, [row for a in asked for row in vote_rows(a)], VOTES)
        return asked_from_rows(read_table(rows_path, QUESTIONS), read_table(votes_path, VOTES))

    def _reasoner(self, stage: Stage, first: int) -> list[Path]:
        config, roles = self.config, self.roles
        folder = self.directory.round(stage.round)
        pool = self._shuffled_pool(stage.round, folder)
        size = config.visplay.questions_per_step
        # A question is seen once: a small pool means fewer steps, never the same questions again unnoticed.
        steps = min(config.visplay.reasoner_steps, len(pool) // size)
        if steps < config.visplay.reasoner_steps and first == 0:
            self.progress.note(
                f"round {stage.round}: the pool holds {len(pool)} questions, enough for {steps} of "
                f"{config.visplay.reasoner_steps} steps"
            )
        self.progress.phase(f"round {stage.round}: reasoner", steps)
        if first == 0:
            roles.reasoner.begin_phase()
        for step in range(first, steps):
            self._stop_here(stage, step)
            # Usable once, at curation; a file may have been damaged since.
            items = [item for item in pool[step * size : (step + 1) * size] if self.stream.source.usable(item.image)]
            batch = reasoner_batch(roles, config, items, Place(stage.round, "reasoner", step))
            self._update(roles.reasoner, batch.groups, stage, step, batch.metrics)
            self._save_sometimes(stage, step + 1, steps)
        roles.reasoner.end_phase()
        return [save_model(roles.reasoner, folder / "reasoner")]

    # ---- parts -----------------------------------------------------------------------------------------

    def _update(
        self, policy: Policy, groups: Sequence[Group], stage: Stage, step: int, measured: Mapping[str, object]
    ) -> None:
        """Learns from a batch, publishes, logs. A batch without groups is only logged."""
        line: dict[str, object] = {"stage": stage.name, "step": step, **measured}
        if groups:
            line |= learn_from(policy, groups, self.config.grpo.num_iterations)
        self._log(line)
        self.progress.step(line)

    def _log(self, line: dict[str, object]) -> None:
        if "jsonl" in self.config.report_to:
            self.metrics.append(line)

    def _memory(self, round: int) -> NoveltyMemory:
        """What earlier rounds kept, rebuilt from their tables."""
        memory = NoveltyMemory()
        for earlier in range(1, round):
            rows = read_table(self.directory.round(earlier) / "pool.parquet", POOL)
            memory.add([str(row["question"]) for row in rows])
        return memory

    def _shuffled_pool(self, round: int, folder: Path) -> list[PoolItem]:
        pool = read_pool(read_table(folder / "pool.parquet", POOL))
        return sorted(pool, key=lambda item: derive(self.config.seed, "pool", round, item.question_id))

    def _stop_here(self, stage: Stage, step: int) -> None:
        if self.stop:
            self.timings.lap(stage.phase)
            self._save(stage, step)
            raise Stopped(self.directory.path, self.stop.exit_code)

    @contextmanager
    def _saved_if_images_fail(self, stage: Stage, step: int) -> Iterator[None]:
        """Too many bad images stop the run as a signal would: with a checkpoint."""
        try:
            yield
        except ImageError as error:
            self.timings.lap(stage.phase)
            self._save(stage, step)
            mended = "files that you mended are looked at anew once quarantine.jsonl in the run's folder is deleted"
            again = f"everything is saved, and `selfsight resume {self.directory.path}` goes on"
            raise ImageError(error.message, hint=f"{error.hint}; {mended}; {again}") from error

    # ---- checkpoints -----------------------------------------------------------------------------------

    def _save_sometimes(self, stage: Stage, step: int, steps: int) -> None:
        if step % self.config.save_steps == 0 and step < steps:
            self.timings.lap(stage.phase)
            self._save(stage, step)

    def _save(self, stage: Stage, step: int) -> None:
        """A checkpoint that says: `stage` goes on at `step`."""
        tensors: dict[str, Any] = {}
        counters: dict[str, object] = {}
        for role, policy in self.roles.trainable().items():
            own, counters[role] = policy.state_dict(anchor=False)  # the anchor is the base model, opened anew
            tensors |= {f"{role}/{name}": value for name, value in own.items()}
        state = {
            "stage": stage.name,
            "step": step,
            "metrics_lines": self.metrics.lines,
            "config": config_hash(self.config),
            "base": self.base,
            "counters": counters,
            "timings": self.timings.state(),
        }
        self.checkpoints.save(stage.checkpoint_step(step), tensors, state)

    def _restore(self) -> tuple[int, int]:
        """Where to go on: index of the stage and step inside it; policies and metrics are put back."""
        found = self.checkpoints.latest_valid()
        for skipped in self.checkpoints.skipped:
            self.progress.note(f"checkpoint passed over: {skipped}")
        if found is None:
            self.metrics.truncate(0)
            return 0, 0
        state: dict[str, Any] = found.state()
        index = next((stage.index for stage in self.stages if stage.name == state["stage"]), None)
        if index is None:
            raise SelfsightError(
                f"{self.directory.path}: the run has got to {state['stage']}, which these settings do not have",
                hint="do not lower visplay.rounds below the rounds that have begun",
            )
        if state["base"] != self.base:
            raise SelfsightError(
                f"the model {self.config.model} is not the one that this run began with",
                hint="put the original weights back; the run is held to them, and compared with them",
            )
        if state["config"] != config_hash(self.config):
            self.progress.note("the settings have changed since the last checkpoint; going on with the new ones")
        tensors = found.tensors()
        for role, policy in self.roles.trainable().items():
            own = {n.removeprefix(f"{role}/"): t for n, t in tensors.items() if n.startswith(f"{role}/")}
            policy.load_state_dict(own, state["counters"][role])
        self.metrics.truncate(min(int(state["metrics_lines"]), self.metrics.lines))
        self.timings.add(state["timings"])
        if state["step"] == FINISHED:
            return index + 1, 0
        self.progress.note(f"resuming at {state['stage']}, step {state['step']}")
        return index, int(state["step"])
