"""VisPlay's controller: one plain loop over the stages of a run (arXiv 2511.15661, algorithm 1).

    for each round:  questioner phase -> curation -> reasoner phase -> measurement

Both policies live through the whole run; a phase trains one and only samples from the other. Everything random is
derived from the seed and the place in the schedule, so the state of a run is the two policies and the place: that is
what a checkpoint holds. A run that is killed goes on from the newest checkpoint and, on one machine with one
thread setting, ends with the very weights of an undisturbed run.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from selfsight.config import EvolveConfig, config_hash, load_config
from selfsight.errors import SelfsightError
from selfsight.images import ImageSource, ShuffledImages, image_source
from selfsight.images.source import ImageRef
from selfsight.language.prompts import get_pack
from selfsight.language.similarity import NoveltyMemory
from selfsight.methods.visplay.asking import Place, Roles
from selfsight.methods.visplay.curation import Labeller, ask_candidates, check_pool, decide, pool_wanted
from selfsight.methods.visplay.measure import Measurer
from selfsight.methods.visplay.phases import questioner_batch, reasoner_batch
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
from selfsight.methods.visplay.schedule import Stage, stages
from selfsight.methods.visplay.stream import ImageStream
from selfsight.methods.visplay.summary import build_summary
from selfsight.policy import Policy
from selfsight.policy.open import open_policy, pack_name, read_image, set_threads
from selfsight.run import Journal, JsonlWriter, Progress, RunDirectory, StopRequested, derive
from selfsight.run.checkpoint import Checkpoints
from selfsight.run.hashing import hash_bytes
from selfsight.run.tables import read_table, write_table

FINISHED = 999_999
PIECE = 50  # images of curation that are asked about, and written down, at a time


class Stopped(SelfsightError):
    """The user asked the run to stop; everything is saved."""

    def __init__(self, path: Path, exit_code: int) -> None:
        super().__init__(f"stopped; everything is saved in {path}", hint=f"go on with: selfsight resume {path}")
        self.exit_code = exit_code


def evolve(config: EvolveConfig, *, progress: Progress) -> dict[str, Any]:
    """Runs VisPlay in a new run directory and returns its summary (also in summary.json)."""
    name = config.run_name or f"{config.recipe}-seed{config.seed}-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(config.output_dir) / name
    # What can be wrong is found before the folder is made.
    source = image_source(config.images, seed=derive(config.seed, "images"))
    with RunDirectory.create(path, config.model_dump(mode="json")) as directory:
        progress.note(f"run folder: {path}")
        return Run(directory, config, source, progress).drive()


def resume(path: Path, *, overrides: Sequence[str] = (), progress: Progress) -> dict[str, Any]:
    """Continues a run where it stopped, with changed settings if any are given. A finished run returns its summary."""
    with RunDirectory.resume(Path(path)) as directory:
        config = load_config(directory.config_path, overrides)
        if overrides:
            directory.write_config(config.model_dump(mode="json"))
        source = image_source(config.images, seed=derive(config.seed, "images"))
        return Run(directory, config, source, progress).drive()


class Run:
    """One run of VisPlay over its directory."""

    def __init__(self, directory: RunDirectory, config: EvolveConfig, source: ImageSource, progress: Progress) -> None:
        self.directory, self.config, self.progress = directory, config, progress
        set_threads(config)
        self.stream = ImageStream(source, config)
        self.stages = stages(config)
        self.checkpoints = Checkpoints(directory.checkpoints, save_total_limit=config.save_total_limit)
        self.began = time.perf_counter()

    # ---- the schedule ----------------------------------------------------------------------------------

    def drive(self) -> dict[str, Any]:
        """All stages that are not done yet, then the summary."""
        directory, config = self.directory, self.config
        with (
            StopRequested() as stop,
            Journal(directory.journal_path, note=self.progress.note) as journal,
            JsonlWriter(directory.metrics_path) as metrics,
        ):
            self.stop, self.journal, self.metrics = stop, journal, metrics
            self.roles = self._roles()
            self.labeller = _labeller(config)
            self.measurer = Measurer(config, self.roles, directory)
            first, step = self._restore()
            if self.stream.repeats and first == 0:
                self.progress.note(
                    f"{self.stream.source.name} holds {self.stream.source.size()} images, fewer than the "
                    f"{self.stream.per_round * config.visplay.rounds} that {config.visplay.rounds} rounds may use: "
                    "images will repeat"
                )
            for stage in self.stages[first:]:
                start = time.perf_counter()
                outputs = getattr(self, f"_{stage.phase}")(stage, step)
                inputs = {"config": config_hash(config), "weights": hash_bytes(self._weights().encode())}
                journal.record(stage.name, inputs=inputs, outputs=outputs, seconds=time.perf_counter() - start)
                step = 0
                if stage.index + 1 < len(self.stages):
                    self._save(self.stages[stage.index + 1], 0)
                else:
                    self._save(stage, FINISHED)
                # Only now: until the checkpoint lay on the disk, a resumed stage would have needed them.
                shutil.rmtree(directory.round(stage.round) / "parts", ignore_errors=True)
            summary = build_summary(
                directory, config, self.stages, repeats=self.stream.repeats, weights=self._weights()
            )
            directory.write_summary(summary)
            return summary

    def _roles(self) -> Roles:
        config, opener = self.config, read_image(self.stream.source)
        pack = get_pack(pack_name(config))
        trained = config.visplay.controls.questioner == "trained"
        questioner = open_policy(config, "questioner", opener, trainable=trained)
        reasoner = open_policy(config, "reasoner", opener, trainable=True)
        if trained:
            questioner.set_reference("anchor")
        if config.grpo.beta_anchor > 0:
            reasoner.set_reference("anchor")
        shown: Callable[[ImageRef], ImageRef] = _same
        if config.visplay.controls.images == "shuffled":
            shown = ShuffledImages(self.stream.source, derive(config.seed, "shuffled")).partner
        return Roles(questioner, reasoner, pack, shown)

    def _weights(self) -> str:
        return f"{self.roles.questioner.weights_hash()} {self.roles.reasoner.weights_hash()}"

    # ---- stages ----------------------------------------------------------------------------------------

    def _evaluation(self, stage: Stage, step: int) -> list[Path]:
        self.progress.phase(f"round {stage.round}: measurement", None)
        self._stop_here(stage, 0)
        entry, outputs = self.measurer.measure(stage.round)
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
            batch = questioner_batch(roles, config, self.stream.for_step(stage.round, step), place, memory)
            write_table(_part(folder, "asked", step), batch.rows, QUESTIONS)
            self._update(roles.questioner, batch.groups, stage, step, batch.metrics)
            self._save_sometimes(stage, step + 1, steps)
        asked = folder / "asked.parquet"
        write_table(asked, _joined(folder, "asked", steps, QUESTIONS), QUESTIONS)
        model = folder / "questioner"
        roles.questioner.save(model)
        return [asked, model]

    def _curation(self, stage: Stage, first: int) -> list[Path]:
        config, folder = self.config, self.directory.round(stage.round)
        memory = self._memory(stage.round)
        most = config.visplay.pool_images * config.visplay.max_pool_attempts
        self.progress.phase(f"round {stage.round}: curation", -(-config.visplay.pool_images // PIECE))
        asked: list[Asked] = []
        curated = decide(asked, config, memory, stage.round, self.labeller)
        for piece, start in enumerate(range(0, most, PIECE)):
            # At least pool_images are looked at; more only while the pool is not full.
            if start >= config.visplay.pool_images and len(curated.pool) >= pool_wanted(config):
                break
            self._stop_here(stage, 0)
            # A piece never crosses the end of an attempt, so that the pool is judged at the same places.
            count = min(PIECE, config.visplay.pool_images - start % config.visplay.pool_images, most - start)
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
        kind = config_hash(self.config)  # candidates of other settings are not this run's
        rows_path, votes_path = (
            _part(folder, f"candidates-{kind}", piece),
            _part(folder, f"votes-{kind}", piece),
        )
        if not votes_path.exists():
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
            items = pool[step * size : (step + 1) * size]
            batch = reasoner_batch(roles, config, items, Place(stage.round, "reasoner", step))
            self._update(roles.reasoner, batch.groups, stage, step, batch.metrics)
            self._save_sometimes(stage, step + 1, steps)
        model = folder / "reasoner"
        roles.reasoner.save(model)
        return [model]

    # ---- parts -----------------------------------------------------------------------------------------

    def _update(self, policy: Policy, groups: list, stage: Stage, step: int, measured: Mapping[str, object]) -> None:
        """Learns from a batch (`num_iterations` optimiser steps), publishes, logs."""
        for _ in range(self.config.grpo.num_iterations):
            learned = policy.learn(groups)
            stepped = policy.step()
        policy.publish()
        line: dict[str, object] = {"stage": stage.name, "step": step, **measured}
        line |= {
            "loss": learned.loss,
            "kl": learned.kl,
            "kl_anchor": learned.kl_anchor,
            "entropy": learned.entropy,
            "clip_fraction": learned.clip_fraction,
            "ratio_max": learned.ratio_max,
            "mismatch_kl": learned.mismatch_kl,
            "zero_variance_groups": learned.zero_variance_groups,
            "groups": learned.groups,
            "grad_norm": stepped.grad_norm,
            "learning_rate": stepped.learning_rate,
            "skipped": stepped.skipped,
            "tokens_per_second": learned.tokens_per_second,
        }
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
            self._save(stage, step)
            raise Stopped(self.directory.path, self.stop.exit_code)

    # ---- checkpoints -----------------------------------------------------------------------------------

    def _save_sometimes(self, stage: Stage, step: int, steps: int) -> None:
        if step % self.config.save_steps == 0 and step < steps:
            self._save(stage, step)

    def _save(self, stage: Stage, step: int) -> None:
        """A checkpoint that says: `stage` goes on at `step`."""
        tensors: dict[str, Any] = {}
        counters: dict[str, object] = {}
        for role, policy in self._trainable().items():
            own, counters[role] = policy.state_dict()
            tensors |= {f"{role}/{name}": value for name, value in own.items()}
        state = {
            "stage": stage.name,
            "step": step,
            "metrics_lines": self.metrics.lines,
            "config": config_hash(self.config),
            "counters": counters,
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
        if state["config"] != config_hash(self.config):
            self.progress.note("the settings have changed since the last checkpoint; going on with the new ones")
        tensors = found.tensors()
        for role, policy in self._trainable().items():
            own = {n.removeprefix(f"{role}/"): t for n, t in tensors.items() if n.startswith(f"{role}/")}
            policy.load_state_dict(own, state["counters"][role])
        self.metrics.truncate(min(int(state["metrics_lines"]), self.metrics.lines))
        index = next(s.index for s in self.stages if s.name == state["stage"])
        if state["step"] == FINISHED:
            return index + 1, 0
        self.progress.note(f"resuming at {state['stage']}, step {state['step']}")
        return index, int(state["step"])

    def _trainable(self) -> dict[str, Policy]:
        both = {"questioner": self.roles.questioner, "reasoner": self.roles.reasoner}
        return {role: policy for role, policy in both.items() if policy.trainable}


def _same(image: ImageRef) -> ImageRef:
    return image


def _labeller(config: EvolveConfig) -> Labeller | None:
    """Exact labels for the labelled control, else None: the only door through which truth can reach a run."""
    if config.visplay.controls.labels == "vote":
        return None
    if not config.images.startswith("worlds"):
        raise SelfsightError(
            f"visplay.controls.labels=truth needs images with exact truth, and images is {config.images!r}",
            hint="set images=worlds",
        )
    from selfsight.evaluate.oracle import true_label

    return true_label


def _part(folder: Path, name: str, number: int) -> Path:
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    return parts / f"{name}-{number:05d}.parquet"


def _joined(folder: Path, name: str, count: int, schema: pa.Schema) -> list[dict[str, object]]:
    return [row for i in range(count) for row in read_table(_part(folder, name, i), schema)]
