"""Vision-Zero's settings (arXiv 2509.25541): the game, its rewards, and when the trained stage changes.

What they mean in full, and which of them the paper states, is said where they are read: `methods.vision_zero` has
`game.py`, `scoring.py` and `switching.py`, whose own checks hold for these values too.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from selfsight.settings import Count, Fraction, Settings

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Mode = Annotated[
    str, StringConstraints(pattern=r"^(iterative|clue_only|decision_only|both|fixed:[1-9][0-9]{0,5})$", max_length=20)
]


class RewardSettings(Settings):
    """What a game pays (equations 1, 2 and 4), and role advantage estimation."""

    clue_beta: float = Field(default=0.1, ge=0.0, description="beta: weight of votes for the spy in the clue rewards")
    clue_lambda: float = Field(default=0.1, ge=0.0, description="lambda: weight of votes for a citizen")
    baseline: Literal["pre", "post", "off"] = Field(
        default="pre",
        description="role advantage estimation with the baselines before the step's update (pre), after it (post, "
        "the paper's algorithm 1), or without any, for ablation only (off)",
    )
    alpha: Decay = Field(default=0.95, description="decay of the roles' baselines, per step")
    invalid_clue_penalty: float = Field(
        default=0.5, ge=0.0, description="taken from the advantage of a refused clue, outside the zero-sum rewards"
    )
    correct: float = Field(default=1.0, description="reward of a vote for the spy")
    abstained: float = Field(default=-0.5, description="reward of n/a")
    wrong: float = Field(default=-1.0, description="reward of any other vote, also of one that cannot be read")


class SwitchingSettings(Settings):
    """Iterative-SPO: which stage trains."""

    mode: Mode = Field(
        default="iterative",
        description="iterative (the method); clue_only, decision_only, both, fixed:k (a switch every k steps)",
    )
    rho: Decay = Field(default=0.95, description="decay of the averages of accuracy and of n/a, per step")
    bias_corrected: bool = Field(
        default=True, description="divide the averages by 1 - rho^t; the paper's start at 0 and need 45 steps"
    )
    k_min: Count = Field(default=5, description="steps of a phase at least")
    patience: int | None = Field(
        default=20, ge=1, description="steps of a phase at most; null: for ever, as in the paper's algorithm"
    )
    accuracy_high: Fraction = Field(default=0.9, description="the clues train next from this accuracy of the votes on")
    abstention_low: Fraction = Field(default=0.1, description="... if the share of n/a is at most this")
    error_high: Fraction = Field(default=0.4, description="the decision trains next from this 1 - accuracy on")
    abstention_high: Fraction = Field(default=0.5, description="... or from this share of n/a on")


class VisionZeroSettings(Settings):
    """Vision-Zero's game and schedule."""

    players: int = Field(default=5, ge=3, le=9, description="seats, one of them the spy's")
    clue_rounds: Count = Field(default=2, description="clues of each player")
    spy_view: Literal["blank", "modified", "degraded"] = Field(
        default="blank",
        description="what the spy sees: a blank image, an edited twin (worlds, or *_original and *_modified files), "
        "or a damaged copy",
    )
    degradation: Literal["mask", "crop", "blur"] = Field(
        default="mask", description="how the copy of a degraded view is damaged"
    )
    voter: Literal["seated", "referee"] = Field(
        default="referee",
        description="seated: every citizen votes; referee: one voter without a seat who has the citizens' image",
    )
    votes: int = Field(default=8, ge=2, description="G: samples of each voter, a group of the decision stage")
    games_per_step: Count = Field(default=128, description="games behind an optimiser step")
    iterations: Count = Field(default=100, description="optimiser steps")
    eval_steps: Count = Field(
        default=20, description="steps between measurements; such a stretch is a round. iterations is a multiple of it"
    )
    eval_games: int = Field(
        default=100,
        ge=0,
        description="held-out games, with clues of the starting model, whose spy is looked for after every round; "
        "rounded up to a multiple of `players`, so that the spy sits in every seat equally often; 0 measures none",
    )
    prompt_pack: Literal["auto", "compact", "full"] = Field(
        default="auto",
        description="compact for the starter, full for instruction-tuned models; auto picks by the model",
    )
    max_clue_length: Count = Field(default=64, description="tokens of a clue at most, reasoning included")
    max_vote_length: Count = Field(default=64, description="tokens of a vote at most, reasoning included")
    max_answer_length: Count = Field(default=64, description="tokens of a held-out answer at most")
    rewards: RewardSettings = Field(default=RewardSettings(), description="what a game pays")
    switching: SwitchingSettings = Field(default=SwitchingSettings(), description="which stage trains")

    @model_validator(mode="after")
    def _whole_rounds(self) -> Self:
        if self.iterations % self.eval_steps:
            raise ValueError(f"`iterations` {self.iterations} is not a multiple of `eval_steps` {self.eval_steps}")
        return self
