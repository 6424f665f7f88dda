"""Golden values and laws of the rewards, from the paper's formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.language import Votes, count_votes
from selfsight.methods.visplay.rewards import (
    answer_rewards,
    question_rewards,
    random_answer_rewards,
    uncertainty,
)

DIFFERENT = [
    "How many red circles are there?",
    "Is the star above the square?",
    "What color has the largest triangle?",
    "Which bar is tallest on this chart?",
    "Do both pies show equal shares?",
    "Where can one find a green hexagon?",
    "Are any shapes touching each other here?",
    "Name the shape left of everything else?",
]


def votes_of(winner_count: int, m: int = 10) -> Votes:
    """`winner_count` votes for one key, every other vote for a key of its own."""
    return count_votes(["same"] * winner_count + [f"other {index}" for index in range(m - winner_count)])


@pytest.mark.parametrize(
    ("k", "expected"), list(zip(range(1, 11), [0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4, 0.2, 0], strict=True))
)
def test_uncertainty_of_one_to_ten_votes_of_ten(k: int, expected: float) -> None:
    assert uncertainty(votes_of(k)) == expected


@pytest.mark.parametrize(("size", "reward"), [(1, 0.875), (2, 0.75), (4, 0.5), (8, 0.0)])
def test_reward_at_one_half_by_cluster_size(size: int, reward: float) -> None:
    texts = ["How many red circles are there?"] * size + DIFFERENT[1 : 9 - size]
    rewards = question_rewards([True] * 8, [votes_of(5)] * 8, texts)
    assert rewards[0].cluster_size == size
    assert rewards[0].reward == reward


def test_a_confident_question_alone_earns_little_and_a_certain_one_nothing() -> None:
    rewards = question_rewards([True] * 8, [votes_of(9), votes_of(10)] + [votes_of(5)] * 6, DIFFERENT)
    assert rewards[0].reward == pytest.approx(0.075, abs=1e-12)
    assert rewards[1].reward == 0.0


def test_four_equal_and_four_different_questions_have_shares_of_a_half_and_an_eighth() -> None:
    texts = [DIFFERENT[0]] * 4 + DIFFERENT[1:5]
    rewards = question_rewards([True] * 8, [votes_of(5)] * 8, texts)
    assert [reward.r_div for reward in rewards] == [0.5] * 4 + [0.125] * 4


def test_an_invalid_question_earns_exactly_nothing_and_stays_in_the_denominator() -> None:
    valid = [True, False, False, True]
    votes = [votes_of(5), None, None, votes_of(5)]
    texts = [DIFFERENT[0], DIFFERENT[0], "", DIFFERENT[0]]
    rewards = question_rewards(valid, votes, texts)
    assert [reward.reward for reward in rewards] == [0.5, 0.0, 0.0, 0.5]
    assert [reward.cluster for reward in rewards] == [0, None, None, 0]
    assert [reward.cluster_size for reward in rewards] == [2, 0, 0, 2]  # not 3: the invalid one is no member


def test_one_valid_question_in_a_group_works_and_so_does_none() -> None:
    lone = question_rewards([False] * 7 + [True], [None] * 7 + [votes_of(5)], [""] * 7 + DIFFERENT[:1])
    assert lone[-1].reward == 0.875
    none = question_rewards([False] * 8, [None] * 8, [""] * 8)
    assert [reward.reward for reward in none] == [0.0] * 8


def test_two_equal_two_word_questions_are_one_cluster() -> None:
    rewards = question_rewards([True, True], [votes_of(5)] * 2, ["Red circle?"] * 2)
    assert [reward.r_div for reward in rewards] == [1.0, 1.0]


def test_the_diversity_weight_scales_the_penalty_and_zero_switches_it_off() -> None:
    texts = [DIFFERENT[0]] * 8
    for weight, reward in [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (2.0, 0.0)]:
        assert question_rewards([True] * 8, [votes_of(5)] * 8, texts, weight)[0].reward == reward


def test_abstentions_lower_confidence_in_the_reward() -> None:
    votes = count_votes(["yes"] * 5 + [None] * 5)
    assert uncertainty(votes) == 1.0
    assert uncertainty(count_votes(["yes"] * 2 + [None] * 8)) == 0.4
    assert uncertainty(count_votes([None] * 10)) == 0.0
    assert uncertainty(count_votes([])) == 0.0


def test_a_valid_question_without_votes_is_a_mistake_that_is_named() -> None:
    with pytest.raises(ValueError, match=r"question 1 .*Is it red"):
        question_rewards([True, True], [votes_of(5), None], ["Is it blue?", "Is it red?"])
    with pytest.raises(ValueError, match="do not make one group"):
        question_rewards([True], [votes_of(5)], ["a b?", "c d?"])


def test_an_abstention_is_never_right() -> None:
    assert answer_rewards(["num:5", None, "num:6", "num:5"], "num:5") == (1.0, 0.0, 0.0, 1.0)


def test_guessing_among_four_options_is_rewarded_which_is_why_there_are_gates() -> None:
    rng = np.random.default_rng(0)
    votes = [count_votes([f"choice:{'ABCD'[k]}" for k in rng.integers(0, 4, 10)]) for _ in range(20_000)]
    assert np.mean([vote.confidence for vote in votes]) == pytest.approx(0.42, abs=0.01)
    assert np.mean([uncertainty(vote) for vote in votes]) == pytest.approx(0.80, abs=0.01)


def test_random_rewards_depend_on_the_seed_alone_and_carry_no_signal() -> None:
    assert random_answer_rewards(64, 5) == random_answer_rewards(64, 5) != random_answer_rewards(64, 6)
    assert set(random_answer_rewards(1000, 0)) == {0.0, 1.0}
    assert np.mean(random_answer_rewards(20_000, 1)) == pytest.approx(0.5, abs=0.02)


GROUPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 10), st.sampled_from([*DIFFERENT, "Red circle?", "Blue circle?"])),
    min_size=1,
    max_size=8,
)


@given(GROUPS, st.floats(0, 2), st.randoms())
@settings(max_examples=150, deadline=None)
def test_rewards_are_bounded_and_move_with_their_question(group, weight, rng) -> None:  # type: ignore[no-untyped-def]
    def rewards_of(items):  # type: ignore[no-untyped-def]
        votes = [votes_of(count) if valid else None for valid, count, _ in items]
        return question_rewards([item[0] for item in items], votes, [item[2] for item in items], weight)

    rewards = rewards_of(group)
    assert all(0 <= reward.reward <= 1 for reward in rewards)
    assert all(reward.reward == 0 for reward, item in zip(rewards, group, strict=True) if not item[0])
    order = list(range(len(group)))
    rng.shuffle(order)
    shuffled = rewards_of([group[index] for index in order])
    assert [shuffled[at].reward for at in range(len(order))] == [rewards[index].reward for index in order]
