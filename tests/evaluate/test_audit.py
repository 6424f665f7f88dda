"""The audit of questions and pseudo-labels, on rows whose truth is plain from the two pictures they are about."""

import pytest

from selfsight.evaluate.audit import BINS, audit_labels, audit_questions
from selfsight.evaluate.oracle import knows, true_label, verdict
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.scene import Chart, Scene, Thing
from selfsight.images.worlds.truth import scene_of
from selfsight.language.keys import answer_key

(LAYOUT,) = WorldSource("scenes", seed=0).take(0, 1)
(PIE,) = WorldSource("charts", seed=0).take(0, 1)
PHOTO = ImageRef("f-00112233aabbccdd", "/photos/cat.jpg")


def key(answer: str) -> str:
    found = answer_key(answer)
    assert found is not None
    return found


def test_the_two_pictures_are_what_the_rows_below_assume() -> None:
    assert scene_of(LAYOUT) == Scene(4, 4, (
        Thing("circle", "orange", "small", 0, 2), Thing("circle", "orange", "small", 0, 3),
        Thing("square", "red", "small", 1, 1), Thing("square", "orange", "small", 1, 2),
        Thing("square", "orange", "small", 2, 0),
    ))  # fmt: skip
    assert scene_of(PIE) == Chart("pie", ("red", "orange"), (20, 80))


# --- the oracle ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "question", "label", "family"),
    [
        (LAYOUT, "How many squares are there?", "num:3", "counting"),
        (LAYOUT, "What shape is the red object?", "text:square", "attribute"),
        (LAYOUT, "Is there a large object?", "no", "existence"),
        (PIE, "How much is the orange slice?", "num:80", "chart_value"),
        (PIE, "Which slice is the smallest?", "text:red", "chart_comparison"),
        (LAYOUT, "What colour is the square?", None, "attribute"),
        (LAYOUT, "How much is the orange slice?", None, "chart_value"),
        (PIE, "How many squares are there?", None, "counting"),
        (LAYOUT, "What is the mood of the image?", None, None),
    ],
)
def test_the_oracle_answers_in_the_keys_that_votes_use(
    image: ImageRef, question: str, label: str | None, family: str | None
) -> None:
    found = verdict(image, question)
    assert (found.key, found.family, found.well_posed) == (label, family, label is not None)
    assert true_label(image, question) == label
    assert found.reason


def test_an_answer_in_other_words_has_the_true_key() -> None:
    assert true_label(LAYOUT, "How many squares are there?") == key("three") == key(" 3. ")
    assert true_label(PIE, "How much is the red slice?") == key("20%")


def test_truth_is_known_about_worlds_alone() -> None:
    assert knows(LAYOUT) and knows(PIE) and not knows(PHOTO)


# --- questions -----------------------------------------------------------------------------------------------------

ASKED = [
    (LAYOUT, "How many squares are there?"),
    (LAYOUT, "How many red circles are there?"),
    (LAYOUT, "What colour is the square?"),  # three squares
    (LAYOUT, "How much is the orange slice?"),  # no chart
    (PIE, "Which slice is the largest?"),
    (PIE, "Why is the orange slice so large?"),  # outside the grammar
    (PHOTO, "How many squares are there?"),
]


def test_questions_are_counted_by_what_they_are_worth() -> None:
    assert audit_questions(ASKED) == {
        "questions": 6,
        "well_posed": 3 / 6,
        "in_grammar": 5 / 6,
        "families": {
            "attribute": 1 / 6, "chart_comparison": 1 / 6, "chart_value": 1 / 6, "counting": 2 / 6,
            "outside the grammar": 1 / 6,
        },
    }  # fmt: skip


def test_without_worlds_there_is_nothing_to_audit() -> None:
    nothing = {"questions": 0, "well_posed": None, "in_grammar": None, "families": {}}
    assert audit_questions([]) == audit_questions([(PHOTO, "Is there a cat?")]) == nothing
    empty = audit_labels([])
    assert empty == audit_labels([(PHOTO, "Is there a cat?", "yes", 0.9)])
    assert empty["labels"] == 0 and empty["label_accuracy"] is None and empty["calibration"] == []
    assert empty.keys() == audit_labels([(LAYOUT, "Is there a large object?", "no", 0.5)]).keys()


# --- labels --------------------------------------------------------------------------------------------------------

LABELS = [
    (LAYOUT, "How many squares are there?", key("3"), 0.5),  # right
    (LAYOUT, "How many squares are there?", key("2"), 0.5),  # wrong
    (LAYOUT, "How many red objects are there?", key("one"), 0.75),  # right, as a word
    (PIE, "Which slice is the largest?", key("Orange"), 0.75),  # right
    (PIE, "How much is the red slice?", key("30"), 1.0),  # wrong
    (LAYOUT, "What colour is the square?", key("orange"), 1.0),  # ill-posed: wrong, although most squares are
    (LAYOUT, "What is the mood of the image?", key("calm"), 0.3),  # outside the grammar: wrong
    (PHOTO, "Is there a cat?", key("yes"), 0.9),  # nothing is known
]


def test_an_ill_posed_question_makes_its_label_wrong() -> None:
    found = audit_labels(LABELS)
    assert (found["labels"], found["label_accuracy"], found["well_posed"]) == (7, 3 / 7, 5 / 7)
    assert found["label_accuracy_well_posed"] == 3 / 5
    assert found["families"] == {
        "attribute": {"share": 1 / 7, "label_accuracy": 0.0},
        "chart_comparison": {"share": 1 / 7, "label_accuracy": 1.0},
        "chart_value": {"share": 1 / 7, "label_accuracy": 0.0},
        "counting": {"share": 3 / 7, "label_accuracy": 2 / 3},
        "outside the grammar": {"share": 1 / 7, "label_accuracy": 0.0},
    }


def test_calibration_sets_accuracy_against_confidence() -> None:
    assert audit_labels(iter(LABELS))["calibration"] == [
        {"low": 0.25, "high": 0.4, "n": 1, "confidence": 0.3, "accuracy": 0.0},
        {"low": 0.4, "high": 0.55, "n": 2, "confidence": 0.5, "accuracy": 0.5},
        {"low": 0.7, "high": 0.85, "n": 2, "confidence": 0.75, "accuracy": 1.0},
        {"low": 0.85, "high": 1.0, "n": 2, "confidence": 1.0, "accuracy": 0.0},
    ]


@pytest.mark.parametrize("votes", [8, 10, 16, 20])
def test_every_confidence_of_a_vote_falls_into_one_bin(votes: int) -> None:
    confidences = [count / votes for count in range(1, votes + 1)]
    bins = audit_labels([(LAYOUT, "Is there a large object?", "no", c) for c in confidences])["calibration"]
    assert isinstance(bins, list)
    assert sum(one["n"] for one in bins) == votes
    assert all(one["low"] < one["confidence"] <= one["high"] for one in bins)
    assert all(one["accuracy"] == 1.0 for one in bins)


@pytest.mark.parametrize("edge", BINS[1:])
def test_an_edge_belongs_to_the_bin_below_it(edge: float) -> None:
    (one,) = audit_labels([(LAYOUT, "Is there a large object?", "no", edge)])["calibration"]  # type: ignore[misc]
    assert one["high"] == edge


def test_only_ill_posed_questions_have_no_accuracy_among_the_well_posed() -> None:
    found = audit_labels([(LAYOUT, "What colour is the square?", key("orange"), 0.5)])
    assert (found["label_accuracy"], found["label_accuracy_well_posed"], found["well_posed"]) == (0.0, None, 0.0)


def test_the_audit_reads_rows_and_changes_none() -> None:
    rows = list(LABELS)
    assert audit_labels(rows) == audit_labels(rows)
    assert rows == LABELS
