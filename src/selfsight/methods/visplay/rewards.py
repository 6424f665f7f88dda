"""Rewards of the questioner and the reasoner, as pure functions (VisPlay, arXiv 2511.15661).

    c     = votes of the winning answer / m           abstentions stay in the denominator
    r_unc = 1 - |2c - 1|                              peaks where the reasoner is torn, c = 1/2
    r_div = lambda * |C_k| / G                        C_k: the question's cluster among its image's G
    r     = 1[valid] * max(0, r_unc - r_div)          an invalid question earns exactly 0

A group is the G questions of one image; questions of other images never enter it. Invalid questions are not
clustered but stay in the denominator G.

Left out: the authors' batch-wide diversity term (their program divides by 4096, the paper by G).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfsight.language import Votes, diversity_clusters


@dataclass(frozen=True)
class QuestionReward:
    """Every term of one question's reward, so that a report can print the arithmetic.

    `cluster` numbers the clusters of the group by first appearance; None for an invalid question, whose terms
    are all 0.
    """

    valid: bool
    confidence: float
    r_unc: float
    cluster: int | None
    cluster_size: int
    r_div: float
    reward: float


def uncertainty(votes: Votes) -> float:
    """1 - |2c - 1| from integer counts, exactly 0 without a vote."""
    return (votes.m - abs(2 * votes.winner_count - votes.m)) / votes.m if votes.m else 0.0


def question_rewards(
    valid: Sequence[bool],
    votes: Sequence[Votes | None],
    texts: Sequence[str],
    diversity_weight: float = 1.0,
) -> tuple[QuestionReward, ...]:
    """Rewards of one image's G questions, in order.

    `votes` holds the reasoner's vote for each valid question (an invalid one is never asked: None).
    `diversity_weight` is lambda. Raises ValueError when the three sequences disagree.
    """
    group_size = len(valid)
    if not group_size == len(votes) == len(texts):
        raise ValueError(f"{group_size} flags, {len(votes)} votes and {len(texts)} texts do not make one group")
    asked = [index for index in range(group_size) if valid[index]]
    clusters = dict(zip(asked, diversity_clusters([texts[index] for index in asked]), strict=True))
    members = list(clusters.values())
    rewards = []
    for index in range(group_size):
        vote = votes[index]
        if not valid[index]:
            rewards.append(QuestionReward(False, 0.0, 0.0, None, 0, 0.0, 0.0))
            continue
        if vote is None:
            raise ValueError(f"question {index} ({texts[index]!r}) is valid but carries no votes")
        size = members.count(clusters[index])
        r_unc = uncertainty(vote)
        r_div = diversity_weight * size / group_size
        rewards.append(
            QuestionReward(True, vote.confidence, r_unc, clusters[index], size, r_div, max(0.0, r_unc - r_div))
        )
    return tuple(rewards)


def answer_rewards(keys: Sequence[str | None], label: str) -> tuple[float, ...]:
    """1 where an answer's key is the label, else 0; an abstention is never right."""
    return tuple(1.0 if key is not None and key == label else 0.0 for key in keys)


def random_answer_rewards(count: int, seed: int) -> tuple[float, ...]:
    """The random-reward control for answers: 0 or 1 with equal chance, decided by the seed alone."""
    return tuple(np.random.default_rng(seed).integers(0, 2, count).astype(float).tolist())
