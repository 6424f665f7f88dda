"""Iterative-SPO: which stage trains next, as a pure function of the state (arXiv 2509.25541, algorithm 1).

After every step the averages of the votes' accuracy and of the share of n/a are updated, then:

    decision -> clue      accuracy >= .9 and n/a <= .1             (the voters see through the clues: better clues)
    clue -> decision      1 - accuracy >= .4 or n/a >= .5          (the clues have become too good: better voters)

and neither before `k_min` steps have passed since the last switch. After `patience` steps the stage switches anyway.

Two deviations, both off in `paper_literal`. An average that starts at 0 with rho = .95 needs 45 steps at accuracy 1 to
reach .9 and never does at .9, so the default corrects the bias (divides by 1 - rho^t, as Adam does). And the paper
lists a patience that its algorithm never uses.

The other modes are for ablations: one stage only, both at once, or `fixed:k`, a switch every k steps (the authors'
program: `fixed:1`).
"""

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from selfsight.errors import SelfsightError

TrainedStage = Literal["decision", "clue"]
Phase = Literal["decision", "clue", "both"]
MODES: Final = ("iterative", "clue_only", "decision_only", "both", "fixed:k")

_FIXED = re.compile(r"fixed:([1-9][0-9]{0,5})", re.ASCII)
_OTHER: Final[dict[Phase, Phase]] = {"decision": "clue", "clue": "decision"}
# An average of equal observations is that observation up to rounding, and must reach a threshold equal to it.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class SwitchSettings:
    """Thresholds and the mode; `patience` None never forces a switch."""

    mode: str = "iterative"
    rho: float = 0.95
    bias_corrected: bool = True
    k_min: int = 5
    patience: int | None = 20
    accuracy_high: float = 0.9
    abstention_low: float = 0.1
    error_high: float = 0.4
    abstention_high: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in MODES[:-1] and _FIXED.fullmatch(self.mode) is None:
            raise SelfsightError(f"mode is {self.mode!r}", hint=f"use one of: {', '.join(MODES)}, such as fixed:10")
        if not 0 <= self.rho < 1:
            raise SelfsightError(f"rho is {self.rho}", hint="use at least 0 and less than 1")
        if self.k_min < 1 or (self.patience is not None and self.patience < self.k_min):
            raise SelfsightError(
                f"k_min is {self.k_min} and patience is {self.patience}", hint="1 <= k_min <= patience must hold"
            )

    @property
    def fixed_steps(self) -> int | None:
        """k of `fixed:k`, else None."""
        found = _FIXED.fullmatch(self.mode)
        return None if found is None else int(found[1])


def paper_literal() -> SwitchSettings:
    """Algorithm 1 to the letter: averages that start at 0, and no patience."""
    return SwitchSettings(bias_corrected=False, patience=None)


@dataclass(frozen=True)
class SwitchState:
    """Where the schedule stands; all of it is part of a checkpoint.

    `accuracy` and `abstention` are the raw averages, which start at 0; `steps` counts all steps, `since_switch` those
    of the present phase.
    """

    phase: Phase
    accuracy: float = 0.0
    abstention: float = 0.0
    steps: int = 0
    since_switch: int = 0

    def trains(self, stage: TrainedStage) -> bool:
        """Whether a stage's tokens get gradient in the next step."""
        return self.phase in (stage, "both")


def start(settings: SwitchSettings) -> SwitchState:
    """The state before the first step. All schedules that switch start with the decision."""
    phases: dict[str, Phase] = {"clue_only": "clue", "both": "both"}
    return SwitchState(phases.get(settings.mode, "decision"))


def averages(state: SwitchState, settings: SwitchSettings) -> tuple[float, float]:
    """The averages of accuracy and n/a that are compared with the thresholds; 0 before the first step."""
    weight = 1 - settings.rho**state.steps if settings.bias_corrected and state.steps else 1.0
    return state.accuracy / weight, state.abstention / weight


def observe(state: SwitchState, accuracy: float, abstention: float, settings: SwitchSettings) -> SwitchState:
    """The state after a step whose games had this accuracy and this share of n/a, both in 0..1.

    The averages live on through a switch: they are about the voters, not about the phase.
    """
    for name, value in (("accuracy", accuracy), ("abstention", abstention)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, not a share")
    seen = replace(
        state,
        accuracy=settings.rho * state.accuracy + (1 - settings.rho) * accuracy,
        abstention=settings.rho * state.abstention + (1 - settings.rho) * abstention,
        steps=state.steps + 1,
        since_switch=state.since_switch + 1,
    )
    phase = next_phase(seen.phase, *averages(seen, settings), seen.since_switch, settings)
    return seen if phase == seen.phase else replace(seen, phase=phase, since_switch=0)


def next_phase(phase: Phase, accuracy: float, abstention: float, since_switch: int, settings: SwitchSettings) -> Phase:
    """The rule itself: from averages and the steps since the last switch to the phase of the next step."""
    if settings.fixed_steps is not None:
        return _OTHER[phase] if since_switch >= settings.fixed_steps else phase
    if settings.mode != "iterative" or since_switch < settings.k_min:
        return phase
    if settings.patience is not None and since_switch >= settings.patience:
        return _OTHER[phase]
    if phase == "decision":
        mastered = accuracy >= settings.accuracy_high - _ROUNDING and abstention <= settings.abstention_low + _ROUNDING
        return "clue" if mastered else "decision"
    beaten = 1 - accuracy >= settings.error_high - _ROUNDING or abstention >= settings.abstention_high - _ROUNDING
    return "decision" if beaten else "clue"
