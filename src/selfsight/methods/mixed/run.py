"""VisPlay and Vision-Zero in turn, on one model: the reasoner of the one is the player of the other.

Every round belongs to one of the two (`schedule`) and is done by it as in a run of its own: same images by place, same
records, same random streams. What is measured after a round is what either method measures: held-out questions and the
spy on the starting model's clues after every round, the audit after VisPlay's, the games after Vision-Zero's.

A round of games is a phase as the reasoner's is: its KL to the phase's start (`grpo.beta`), warm-up and AdamW begin
anew, because the moments of the other method's rounds chased other rewards. In a run of Vision-Zero alone they live on
from round to round.

Left out: both kinds of groups in one optimiser step. Their gradients would be weighed by how many tokens each happens
to have.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.language import get_game_pack
from selfsight.methods.loop import Loop, Method, Stopped, begin, go_on
from selfsight.methods.measuring import HeldOut
from selfsight.methods.mixed.schedule import refuse_other_turns, rounds_of, schedule
from selfsight.methods.stages import Stage, stages_of
from selfsight.methods.vision_zero import resuming as games_resuming
from selfsight.methods.vision_zero import run as games
from selfsight.methods.vision_zero.table import Table, open_spy_images
from selfsight.methods.visplay import resuming as questions_resuming
from selfsight.methods.visplay import run as questions
from selfsight.methods.visplay.curation import labeller
from selfsight.methods.visplay.roles import open_roles
from selfsight.policy.open import pack_name
from selfsight.run import Progress

__all__ = ["Mixed", "Stopped", "evolve", "resume"]


def evolve(config: EvolveConfig, *, progress: Progress) -> dict[str, Any]:
    """Runs both methods in a new run directory and returns its summary (also in summary.json)."""
    return begin(config, _open, progress)


def resume(path: Path, *, overrides: Sequence[str] = (), progress: Progress) -> dict[str, Any]:
    """Continues a run where it stopped, with changed settings if any are given. A finished run returns its summary."""
    return go_on(Path(path), overrides, _open, _refuse_changes, progress)


def _open(config: EvolveConfig) -> Method:
    labeller(config)
    games.check(config)
    source = open_spy_images(config)
    roles = open_roles(config, source)
    pack = get_game_pack(pack_name(config, config.vision_zero.prompt_pack))
    turns = schedule(config)
    return Mixed(
        config,
        questions.Visplay(config, source, roles, rounds_of("visplay", turns)),
        games.VisionZero(config, Table(roles.reasoner, pack, roles.pack, source), rounds_of("vision-zero", turns)),
    )


def _refuse_changes(before: EvolveConfig, now: EvolveConfig) -> None:
    questions_resuming.refuse_changes(before, now)
    games_resuming.refuse_changes(before, now)
    refuse_other_turns(before, now)


class Mixed(Method):
    """Two methods that share a model and a run."""

    length_option = "visplay.rounds or vision_zero.iterations"

    def __init__(self, config: EvolveConfig, visplay: questions.Visplay, vision_zero: games.VisionZero) -> None:
        rounds = range(1, len(visplay.rounds) + len(vision_zero.rounds) + 1)
        super().__init__(config, visplay.source, visplay.policies, visplay.answerer, rounds)
        self.visplay, self.vision_zero = visplay, vision_zero

    def stages(self) -> list[Stage]:
        phases = {"visplay": questions.phases(self.config), "vision-zero": games.PHASES}
        return stages_of([phases[name] for name in schedule(self.config)])

    def announce(self, loop: Loop, first: int) -> None:
        self.visplay.announce(loop, first)
        self.vision_zero.announce(loop, first)

    def perform(self, loop: Loop, stage: Stage, step: int) -> list[Path]:
        if stage.round in self.visplay.rounds:
            return self.visplay.perform(loop, stage, step)
        player = self.vision_zero.table.policy
        if step == 0:
            player.begin_phase()
        written = self.vision_zero.perform(loop, stage, step)
        player.end_phase()
        return written

    def findings(self, loop: Loop, round: int, heldout: HeldOut) -> tuple[dict[str, Any], list[Path]]:
        asked, tables = self.visplay.findings(loop, round, heldout)
        played, files = self.vision_zero.findings(loop, round, heldout)
        return {**asked, **played}, [*tables, *files]

    def model_folder(self, round: int) -> str:
        return (self.visplay if round in self.visplay.rounds else self.vision_zero).model_folder(round)

    def reads_again(self, round: int, name: str, *, measured: bool) -> bool:
        return self.visplay.reads_again(round, name, measured=measured) and self.vision_zero.reads_again(
            round, name, measured=measured
        )

    def own_state(self) -> dict[str, object]:
        return {**self.visplay.own_state(), **self.vision_zero.own_state()}

    def take_state(self, state: Mapping[str, Any]) -> None:
        self.visplay.take_state(state)
        self.vision_zero.take_state(state)

    def account(self, loop: Loop) -> dict[str, Any]:
        asked, played = self.visplay.account(loop), self.vision_zero.account(loop)
        repeats = asked["images_repeat"] or played["images_repeat"]
        return {**asked, **played, "images_repeat": repeats, "schedule": list(schedule(self.config))}
