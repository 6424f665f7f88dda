"""Ballots: what a voter wrote, read as an accusation, an abstention (n/a) or an invalid vote.

Reading is total: every string is exactly one of the three. Invalid is not n/a: an abstention is a choice with a reward
of its own, an invalid vote counts for nobody and scores as wrong. The vote is what the last balanced box or <answer>
element holds, or without either the whole completion:

    3   Player 3   PLAYER_3   player3   \\text{Player 3}   3.          an accusation
    N/A   NA   n/a.   \\text{N/A}                                      an abstention
    1 or 2   -1   3/4   0   n + 1   03   (nothing)   prose   cut off    invalid
    a seated citizen's own number                                      invalid

Two boxes: the last one. Left out: looking for a number inside a longer text, since "not 3" would be a vote for 3.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from selfsight.language import Reading
from selfsight.language.folding import fold_characters
from selfsight.language.parse import last_box, read_field

MAX_VOTE_CHARS: Final = 64

_SEAT: Final = re.compile(r"(?:player[\s_#]{0,3})?([1-9][0-9]?)", re.IGNORECASE | re.ASCII)
_ABSTENTION: Final = re.compile(r"n\s?/\s?a|na", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Vote:
    """`seat` is the accused of an accusation, else None; `reason` says why a vote is invalid."""

    kind: Literal["accusation", "abstention", "invalid"]
    seat: int | None = None
    reason: str = ""


ABSTENTION: Final = Vote("abstention")


def read_vote(completion: str, *, players: int, voter: int | None = None, finished: bool = True) -> Vote:
    """The vote in a completion, among seats 1..`players`; `voter` is a seated citizen's own seat."""
    if not finished:
        return _invalid("the completion was cut off")
    field = read_field(completion)
    if not isinstance(field, Reading):
        content = field.text[: MAX_VOTE_CHARS + 1]
        while (inner := last_box(content)) is not None:  # each step is strictly shorter
            content = inner
    elif len(completion) <= MAX_VOTE_CHARS:
        content = completion
    else:
        return _invalid(field.reason)
    if len(content) > MAX_VOTE_CHARS:
        return _invalid(f"longer than {MAX_VOTE_CHARS} characters")
    vote = fold_characters(content.replace("\\_", "_"))
    if not vote:
        return _invalid("empty vote")
    if _ABSTENTION.fullmatch(vote):
        return ABSTENTION
    found = _SEAT.fullmatch(vote)
    if found is None:
        return _invalid(f"{vote!r} names no one player")
    seat = int(found[1])
    if seat > players:
        return _invalid(f"there is no player {seat}")
    if seat == voter:
        return _invalid(f"player {seat} voted for itself")
    return Vote("accusation", seat)


def _invalid(reason: str) -> Vote:
    return Vote("invalid", None, reason)
