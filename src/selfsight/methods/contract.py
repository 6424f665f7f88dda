"""What a method is to the loop that runs it: its policies, its stages, and how a stage is done."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsight.config import EvolveConfig
from selfsight.images import ImageSource
from selfsight.methods.measuring import Answerer, HeldOut
from selfsight.methods.stages import Stage
from selfsight.policy import Policy

if TYPE_CHECKING:
    from selfsight.methods.loop import Loop


class Method(ABC):
    """What a run does: its policies and images, and how a stage is done.

    `rounds` are the numbers of the rounds that are this method's (all of them, unless several methods share a run).
    `answerer` is asked the held-out questions. `length_option` names the option that says how long a run is.
    """

    length_option: str
    asks = True  # whether answers to questions are trained, so that the base must give readable ones

    def __init__(
        self,
        config: EvolveConfig,
        source: ImageSource,
        policies: Mapping[str, Policy],
        answerer: Answerer,
        rounds: Sequence[int],
    ) -> None:
        self.config, self.source, self.policies, self.answerer = config, source, policies, answerer
        self.rounds = tuple(rounds)

    def number(self, round: int) -> int:
        """Which of this method's rounds a round of the run is, from 1."""
        return self.rounds.index(round) + 1

    @abstractmethod
    def stages(self) -> list[Stage]:
        """All stages of the run, in order."""

    @abstractmethod
    def perform(self, loop: "Loop", stage: Stage, step: int) -> list[Path]:
        """Does a stage from `step` on and returns the files and folders that it has written."""

    @abstractmethod
    def findings(self, loop: "Loop", round: int, heldout: HeldOut) -> tuple[dict[str, Any], list[Path]]:
        """What is measured of a round besides the held-out questions, and the files written; round 0 is the base."""

    @abstractmethod
    def model_folder(self, round: int) -> str:
        """How a round's folder calls that of the model which was measured."""

    @abstractmethod
    def reads_again(self, round: int, name: str, *, measured: bool) -> bool:
        """Whether the run itself reads the artefact `name` of `round` after the stage that wrote it is finished;
        `measured`: and after that round is measured. What only reports and exports read is not.
        """

    @abstractmethod
    def account(self, loop: "Loop") -> dict[str, Any]:
        """What summary.json says besides what every run's does."""

    @abstractmethod
    def announce(self, loop: "Loop", first: int) -> None:
        """Tells the user what to know of the run; `first` is the index of the stage that is to be done next."""

    @abstractmethod
    def own_state(self) -> dict[str, object]:
        """What decides the future besides policies and place, JSON-ready."""

    @abstractmethod
    def take_state(self, state: Mapping[str, Any]) -> None:
        """Puts back what `own_state` returned, found in the checkpoint's `state`."""
