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


@pytest.mark.parametrize(
    "text",
    [
        "There is no image attached", "There is no picture provided.", "I don't see any image here",
        "There are no details", "There is no visible information", "No, I cannot determine this from the image",
        "The answer cannot be found", "I'm sorry, but the image is unclear", "illegible text",
    ],
)  # fmt: skip
@pytest.mark.parametrize("question", [None, "Is there a dog?", "How many dogs are there?"])
def test_missing_images_and_details_are_no_labels(text: str, question: str | None) -> None:
    assert answer_key(text, question) is None


@pytest.mark.parametrize(
    ("text", "question", "key"),
    [
        ("There is no picture on the wall", "Is there a picture on the wall?", "no"),
        ("There are no dogs", "How many dogs are there?", "num:0"),
        ("No, there is no figure on the table", "Is there a figure on the table?", "no"),
    ],
)
def test_things_that_are_not_in_the_image_are_answers(text: str, question: str, key: str) -> None:
    assert answer_key(text, question) == key


@pytest.mark.parametrize("text", ["e<B", "e≤r", "\\pi<x", "\\sqrt{2}x \\le y", "e^x<2", "i<x", "x+e=y", "\\pi x=y+e"])
def test_relations_of_irrational_numbers_have_a_key(text: str) -> None:
    assert answer_key(text) is not None


@pytest.mark.parametrize(
    ("one", "other"), [("-f(x)", "f(x)"), ("a+b", "ab"), ("A:B", "A"), ("A minor", "minor"), ("A flat", "flat")]
)
def test_signs_and_letters_that_mean_something_stay(one: str, other: str) -> None:
    assert answer_key(one) != answer_key(other)


def test_an_article_before_a_minor_issue_and_a_bullet_before_a_word_add_nothing() -> None:
    assert answer_key("a minor issue") == answer_key("minor issue")
    assert answer_key("- red car") == answer_key("red car")
