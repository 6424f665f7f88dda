"""Answers as chat models write them: initials, reasons in other languages, counts in a sentence, refusals by shape."""

import pytest

from selfsight.language import answer_key

CIRCLES = "How many circles are there?"
DOG = "Is there a dog in the image?"


@pytest.mark.parametrize(
    "answer",
    [
        "There is no image",
        "There is no image provided.",
        "There isn't an image attached",
        "There isn't enough detail to say",
        "There aren't enough details",
        "The label is unreadable",
        "The street sign is illegible.",
        "The text is too blurry to read",
        "[Not visible]",
        "does not say",
    ],
)
@pytest.mark.parametrize("question", [None, DOG, CIRCLES])
def test_refusal_is_never_no(answer: str, question: str | None) -> None:
    assert answer_key(answer, question) is None


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("No, the label is not readable", "Is the label readable?"),
        ("There is no dog", DOG),
        ("There isn't a dog", DOG),
        ("No visible dog", DOG),
    ],
)
def test_denial_is_no_refusal(answer: str, question: str) -> None:
    assert answer_key(answer, question) == answer_key("no", question)


def test_english_answer_is_no_spanish_refusal() -> None:
    assert answer_key("No visible damage") is not None
    assert answer_key("No visible en la imagen") is None


@pytest.mark.parametrize(
    "answer",
    [
        "exactly 3 circles", "There are exactly 3 circles.", "only three circles", "a total of 3 circles",
        "There are a total of 3", "three (3)", "three (3) circles", "The image shows 3 circles", "just 3",
    ],
)  # fmt: skip
def test_count_in_a_sentence_is_the_count(answer: str) -> None:
    assert answer_key(answer, CIRCLES) == "num:3"


def test_number_written_twice_must_agree() -> None:
    assert answer_key("three (4)", CIRCLES) not in ("num:3", "num:4")


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("是的，有一只狗", "yes"), ("没有，图中是一只猫。", "no"), ("Ja, ein Hund", "yes"), ("Sí, hay un perro", "yes"),
        ("Нет, это кошка", "no"), ("はい、犬がいます", "yes"),
    ],
)  # fmt: skip
def test_word_with_reason_in_any_language(answer: str, key: str) -> None:
    assert answer_key(answer, DOG) == key


@pytest.mark.parametrize("answer", ["对，错", "ja, nein", "是，不", "oui, non"])
def test_word_taken_back_is_neither(answer: str) -> None:
    assert answer_key(answer) not in ("yes", "no")


def test_initial_a_is_no_article() -> None:
    assert answer_key("A. Lincoln") != answer_key("Lincoln")
    assert answer_key("J. K. Rowling") == answer_key("J.K. Rowling")


def test_letter_with_chinese_text_is_the_letter() -> None:
    assert answer_key("B、蓝色") == answer_key("B") == answer_key("B，蓝色")


def test_chemistry_command_is_only_look() -> None:
    assert answer_key("\\ce{H2O}") == answer_key("H2O") != answer_key("\\ce{H2O2}")
