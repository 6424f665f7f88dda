"""Vision-Zero's controller: one plain loop over steps of games (arXiv 2509.25541, algorithm 1).

    for each step:  deal -> clues, votes (lock-step) -> score -> groups of the stage that trains -> learn -> publish
                    -> baselines, averages, phase (Iterative-SPO)

One policy plays all seats. Every `eval_steps` steps are a round, with its games.jsonl, model folder and measurement.
What saves, stops and resumes a run is in methods/loop.py; besides weights and place, the phase with its averages and
the roles' baselines decide the future. Randomness is derived from the seed and the game's id.

A stop is heard before every sampling call: the games under way are given up and dealt again on resuming, with the same
clues. Left out: the paper's cosine schedule of the learning rate, which would tie a step to the length of the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.methods.loop import Loop, Method, Stopped, begin, go_on
from selfsight.methods.measuring import Answerer, HeldOut
from selfsight.methods.parts import part, save_model
from selfsight.methods.readings import Readings
from selfsight.methods.stages import Stage, stages_of
from selfsight.methods.vision_zero.clues import REPEATED
from selfsight.methods.vision_zero.game import Game
from selfsight.methods.vision_zero.measure import games_summary, measure_decisions
from selfsight.methods.vision_zero.playing import clue_sampling, play, vote_sampling
from selfsight.methods.vision_zero.resuming import refuse_changes
from selfsight.methods.vision_zero.rules import advice, game_settings, scoring_settings, switch_settings
from selfsight.methods.vision_zero.scoring import RoleBaselines
from selfsight.methods.vision_zero.steps import Standing, settle
from selfsight.methods.vision_zero.switching import SwitchState
from selfsight.methods.vision_zero.table import ROLE, Table, deal_step, open_table, repeats
from selfsight.run import Progress, canonical_json, read_jsonl, write_atomic
from selfsight.run.adapters import ADAPTER
from selfsight.run.atomic import read_json

__all__ = ["Stopped", "VisionZero", "evolve", "resume"]

PHASES = ("games",)  # of a round
STAGE_NAMES = {"clue": "the clues train", "decision": "the decision trains", "both": "both stages train"}


def evolve(config: EvolveConfig, *, progress: Progress) -> dict[str, Any]:
    """Runs Vision-Zero in a new run directory and returns its summary (also in summary.json)."""
    return begin(config, _open, progress)


def resume(path: Path, *, overrides: Sequence[str] = (), progress: Progress) -> dict[str, Any]:
    """Continues a run where it stopped, with changed settings if any are given. A finished run returns its summary."""
    return go_on(Path(path), overrides, _open, refuse_changes, progress)


def _open(config: EvolveConfig) -> Method:
    check(config)
    return VisionZero(config, open_table(config))


def check(config: EvolveConfig) -> None:
    """Refuses rules that make no game, before anything is opened."""
    advice(config)
    switch_settings(config)


def round_count(config: EvolveConfig) -> int:
    """How many rounds of games the settings make."""
    return config.vision_zero.iterations // config.vision_zero.eval_steps


class VisionZero(Method):
    """Vision-Zero, for a whole run or for some `rounds` of one."""

    length_option = "vision_zero.iterations"
    asks = False

    def __init__(self, config: EvolveConfig, table: Table, rounds: Sequence[int] | None = None) -> None:
        answerer = Answerer(table.policy, table.questions, config.vision_zero.max_answer_length)
        rounds = range(1, round_count(config) + 1) if rounds is None else rounds
        super().__init__(config, table.source, {ROLE: table.policy}, answerer, rounds)
        self.table = table
        self.scoring, self.switching = scoring_settings(config), switch_settings(config)
        self.standing = Standing.first(self.switching)

    def stages(self) -> list[Stage]:
        return stages_of([PHASES] * len(self.rounds))

    def own_state(self) -> dict[str, object]:
        return {"standing": asdict(self.standing)}

    def take_state(self, state: Mapping[str, Any]) -> None:
        standing = state["standing"]
        self.standing = Standing(SwitchState(**standing["switch"]), RoleBaselines(**standing["baselines"]))

    def announce(self, loop: Loop, first: int) -> None:
        for text in advice(self.config):
            loop.progress.note(text)
        if repeats(self.config, self.table.source) and first == 0:
            own = self.config.vision_zero
            loop.progress.note(
                f"{self.source.name} holds {self.source.size()} images, fewer than the "
                f"{own.iterations * own.games_per_step} games of the run: images will repeat"
            )

    def perform(self, loop: Loop, stage: Stage, step: int) -> list[Path]:
        return self._games(loop, stage, step)

    def findings(self, loop: Loop, round: int, heldout: HeldOut) -> tuple[dict[str, Any], list[Path]]:
        decisions, files = measure_decisions(self.config, self.table, loop.directory, round, heldout.pause)
        found: dict[str, Any] = {"decisions": decisions}
        if round in self.rounds:
            # The games it was trained on, judged again from their records.
            found["games"] = games_summary(read_jsonl(loop.directory.round(round) / "games.jsonl"))
        return found, files

    def model_folder(self, round: int) -> str:
        return "model"

    def reads_again(self, round: int, name: str, *, measured: bool) -> bool:
        once = name in ("games.jsonl", "decisions.jsonl") and measured and round > 0
        return not (once or name.removesuffix(ADAPTER) == "model")

    def account(self, loop: Loop) -> dict[str, Any]:
        own = self.config.vision_zero
        base: Any = read_json(loop.directory.round(0) / "round.json")
        return {
            "images_repeat": repeats(self.config, self.table.source),
            "steps": own.iterations,
            "mode": own.switching.mode,
            "baseline": own.rewards.baseline,
            "spy_view": own.spy_view,
            "voter": own.voter,
            "chance": game_settings(self.config).chance,
            "base_decisions": base["decisions"],
            "standing": asdict(self.standing),
        }

    # ---- steps -----------------------------------------------------------------------------------------

    def _games(self, loop: Loop, stage: Stage, first: int) -> list[Path]:
        steps, folder = self.config.vision_zero.eval_steps, loop.directory.round(stage.round)
        loop.progress.phase(f"round {stage.round}: games", steps, done=first)
        clues, votes = Readings("clues"), Readings("votes")
        for step in range(first, steps):
            loop.stop_here(stage, step)
            self._step(loop, stage, step, folder, clues, votes)
            loop.save_sometimes(stage, step + 1, steps)
        games = folder / "games.jsonl"
        parts = [part(folder, "games", step, "jsonl") for step in range(steps)]
        write_atomic(games, all_games(games, parts, first=self._number(stage, 0)))
        with loop.saved_if_model_fails(stage, steps):
            return [games, *save_model(self.table.policy, folder / "model", self.config)]

    def _step(self, loop: Loop, stage: Stage, step: int, folder: Path, clues: Readings, votes: Readings) -> None:
        config, table = self.config, self.table
        with loop.saved_if_images_fail(stage, step):
            games = deal_step(config, table.source, self._number(stage, step))
        with table.policy.sharing_images():
            played = play(
                table.policy,
                games,
                table.pack,
                clue=clue_sampling(config),
                vote=vote_sampling(config),
                pause=lambda: loop.stop_here(stage, step),
            )
        read_games(played.games, clues, votes)
        for readings in (clues, votes):
            loop.require_readable(stage, step, readings)
        done = settle(played, self.standing, self.scoring, self.switching)
        lines = (canonical_json(record) + b"\n" for record in done.records)
        write_atomic(part(folder, "games", step, "jsonl"), b"".join(lines))
        loop.update(table.policy, done.groups, stage, step, done.metrics)
        before, self.standing = self.standing.switch.phase, done.following
        now = self.standing.switch.phase
        if now != before:
            loop.progress.note(
                f"after step {self._number(stage, step) + 1}: from now on {STAGE_NAMES[now]} "
                f"(votes {done.metrics['accuracy_average']:.0%} right, {done.metrics['abstention_average']:.0%} n/a)"
            )

    def _number(self, stage: Stage, step: int) -> int:
        """A step of a round, counted over the whole run."""
        return (self.number(stage.round) - 1) * self.config.vision_zero.eval_steps + step


def read_games(games: Sequence[Game], clues: Readings, votes: Readings) -> None:
    """Counts the clues and votes of the games until there are enough of each.

    A clue that repeats an earlier one is refused in the game, and yet it could be read.
    """
    clues.add_first(
        (turn.completion.text, "" if turn.reading.reason == REPEATED else turn.reading.reason)
        for game in games
        for turn in game.turns
    )
    votes.add_first(
        (completion.text, vote.reason)
        for game in games
        for ballot in game.ballots
        for completion, vote in zip(ballot.completions, ballot.votes, strict=True)
    )


def all_games(whole: Path, parts: Sequence[Path], *, first: int) -> bytes:
    """The lines of a round's games; part k belongs to step `first` + k of the run.

    The parts of a finished round are gone. When a damaged checkpoint sends the run back into it, the steps before that
    place are still in the `whole` file.
    """
    earlier: dict[int, list[bytes]] = {}
    if not all(path.exists() for path in parts):
        if not whole.exists():
            raise SelfsightError(
                f"{whole}: is missing, and so are games of steps that are done", hint="restore it, or start a new run"
            )
        for record in read_jsonl(whole):
            step = int(str(record["id"]).removeprefix("step-").partition("/")[0])
            earlier.setdefault(step, []).append(canonical_json(record) + b"\n")
    return b"".join(
        path.read_bytes() if path.exists() else b"".join(earlier.get(first + number, []))
        for number, path in enumerate(parts)
    )
