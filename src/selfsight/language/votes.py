"""Majority vote over answer keys.

An abstention (key None: unparsed, empty, refused) is never a class and never a label, yet it stays in the
denominator: five abstentions out of ten must not look like a confidence of one half. The result does not
depend on the order of the samples.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MIN_LABEL_VOTES = 2


@dataclass(frozen=True)
class Votes:
    """The vote on one question.

    `winner` is defined whenever someone voted (the first key in sorted order when several tie for first), so
    that `confidence` = `winner_count` / `m` exists for the reward. `label` is a training target and needs a
    strict plurality of at least two votes.
    """

    keys: tuple[str | None, ...]
    m: int
    winner: str | None
    winner_count: int
    confidence: float
    label: str | None
    abstentions: int
    counts: dict[str, int]


def count_votes(keys: Sequence[str | None]) -> Votes:
    """The vote over one question's `m` answers; `keys` may hold None and may be empty."""
    m = len(keys)
    counted = Counter(key for key in keys if key is not None)
    ranking = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    winner, winner_count = ranking[0] if ranking else (None, 0)
    runner_up = ranking[1][1] if len(ranking) > 1 else 0
    has_label = winner_count > runner_up and winner_count >= MIN_LABEL_VOTES
    return Votes(
        keys=tuple(keys),
        m=m,
        winner=winner,
        winner_count=winner_count,
        confidence=winner_count / m if m else 0.0,
        label=winner if has_label else None,
        abstentions=m - sum(counted.values()),
        counts=dict(ranking),
    )
