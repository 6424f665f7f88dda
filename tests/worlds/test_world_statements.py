"""Statements: what is said is what is read, and it holds exactly where the question's true answer is the claim."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.images.worlds.ask import ask, families_for
from selfsight.images.worlds.grammar import Described, Query
from selfsight.images.worlds.scene import COLOURS, Chart, Scene, Thing
from selfsight.images.worlds.source import picture_rng, sample_picture
from selfsight.images.worlds.statements import Statement, assert_that, holds, read_statement
from selfsight.images.worlds.truth import truth

SCENE = Scene(4, 4, (
    Thing("circle", "red", "small", 0, 0), Thing("star", "blue", "large", 0, 3), Thing("circle", "red", "large", 2, 1),
))  # fmt: skip
PIE = Chart("pie", ("yellow", "red", "blue"), (50, 20, 30))


@pytest.mark.parametrize(
    ("sentence", "true"),
    [
        ("There is a red circle.", True),
        ("There is a large star.", True),
        ("There is an object.", True),
        ("There is a green circle.", False),
        ("There is no green circle.", True),
        ("There is no red object.", False),
        ("There are 2 red circles.", True),
        ("There are 3 objects.", True),
        ("There are 1 circles.", False),
        ("The blue star is right of the small circle.", True),
        ("The blue star is left of the small circle.", False),
        ("The blue star is right of the red circle.", False),  # there are two
        ("The red slice is 20.", False),  # no chart
    ],
)
def test_a_statement_about_a_scene_holds_or_not(sentence: str, true: bool) -> None:
    statement = read_statement(sentence)
    assert statement is not None and assert_that(statement) == sentence
    assert holds(statement, SCENE) is true


@pytest.mark.parametrize(
    ("sentence", "true"),
    [
        ("The red slice is 20.", True),
        ("The red slice is 30.", False),
        ("The green slice is 20.", False),
        ("The red bar is 20.", False),
        ("The largest slice is yellow.", True),
        ("The smallest slice is blue.", False),
        ("The blue slice is larger than the red slice.", True),
        ("The red slice is larger than the blue slice.", False),
        ("There is a red circle.", False),
    ],
)
def test_a_statement_about_a_chart_holds_or_not(sentence: str, true: bool) -> None:
    statement = read_statement(sentence)
    assert statement is not None and assert_that(statement) == sentence
    assert holds(statement, PIE) is true


@settings(deadline=None, max_examples=200)
@given(index=st.integers(0, 10_000), draw=st.integers(0, 10_000))
def test_every_well_posed_question_that_can_be_asserted_holds_with_its_answer_alone(index: int, draw: int) -> None:
    picture = sample_picture("mixed", picture_rng("mixed", "build", 0, index))
    rng = np.random.default_rng(draw)
    for family in families_for(picture):
        asked = ask(picture, family, rng)
        if asked is None or asked[0].kind not in ("exists", "count", "relation", "value", "extreme", "greater"):
            continue
        query, answer = asked
        if query.kind in ("relation", "greater") and answer == "no":
            with pytest.raises(ValueError, match="no sentence claims 'no'"):
                assert_that(Statement(query, answer))
            continue
        statement = Statement(query, answer)
        assert read_statement(assert_that(statement)) == statement
        assert holds(statement, picture)
        other = {"yes": "no", "no": "yes"}.get(answer) or (
            str(int(answer) + 1) if answer.isdigit() else next(c for c in COLOURS if c != answer)
        )
        assert not holds(replace(statement, claim=other), picture)


@pytest.mark.parametrize(
    "sentence",
    [
        "", "There is a red circle", "there is a red dog.", "There are many circles.", "The red bar is large.",
        "The largest slice is circle.", "There is no no circle.", "Player 2: There is a red circle.",
        "There is a red circle. There is a blue star.", "There is a " + "red " * 80 + "circle.", "The red is 3.",
    ],
)  # fmt: skip
def test_other_sentences_are_not_statements(sentence: str) -> None:
    assert read_statement(sentence) is None


def test_case_and_spaces_do_not_matter() -> None:
    assert read_statement("  there  is a RED circle. ") == Statement(
        Query("exists", Described(None, "red", "circle")), "yes"
    )


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=300))
def test_reading_is_total(text: str) -> None:
    read_statement(text)


def test_what_is_read_is_the_question_with_the_same_truth() -> None:
    statement = read_statement("There are 2 red circles.")
    assert statement is not None
    assert truth("How many red circles are there?", SCENE).answer == statement.claim
