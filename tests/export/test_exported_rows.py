"""From a kept question to a row that a trainer reads."""

from dataclasses import replace
from typing import Any

import pytest

from selfsight.export.rows import answer_of, conversation, kept_row
from selfsight.images import ImageRef
from selfsight.language import count_votes
from selfsight.language.prompts import COMPACT, FULL
from selfsight.methods.visplay.records import Asked, Question
from selfsight.report.questions import QuestionRecord

ANSWERS = ("I see \\boxed{3}", "Three: \\boxed{three}", "two \\boxed{2}", "No box", "so \\boxed{3}", "\\boxed{3}")
KEYS = ("num:3", "num:3", "num:2", None, "num:3", "num:3")


def record(question: str = "How many?", answers: tuple[str, ...] = ANSWERS, taught: str = "num:3") -> QuestionRecord:
    asked = Asked(Question("r1/q", ImageRef("w-1", "w"), question, True, "", question), count_votes(KEYS), answers)
    return QuestionRecord(asked, 1, "curation", 0, 4 / 6, "num:3", True, "", "", taught, None, None)


def row(**changes: Any) -> dict[str, Any]:
    found = kept_row(record(**changes), COMPACT)
    assert found is not None
    return found


def test_the_solution_is_what_most_winning_votes_wrote_and_the_completion_the_first_of_them() -> None:
    found = row()
    assert found["solution"] == "3"
    assert found["completion"] == [{"role": "assistant", "content": "I see \\boxed{3}"}]
    assert found["prompt"] == [{"role": "user", "content": "How many?"}]
    assert found["votes"] == [{"key": "num:3", "count": 4}, {"key": "num:2", "count": 1}, {"key": None, "count": 1}]


def test_a_label_that_no_vote_gave_is_boxed() -> None:
    assert answer_of(record(taught="num:7"), "num:7", COMPACT) == ("7", None)
    assert row(taught="num:7")["completion"][0]["content"] == "\\boxed{7}"
    assert row(taught="yes")["solution"] == "yes"


def test_the_prompt_is_the_one_that_the_reasoner_was_given() -> None:
    found = kept_row(record(), FULL)
    assert found is not None
    assert found["prompt"] == [{"role": "user", "content": FULL.reasoner(ImageRef("w-1", "w"), "How many?").user}]


@pytest.mark.parametrize("smuggled", ["<|image_pad|>", "<image>", "</s>", "<AUDIO>"])
def test_no_special_token_gets_into_a_conversation(smuggled: str) -> None:
    assert row(answers=(f"{smuggled} \\boxed{{3}}", *ANSWERS[1:]))["completion"][0]["content"] == "\\boxed{3}"
    assert kept_row(record(question=f"How many {smuggled}?"), COMPACT) is None
    assert kept_row(record(taught=f"text:{smuggled}"), COMPACT) is None


def test_a_line_for_other_trainers_marks_the_images_place_once() -> None:
    line = conversation(row(), "train/images/a.png")
    assert line == {
        "messages": [
            {"role": "user", "content": "<image>How many?"},
            {"role": "assistant", "content": "I see \\boxed{3}"},
        ],
        "images": ["train/images/a.png"],
        "solution": "3",
    }


def test_an_audit_says_whether_the_label_that_was_taught_is_right() -> None:
    class Known:
        key, reason = "num:3", "seen"

    right = kept_row(replace(record(), truth=Known()), COMPACT)
    wrong = kept_row(replace(record(taught="num:2"), truth=Known()), COMPACT)
    assert right is not None
    assert wrong is not None
    assert (right["audit_truth"], right["audit_label_right"], wrong["audit_label_right"]) == ("num:3", True, False)
    assert row()["audit_label_right"] is None
