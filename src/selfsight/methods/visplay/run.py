"""VisPlay's controller: one plain loop over the stages of a run (arXiv 2511.15661, algorithm 1).

    for each round:  questioner phase -> curation -> reasoner phase -> measurement

Both policies live through the whole run; a phase trains one and only samples from the other. What saves, stops and
resumes a run is in methods/loop.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from selfsight.config import EvolveConfig
from selfsight.images import ImageSource
from selfsight.language.similarity import NoveltyMemory
from selfsight.methods.loop import Loop, Method, Stopped, begin, go_on
from selfsight.methods.measuring import Answerer, HeldOut
from selfsight.methods.parts import part, save_model
from selfsight.methods.readings import Readings
from selfsight.methods.stages import Stage, stages_of
from selfsight.methods.visplay.asking import Place
from selfsight.methods.visplay.curation import (
    ask_candidates,
    candidates_hash,
    cannot_be_filled,
    check_pool,
    decide,
    labeller,
    pieces,
    pool_wanted,
)
from selfsight.methods.visplay.measure import round_findings
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
from selfsight.methods.visplay.resuming import refuse_changes
from selfsight.methods.visplay.roles import Roles, open_roles
from selfsight.methods.visplay.schedule import phases
from selfsight.methods.visplay.stream import ImageStream, open_images
from selfsight.run import Progress, derive
from selfsight.run.adapters import ADAPTER
from selfsight.run.progress import counted
from selfsight.run.tables import read_columns, read_table, write_columns, write_table

__all__ = ["Stopped", "Visplay", "evolve", "resume"]


def evolve(config: EvolveConfig, *, progress: Progress) -> dict[str, Any]:
    """Runs VisPlay in a new run directory and returns its summary (also in summary.json)."""
    return begin(config, _open, progress)


def resume(path: Path, *, overrides: Sequence[str] = (), progress: Progress) -> dict[str, Any]:
    """Continues a run where it stopped, with changed settings if any are given. A finished run returns its summary."""
    return go_on(Path(path), overrides, _open, refuse_changes, progress)


def _open(config: EvolveConfig) -> Method:
    labeller(config)  # refuses images without truth where truth is asked for
    source = open_images(config)
    return Visplay(config, source, open_roles(config, source))


class Visplay(Method):
    """VisPlay, for a whole run or for some `rounds` of one."""

    length_option = "visplay.rounds"

    def __init__(
        self, config: EvolveConfig, source: ImageSource, roles: Roles, rounds: Sequence[int] | None = None
    ) -> None:
        answerer = Answerer(roles.reasoner, roles.pack, config.visplay.max_answer_length)
        rounds = range(1, config.visplay.rounds + 1) if rounds is None else rounds
        super().__init__(config, source, roles.policies(), answerer, rounds)
        self.roles = roles
        self.stream = ImageStream(source, config, roles.shown)
        self.labeller = labeller(config)

    def stages(self) -> list[Stage]:
        return stages_of([phases(self.config)] * len(self.rounds))

    def announce(self, loop: Loop, first: int) -> None:
        if self.stream.repeats and first == 0:
            loop.progress.note(
                f"{self.source.name} holds {self.source.size()} images, fewer than the "
                f"{self.stream.per_round * self.config.visplay.rounds} that the run may use in "
                f"{counted(self.config.visplay.rounds, 'round')}: images will repeat"
            )

    def perform(self, loop: Loop, stage: Stage, step: int) -> list[Path]:
        doing = {"questioner": self._questioner, "curation": self._curation, "reasoner": self._reasoner}
        return doing[stage.phase](loop, stage, step)

    def findings(self, loop: Loop, round: int, heldout: HeldOut) -> tuple[dict[str, Any], list[Path]]:
        if round not in self.rounds:
            return {}, []
        return round_findings(loop.directory, round, self.rounds[0], heldout), []

    def model_folder(self, round: int) -> str:
        return "reasoner"

    def reads_again(self, round: int, name: str, *, measured: bool) -> bool:
        once = ("asked.parquet", "asked_votes.parquet", "questioner", "reasoner")
        return name.removesuffix(ADAPTER) not in once

    def own_state(self) -> dict[str, object]:
        return {}

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Nothing: policies and place are all that VisPlay is."""

    def account(self, loop: Loop) -> dict[str, Any]:
        return {
            "controls": self.config.visplay.controls.model_dump(),
            "images_repeat": self.stream.repeats,
        }

    # ---- stages ----------------------------------------------------------------------------------------

    def _questioner(self, loop: Loop, stage: Stage, first: int) -> list[Path]:
        config, roles = self.config, self.roles
        memory = self._memory(loop, stage.round)
        steps = config.visplay.questioner_steps
        folder = loop.directory.round(stage.round)
        loop.progress.phase(f"round {stage.round}: questioner", steps, done=first)
        if first == 0:
            roles.questioner.begin_phase()
        questions, answers = Readings("questions"), Readings("answers")
        for step in range(first, steps):
            loop.stop_here(stage, step)
            place = Place(stage.round, "questioner", step)
            with loop.saved_if_images_fail(stage, step):
                images = self.stream.for_step(self.number(stage.round), step)
            batch = questioner_batch(roles, config, images, place, memory)
            # The answers first: who sees a step's questions while the run goes on finds their votes.
            write_table(part(folder, "asked_votes", step), batch.votes, VOTES)
            write_table(part(folder, "asked", step), batch.rows, QUESTIONS)
            for readings, read in ((questions, batch.questions), (answers, batch.answers)):
                readings.add_first(read)
                loop.require_readable(stage, step, readings)
            loop.update(roles.questioner, batch.groups, stage, step, batch.metrics)
            loop.save_sometimes(stage, step + 1, steps)
        roles.questioner.end_phase()
        asked, votes = folder / "asked.parquet", folder / "asked_votes.parquet"
        write_columns(votes, _all_votes(folder, stage.round, steps))
        write_table(asked, _all_asked(folder, steps), QUESTIONS)
        with loop.saved_if_model_fails(stage, steps):
            return [asked, votes, *save_model(roles.questioner, folder / "questioner", config)]

    def _curation(self, loop: Loop, stage: Stage, first: int) -> list[Path]:
        config, folder = self.config, loop.directory.round(stage.round)
        memory = self._memory(loop, stage.round)
        # How many pieces it takes depends on what the gates keep.
        loop.progress.phase(f"round {stage.round}: curation", None, at_most=len(pieces(config)))
        asked: list[Asked] = []
        readings = Readings("questions")
        curated = decide(asked, config, memory, stage.round, self.labeller)
        for piece, (start, count) in enumerate(pieces(config)):
            # At least pool_images are looked at; more only while the pool is not full.
            if start >= config.visplay.pool_images and len(curated.pool) >= pool_wanted(config):
                break
            loop.stop_here(stage, 0)
            more = self._piece(loop, stage, folder, piece, start, count, memory)
            readings.add_first((a.question.completion, a.question.reason) for a in more)
            loop.require_readable(stage, 0, readings)
            asked += more
            curated = decide(asked, config, memory, stage.round, self.labeller)
            confidences = [a.votes.confidence for a in asked if a.votes is not None]
            loop.progress.step({"kept": len(curated.pool), "confidence": sum(confidences) / max(1, len(confidences))})
            to_come = sum(count for _, count in pieces(config)[piece + 1 :])
            if cannot_be_filled(curated, to_come, config):
                break  # check_pool says why
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
        loop.log(
            {
                "stage": stage.name,
                "step": 0,
                "candidates": len(asked),
                "kept": len(curated.pool),
                "gates": counts,
            }
        )
        check_pool(curated.pool, curated.counts, config, stage.round, curated.rejected_by)
        return [questions, votes, pool]

    def _piece(
        self, loop: Loop, stage: Stage, folder: Path, piece: int, start: int, count: int, memory: NoveltyMemory
    ) -> list[Asked]:
        """Candidates about one piece of images: from the disk when an interrupted run wrote them already."""
        kind = candidates_hash(self.config, loop.weights)  # those of other settings are not this run's
        rows_path, votes_path = part(folder, f"candidates-{kind}", piece), part(folder, f"votes-{kind}", piece)
        if not votes_path.exists():
            with loop.saved_if_images_fail(stage, 0):
                images = self.stream.for_curation(self.number(stage.round), start, count)
            place = Place(stage.round, "curation", piece)
            asked = ask_candidates(self.roles, self.config, images, place, memory)
            write_table(rows_path, [question_row(a, phase="curation", step=piece) for a in asked], QUESTIONS)
            write_table(votes_path, [row for a in asked for row in vote_rows(a)], VOTES)
        return asked_from_rows(read_table(rows_path, QUESTIONS), read_table(votes_path, VOTES))

    def _reasoner(self, loop: Loop, stage: Stage, first: int) -> list[Path]:
        config, roles = self.config, self.roles
        folder = loop.directory.round(stage.round)
        pool = self._shuffled_pool(stage.round, folder)
        size = config.visplay.questions_per_step
        # A question is seen once: a small pool means fewer steps, never the same questions again unnoticed.
        steps = min(config.visplay.reasoner_steps, len(pool) // size)
        if steps < config.visplay.reasoner_steps and first == 0:
            loop.progress.note(
                f"round {stage.round}: the pool holds {len(pool)} questions, enough for {steps} of "
                f"{counted(config.visplay.reasoner_steps, 'step')}"
            )
        loop.progress.phase(f"round {stage.round}: reasoner", steps, done=first)
        if first == 0:
            roles.reasoner.begin_phase()
        answers = Readings("answers")
        for step in range(first, steps):
            loop.stop_here(stage, step)
            # Usable once, at curation; a file may have been damaged since.
            items = [item for item in pool[step * size : (step + 1) * size] if self.source.usable(item.image)]
            batch = reasoner_batch(roles, config, items, Place(stage.round, "reasoner", step))
            answers.add_first(batch.answers)
            loop.require_readable(stage, step, answers)
            loop.update(roles.reasoner, batch.groups, stage, step, batch.metrics)
            loop.save_sometimes(stage, step + 1, steps)
        roles.reasoner.end_phase()
        with loop.saved_if_model_fails(stage, steps):
            return save_model(roles.reasoner, folder / "reasoner", config)

    # ---- parts -----------------------------------------------------------------------------------------

    def _memory(self, loop: Loop, round: int) -> NoveltyMemory:
        """What earlier rounds kept, rebuilt from their tables."""
        memory = NoveltyMemory()
        for earlier in (number for number in self.rounds if number < round):
            rows = read_table(loop.directory.round(earlier) / "pool.parquet", POOL)
            memory.add([str(row["question"]) for row in rows])
        return memory

    def _shuffled_pool(self, round: int, folder: Path) -> list[PoolItem]:
        pool = read_pool(read_table(folder / "pool.parquet", POOL))
        return sorted(pool, key=lambda item: derive(self.config.seed, "pool", round, item.question_id))


def _all_asked(folder: Path, steps: int) -> list[dict[str, object]]:
    """The rows of all steps of a questioner phase.

    The parts of a finished phase are gone. When a damaged checkpoint sends the run back into one, the steps before
    that place are still in the phase's table.
    """
    rows: list[dict[str, object]] = []
    for step in range(steps):
        path = part(folder, "asked", step)
        whole = path if path.exists() else folder / "asked.parquet"
        rows += [row for row in read_table(whole, QUESTIONS) if row["step"] == step]
    return rows


def _all_votes(folder: Path, round: int, steps: int) -> pa.Table:
    """The answers behind those rows, found in the same way; as columns, as there are `num_votes` to a question."""
    pieces = []
    for step in range(steps):
        path = part(folder, "asked_votes", step)
        if path.exists():
            pieces.append(read_columns(path, VOTES))
        else:
            whole = read_columns(folder / "asked_votes.parquet", VOTES)
            place = Place(round, "questioner", step).id("")  # what the ids of a step's questions begin with
            pieces.append(whole.filter(pc.starts_with(whole["question_id"], place)))
    return pa.concat_tables(pieces)
