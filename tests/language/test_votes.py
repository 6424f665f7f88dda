"""Majority votes with abstentions."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.language import count_votes

KEYS = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12)


def test_abstentions_stay_in_the_denominator_and_are_never_a_class() -> None:
    votes = count_votes(["yes"] * 3 + ["no"] * 2 + [None] * 5)
    assert (votes.winner, votes.label, votes.confidence, votes.abstentions) == ("yes", "yes", 0.3, 5)
    assert votes.counts == {"yes": 3, "no": 2}


def test_five_abstentions_of_ten_do_not_look_like_one_half() -> None:
    assert count_votes([None] * 5 + ["a", "b", "c", "d", "e"]).confidence == 0.1


def test_a_tie_gives_no_label_but_keeps_its_confidence() -> None:
    votes = count_votes(["a", "a", "b", "b", "c"])
    assert votes.label is None and votes.confidence == 0.4 and votes.winner == "a"


def test_a_label_needs_two_votes() -> None:
    assert count_votes(["a", None, None]).label is None
    assert count_votes(["a", "a", None]).label == "a"


@pytest.mark.parametrize("keys", [[], [None], [None, None]])
def test_without_a_vote_there_is_no_winner_and_no_confidence(keys: list[None]) -> None:
    votes = count_votes(keys)
    assert (votes.m, votes.winner, votes.label, votes.winner_count, votes.confidence) == (
        len(keys),
        None,
        None,
        0,
        0,
    )


@settings(deadline=None)
@given(KEYS, st.randoms())
def test_the_result_does_not_depend_on_the_order_of_the_samples(keys: list[str | None], rng: random.Random) -> None:
    shuffled = list(keys)
    rng.shuffle(shuffled)
    first, second = count_votes(keys), count_votes(shuffled)
    assert list(first.counts.items()) == list(second.counts.items())
    assert (first.winner, first.label, first.confidence) == (second.winner, second.label, second.confidence)


@settings(deadline=None)
@given(KEYS)
def test_a_label_beats_every_other_key_strictly(keys: list[str | None]) -> None:
    votes = count_votes(keys)
    assert votes.abstentions + sum(votes.counts.values()) == votes.m == len(keys)
    rivals = [count for key, count in votes.counts.items() if key != votes.winner]
    has_label = votes.winner_count >= 2 and votes.winner_count > max(rivals, default=0)
    assert votes.label == (votes.winner if has_label else None)
