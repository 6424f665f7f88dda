"""The records that cross the door of this room: requests, rollouts, groups and what a step reports."""

from dataclasses import dataclass

import numpy as np

from selfsight.language.prompts import Prompt


@dataclass(frozen=True)
class SampleRequest:
    """`n` samples of one prompt; sample k draws its randomness from the stream (seed, k) alone."""

    id: str
    prompt: Prompt
    n: int
    seed: int


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. There is no top_p or top_k: the log-probs would need a correction in learning."""

    temperature: float = 1.0
    max_completion_length: int = 64
    greedy: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}; use greedy=True for argmax")
        if self.max_completion_length < 1:
            raise ValueError(f"max_completion_length must be at least 1, got {self.max_completion_length}")


@dataclass(frozen=True, eq=False)
class Rollout:
    """One sample.

    `token_ids` (T,) int64 include the end-of-sequence token when it was sampled (`finished`).
    `logprobs` (T,) float32 are those of the sampled tokens under the distribution sampled from: placeholder
    tokens banned, logits divided by `temperature`. A greedy rollout has temperature 0 and carries the
    log-probs at temperature 1; it cannot be learned from.
    """

    request_id: str
    index: int
    token_ids: np.ndarray
    logprobs: np.ndarray
    text: str
    finished: bool
    weight_version: int
    temperature: float = 1.0


@dataclass(frozen=True, eq=False)
class Group:
    """The rollouts of one prompt; the unit of GRPO.

    Each rollout has a reward, which the learner normalises over the group, or else an advantage, which it takes as it
    is (a player's clue is one of a kind: its baseline is that of the role, see `methods.vision_zero.scoring`).
    """

    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    rewards: np.ndarray | None = None
    advantages: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.rewards is None) == (self.advantages is None):
            raise ValueError("a group has either rewards or advantages")
        for name, values in (("rewards", self.rewards), ("advantages", self.advantages)):
            if values is not None and len(self.rollouts) != len(values):
                raise ValueError(f"{len(self.rollouts)} rollouts but {len(values)} {name} in one group")


@dataclass(frozen=True)
class LearnStats:
    """What one `learn` call saw; means are over the tokens that were scored.

    `mismatch_kl` is the k3 estimate of KL(sampler || learner): zero up to rounding on the first update of a
    batch, and the first thing to look at when sampler and learner drift apart; `importance_capped` is the share of
    tokens whose importance weight was cut for it. These two, `entropy`, `ratio_max` and `clip_fraction` skip groups
    without any learning signal (see `Learner.learn`), which are counted as `zero_variance_groups` (all advantages
    are 0).
    """

    loss: float
    kl: float
    kl_anchor: float
    clip_fraction: float
    entropy: float
    ratio_max: float
    mismatch_kl: float
    importance_capped: float
    groups: int
    zero_variance_groups: int
    tokens: int
    tokens_scored: int
    tokens_per_second: float
    finite: bool


@dataclass(frozen=True)
class StepStats:
    """What one optimiser step did. `skipped` steps leave the weights untouched."""

    grad_norm: float
    learning_rate: float
    skipped: bool
    skipped_total: int
    weight_version: int
