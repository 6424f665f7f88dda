"""Wins, losses and what they amount to, against values that were worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_comparisons import answered
from selfsight.errors import SelfsightError
from selfsight.evaluate.answers import Answered
from selfsight.evaluate.paired import OUTCOMES, Pair, figures, greedy_key, pair_up, question_records
from selfsight.evaluate.questions import HeldOutQuestion
from selfsight.images import ImageRef


def question(number: int, *, family: str = "counting", image: int | None = None) -> HeldOutQuestion:
    ref = ImageRef(f"w-mixed-heldout-0-{number if image is None else image}", "world:mixed")
    return HeldOutQuestion(f"h-{number}", ref, f"How many, {number}?", family, "num:3")


def pairs_of(*outcomes: tuple[str, str], pictures: int | None = None) -> tuple[Pair, ...]:
    asked = [question(i, image=None if pictures is None else i % pictures) for i in range(len(outcomes))]
    return pair_up(
        [answered(q, a) for q, (a, _) in zip(asked, outcomes, strict=True)],
        [answered(q, b) for q, (_, b) in zip(asked, outcomes, strict=True)],
    )


BY_HAND = (
    [("wrong", "right")] * 4 + [("unreadable", "right")] * 2 + [("right", "wrong")] + [("right", "unreadable")] * 2
    + [("right", "right")] * 5 + [("wrong", "wrong")] * 3 + [("unreadable", "wrong"), ("unreadable", "unreadable")]
)  # fmt: skip


def test_wins_losses_and_ties_are_counted_with_those_of_form_apart() -> None:
    found = figures(pairs_of(*BY_HAND))
    assert found["n"] == 19
    assert found["wins"] == {"all": 6, "answers": 4, "form": 2}
    assert found["losses"] == {"all": 3, "answers": 1, "form": 2}
    assert found["ties"] == {"all": 10, "both_right": 5, "same_wrong_answer": 3}
    assert found["outcomes"] == {
        "right": {"right": 5, "wrong": 1, "unreadable": 2},
        "wrong": {"right": 4, "wrong": 3, "unreadable": 0},
        "unreadable": {"right": 2, "wrong": 1, "unreadable": 1},
    }


def test_the_p_value_is_mcnemars_by_hand() -> None:
    # 6 wins and 3 losses: 2 * (1 + 9 + 36 + 84) / 2^9
    assert figures(pairs_of(*BY_HAND))["mcnemar"] == {"p": 2 * 130 / 512}
    # 7 and 1: 2 * (1 + 8) / 2^8
    assert figures(pairs_of(*[("wrong", "right")] * 7, ("right", "wrong")))["mcnemar"] == {"p": 18 / 256}


def test_the_change_is_the_sum_of_answers_and_form() -> None:
    found = figures(pairs_of(*BY_HAND))
    assert found["change"]["accuracy"] == pytest.approx(3 / 19)  # type: ignore[index]
    assert found["parts"]["answers"]["difference"] == pytest.approx(3 / 19)  # type: ignore[index]
    assert found["parts"]["form"] == {"difference": 0.0, "ci95": pytest.approx([-0.22861484, 0.22861484])}  # type: ignore[index]


@given(st.lists(st.tuples(*[st.sampled_from(OUTCOMES)] * 2), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_every_question_is_counted_once_and_both_parts_add_up(outcomes: list[tuple[str, str]]) -> None:
    found: dict[str, dict[str, float]] = figures(pairs_of(*outcomes))  # type: ignore[assignment]
    assert found["wins"]["all"] + found["losses"]["all"] + found["ties"]["all"] == len(outcomes)
    parts: dict[str, dict[str, float]] = found["parts"]  # type: ignore[assignment]
    total = parts["answers"]["difference"] + parts["form"]["difference"]
    assert total == pytest.approx(found["change"]["accuracy"])
    assert found["change"]["accuracy"] == pytest.approx((found["wins"]["all"] - found["losses"]["all"]) / len(outcomes))


def test_the_interval_is_near_the_distribution_of_resamples_which_is_known() -> None:
    """100 questions, 20 wins, 5 losses: a resample's sum is that of 100 draws of +1, 0, -1, convolved here exactly."""
    outcomes = [("wrong", "right")] * 20 + [("right", "wrong")] * 5 + [("right", "right")] * 75
    found = figures(pairs_of(*outcomes))
    chances = np.array([1.0])
    for _ in range(100):
        chances = np.convolve(chances, [0.05, 0.75, 0.20])  # index 0 is a sum of -100
    cumulated = np.cumsum(chances)
    exact = [(int(np.searchsorted(cumulated, level)) - 100) / 100 for level in (0.025, 0.975)]
    assert exact == [0.06, 0.24]
    assert found["change"]["ci95"] == pytest.approx(exact, abs=0.0101)  # type: ignore[index]
    # By hand: (21 - 6) / 102 +- z sqrt((27 / 102 - (15 / 102)^2) / 102).
    assert found["change"]["ci95"] == pytest.approx([0.0513785853, 0.2427390618])  # type: ignore[index]
    assert figures(pairs_of(*outcomes)) == found


def test_questions_about_one_picture_count_together() -> None:
    outcomes = [("wrong", "right"), ("right", "wrong")] * 10
    alone, together = figures(pairs_of(*outcomes)), figures(pairs_of(*outcomes, pictures=2))
    assert (alone["images"], together["images"]) == (20, 2)
    # Two clusters of 10 differences, all of them +1 or all -1, and one of each made up: z sqrt(4 * 10^2) / 40.
    assert together["change"]["ci95"] == pytest.approx([-0.979982, 0.979982])  # type: ignore[index]
    assert alone["change"]["ci95"][0] > -0.6  # type: ignore[index]


def test_families_have_figures_of_their_own() -> None:
    asked = [question(i, family="counting" if i < 3 else "colour") for i in range(5)]
    a = [answered(q, "wrong") for q in asked]
    b = [answered(q, "right" if q.family == "counting" else "unreadable", right_samples=6) for q in asked]
    found = figures(pair_up(a, b))["families"]
    assert list(found) == ["colour", "counting"]  # type: ignore[call-overload]
    counting, colour = found["counting"], found["colour"]  # type: ignore[index]
    assert (counting["n"], counting["wins"]["all"], counting["a"]["accuracy"], counting["b"]["accuracy"]) == (
        3,
        3,
        0,
        1,
    )
    # Three wins of three are no proof, by the test and by the interval.
    assert (counting["change"]["accuracy"], counting["p"]) == (1.0, 0.25)
    assert counting["change"]["ci95"] == pytest.approx([-0.10121803, 1.0])
    assert (colour["change"]["accuracy"], colour["wins"]["all"], colour["losses"]["all"]) == (0.0, 0, 0)
    assert colour["change"]["sampled"] == pytest.approx(0.25)


def test_the_biggest_regression_comes_first() -> None:
    asked = [question(i) for i in range(4)]
    a = [answered(asked[0], "right", right_samples=5), answered(asked[1], "right", right_samples=8),
         answered(asked[2], "wrong", right_samples=4), answered(asked[3], "wrong", right_samples=0)]  # fmt: skip
    b = [answered(asked[0], "wrong", right_samples=4), answered(asked[1], "unreadable", right_samples=0),
         answered(asked[2], "wrong", right_samples=2), answered(asked[3], "right", right_samples=6)]  # fmt: skip
    records = question_records(pair_up(a, b), {q.id: q.image for q in asked})
    assert [record["id"] for record in records] == ["h-1", "h-0", "h-2", "h-3"]
    assert [record["drop"] for record in records] == [1.0, 0.5625, 0.125, -0.875]
    first = records[0]
    assert (first["result"], first["by_form"]) == ("loss", True)
    assert first["b"] == {
        "outcome": "unreadable", "key": None, "text": "I do not know", "sampled": 0.0,
        "sampled_keys": ["text:no such answer"] * 7 + [None],
    }  # fmt: skip


def test_a_wrong_answers_key_is_read_from_its_text() -> None:
    one = answered(question(0), "wrong")
    assert greedy_key(one) == "text:no such answer"
    assert greedy_key(answered(question(0), "right")) == "num:3"
    assert greedy_key(answered(question(0), "unreadable")) is None


def test_the_first_question_that_differs_is_named() -> None:
    mine = [answered(question(i), "right") for i in range(3)]
    theirs: list[Answered] = [answered(question(i if i < 2 else 7), "right") for i in range(3)]
    with pytest.raises(SelfsightError, match="question 2 is not the same for both: its id is 'h-2' for A and 'h-7'"):
        pair_up(mine, theirs)
    with pytest.raises(SelfsightError, match="A was asked 3 questions and B 2"):
        pair_up(mine, mine[:2])
    with pytest.raises(SelfsightError, match="no question to compare on"):
        pair_up([], [])
