"""The order of a run: which stage follows which. A stage is the unit of the journal and of resuming."""

from dataclasses import dataclass
from typing import Literal

from selfsight.config import EvolveConfig

Phase = Literal["evaluation", "questioner", "curation", "reasoner"]


@dataclass(frozen=True)
class Stage:
    """One stretch of a run. Round 0 is the base model, which is only measured."""

    index: int
    round: int
    phase: Phase

    @property
    def name(self) -> str:
        """How the journal calls it."""
        return f"round-{self.round}/{self.phase}"

    def checkpoint_step(self, step: int) -> int:
        """A number that grows over the whole run: stages of up to 10^6 steps."""
        return self.index * 1_000_000 + step


def stages(config: EvolveConfig) -> list[Stage]:
    """All stages of a run, in order. An untrained questioner has no phase of its own."""
    phases: list[tuple[int, Phase]] = [(0, "evaluation")]
    for round in range(1, config.visplay.rounds + 1):
        if config.visplay.controls.questioner == "trained" and config.visplay.questioner_steps > 0:
            phases.append((round, "questioner"))
        phases += [(round, "curation"), (round, "reasoner"), (round, "evaluation")]
    return [Stage(i, round, phase) for i, (round, phase) in enumerate(phases)]
