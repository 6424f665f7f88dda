"""Held-out question answering, measured after every round of any method: the same questions, pictures and seeds.

Held-out worlds are a separate split, and nothing of what is found flows back into training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsight.config import EvaluationSettings, EvolveConfig
from selfsight.evaluate.answers import Answered, write_evaluation
from selfsight.evaluate.heldout import answer_questions
from selfsight.evaluate.questions import PICTURE_SIZES, HeldOutQuestion, heldout_questions
from selfsight.language.prompts import PromptPack
from selfsight.methods.readings import Readings
from selfsight.policy import Policy


@dataclass(frozen=True)
class Answerer:
    """Who is asked: a policy, how it is spoken to, and the tokens of an answer at most."""

    policy: Policy
    pack: PromptPack
    max_length: int


class HeldOut:
    """Asks questions of the held-out kind. `pause` is called between batches: it may raise.

    `readings` counts what became of the sampled answers, which are drawn as those of training are.
    """

    def __init__(self, answerer: Answerer, config: EvolveConfig, pause: Callable[[], None]) -> None:
        self.answerer, self.config, self.pause = answerer, config, pause
        self.readings = Readings("answers")

    def measure(self, folder: Path) -> tuple[list[Answered], Path]:
        """The answers to the run's held-out questions, written to `folder` for `read_evaluation`."""
        settings = self.config.evaluation
        size = picture_size(self.config, self.answerer.pack)
        answered = self.answer(
            heldout_questions(settings.questions, seed=settings.seed, size=size, world=settings.world)
        )
        return answered, write_evaluation(folder, answered)

    def answer(self, questions: Sequence[HeldOutQuestion]) -> list[Answered]:
        """The answers to any questions, in the run's way of measuring."""
        settings: EvaluationSettings = self.config.evaluation
        answered: list[Answered] = []
        for start in range(0, len(questions), settings.batch_size):
            self.pause()
            answered += answer_questions(
                self.answerer.policy,
                self.answerer.pack,
                questions[start : start + settings.batch_size],
                num_samples=settings.num_samples,
                seed=settings.seed,
                batch_size=settings.batch_size,
                max_completion_length=self.answerer.max_length,
                seen=lambda rollout: self.readings.add_answer(self.answerer.pack, rollout),
            )
        return answered


def picture_size(config: EvolveConfig, pack: PromptPack) -> int:
    """Side in pixels of a run's held-out pictures."""
    return config.evaluation.picture_size or PICTURE_SIZES[pack.name]
