"""The stages of a run: what the journal has a line for, and where a run can be resumed."""

from collections.abc import Sequence
from dataclasses import dataclass

EVALUATION = "evaluation"  # the phase that the loop does itself


@dataclass(frozen=True)
class Stage:
    """One stretch of a run, the unit of the journal and of resuming. Round 0 is the base model, only measured."""

    index: int
    round: int
    phase: str

    @property
    def name(self) -> str:
        """How the journal calls it."""
        return f"round-{self.round}/{self.phase}"

    def checkpoint_step(self, step: int) -> int:
        """A number that grows over the whole run: stages of up to 10^6 steps."""
        return self.index * 1_000_000 + step


def stages_of(rounds: Sequence[Sequence[str]]) -> list[Stage]:
    """All stages of a run, in order: the base model's measurement, then every round's phases and its measurement."""
    phases = [(0, EVALUATION)]
    for round, own in enumerate(rounds, 1):
        phases += [*((round, phase) for phase in own), (round, EVALUATION)]
    return [Stage(index, round, phase) for index, (round, phase) in enumerate(phases)]
