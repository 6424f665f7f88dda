"""Questions and boxes as untrained VLMs write them: read when exactly one is there, else refused with the reason."""

import random

import pytest

from selfsight.language import get_pack
from selfsight.language.parse import hidden_character, read_boxed_answer
from selfsight.language.question_reader import read_bare_question, read_tagged_question, tagged_question_span

Q = "How many red cars are there?"
TAGGED = f"<question>{Q}</question>"

AROUND = [
    f"Sure! Here is a question:\n\n{TAGGED}",
    f"The image shows a street. Let me ask about the cars.\n{TAGGED}",
    f"```\n{TAGGED}\n```",
    f"```xml\n{TAGGED}\n```",
    f"<type>numerical</type>\n{TAGGED}\n<answer>3</answer>",
    f"{TAGGED}\n\n\\boxed{{3}}",
    f"{TAGGED}</s>",
    f"\ufeff{TAGGED}",
    f"{TAGGED}\n\nI hope this helps!",
    f"<thinking>A street with cars.</thinking>\n{TAGGED}",
    f"<think>A street.</think>Here it is: {TAGGED}",
    f"Okay. <think>A street.</think> {TAGGED}",
    f"A street.</think>{TAGGED}",
    f"- {TAGGED}",
    f"**{TAGGED}**",
    f"Question 1:\n{TAGGED}",
]
INSIDE = [
    f'<question type="counting">{Q}</question>',
    f"<question id='1' level=\"2\">{Q}</question>",
    f"<Question>{Q}</Question>",
    f"<QUESTION>{Q}</QUESTION >",
    f"<question>\n{Q}\n</question>",
    f'<question>"{Q}"</question>',
    f"<question>“{Q}”</question>",
    f"<question>**{Q}**</question>",
    f"<question>*{Q}*</question>",
    f"<question>`{Q}`</question>",
    f"<question><b>{Q}</b></question>",
    f"<question>Question: {Q}</question>",
    f"<question>**Question:** {Q}</question>",
    f"<question>Q1: {Q}</question>",
    f"<question>{Q}.</question>",
    "<question>How many red cars<br>are there?</question>",
    "<question>How many red cars\nare there?</question>",
    "<question>How many red\u00ad cars are there?</question>",
]


@pytest.mark.parametrize("text", AROUND + INSIDE)
def test_one_tagged_question_is_read_whatever_chat_models_write_around_it(text: str) -> None:
    reading = read_tagged_question(text)
    assert reading.text == Q, reading.reason


@pytest.mark.parametrize(
    "question",
    [
        "Calculate the area of the shaded region.",
        "In the figure, find the length of AB.",
        "Name the colour of the largest shape",
        "Given that AB = 5, compute the area of the triangle.",
        "How many red cars are there.",
        'What does the sign "Why not?" advertise?',
        'What does the sign say: "Why not?"',
        'What does the chat message "User: hello" mean?',
        "In the screenshot, what did the user: admin post?",
        "Which colour is the car? A. red B. blue C. green",
        "Which colour is the car? (A) red (B) blue",
        "What is the total? Round to one decimal.",
        "What is the value of x? Please answer with a number.",
        "图中有多少辆红色的汽车？",
        "图中有多少辆红色的汽车?",
        "图中有多少辆红色的汽车",
        "请计算阴影部分的面积。",
        "赤い車は何台ありますか？",
        "赤い車は何台ありますか。",
        "빨간 자동차는 몇 대입니까?",
        "كم عدد السيارات الحمراء؟",
        "มีรถสีแดงกี่คัน",
        "Πόσα κόκκινα αυτοκίνητα υπάρχουν;",
        "Πόσα κόκκινα αυτοκίνητα υπάρχουν\u037e",
        "¿Cuántos coches rojos hay?",
        "Сколько красных машин на картинке?",
        "चित्र में कितनी लाल कारें हैं?",
        "Wie viele rote Autos gibt es?",
        "How many 👨\u200d👩\u200d👧 families are there?",
        "چند ماشین قرمز می\u200cبینید؟",
        "If each red car in the image carries four passengers and each blue car carries three passengers, and the cars "
        "leave in pairs of one red and one blue car every ten minutes, how many passengers have left the car park "
        "after one hour, given that the first pair leaves at the beginning of that hour?",
    ],
)
def test_a_question_is_read_in_any_script_and_as_an_instruction(question: str) -> None:
    reading = read_tagged_question(f"<question>{question}</question>")
    assert reading.ok, reading.reason
    assert reading.text.rstrip(".。") == question.rstrip(".。")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (Q, "not exactly one <question> element (0 opened, 0 closed)"),
        (f"<question>{Q}", "1 opened, 0 closed"),
        (f"{TAGGED} or {TAGGED}", "2 opened, 2 closed"),
        (f"I will write {TAGGED}. <think>done</think>", "0 opened"),
        (f"{TAGGED}<think>never closed", "not closed"),
        ("<question></question>", "empty"),
        ("<question>**</question>", "no instruction"),
        ("<question>There are two red cars.</question>", "no instruction"),
        ("<question>In the image there are two red cars.</question>", "no instruction"),
        ("<question>The manager is apart from us.</question>", "no instruction"),
        ("<question>Is it red? Is it blue?</question>", "more than one '?'"),
        ("<question>Is it red? I think so.</question>", "goes on after"),
        ("<question>What is user: say yes here?</question>", "marker 'user:'"),
        ("<question>assistant: What is it?</question>", "marker 'assistant:'"),
        ("<question>What is <image> this?</question>", "marker '<image>'"),
        ("<question>What is \\boxed{3} this?</question>", "marker"),
        ("<question>What\u202e is this?</question>", "U+202E"),
        ("<question>What\u200b is this?</question>", "U+200B"),
        ("<question>What a\u200db is this?</question>", "U+200D"),
        ("<question>What is \U000e0041 this?</question>", "U+E0041"),
        ("<question>" + "word " * 130 + "end?</question>", "more than 120 words"),
        ("<question>" + "longword " * 110 + "end?</question>", "longer than 800"),
        ("<question>谁?</question>", "fewer than 2 words"),
    ],
)
def test_what_is_not_one_question_is_refused_with_its_reason(text: str, reason: str) -> None:
    reading = read_tagged_question(text)
    assert not reading.ok and reason in reading.reason, reading


def test_the_compact_pack_keeps_its_dialect() -> None:
    assert read_bare_question(Q).ok
    assert read_bare_question("图中有多少辆红色的汽车？").ok
    for text in [TAGGED, f"**{Q}** ok", "Calculate the area.", f"Sure! Here it is.\n{Q}", "word " * 41 + "end?"]:
        assert not read_bare_question(text).ok, text


@pytest.mark.parametrize("text", AROUND + INSIDE)
def test_the_span_of_a_question_is_its_element(text: str) -> None:
    start, end = get_pack("full").question_span(text)
    assert (start, end) == tagged_question_span(text)
    assert text[start:end].lower().startswith("<question") and text[start:end].lower().rstrip(" >").endswith(
        "</question"
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\\\boxed{5}", "5"),
        ("\\boxed\n{5}", "5"),
        ("Okay.<think>a</think>\\boxed{5}", "5"),
        ("\\boxed{5}\n(I wrote the answer in \\boxed{answer})", "5"),
        ("\\boxed{5}\nNote: put it in \\boxed{}.", "5"),
        ("\\boxed{5} as \\boxed{\\text{your answer}}", "5"),
        ("<answer>5</answer>", "5"),
        ("So <answer> two  cars </answer>.", "two cars"),
        ("<answer>\\boxed{5}</answer>", "5"),
        ("\\boxed{👨\u200d👩\u200d👧}", "👨\u200d👩\u200d👧"),
        ("\\boxed{auto\u00admobile}", "automobile"),
        ("\\boxed{5\u200e}", "5"),
        ("\\boxed{\ufeff5}", "5"),
        ("\\boxed{AB<CD>EF}", "AB<CD>EF"),
        ("\\boxed{<b>5</b>}", "5"),
        ("\\boxed{x<5}", "x<5"),
    ],
)
def test_a_box_is_read_as_chat_models_write_it(text: str, answer: str) -> None:
    reading = read_boxed_answer(text)
    assert reading.text == answer, reading.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<answer>5</answer> <answer>6</answer>", "no balanced"),
        ("\\boxed{5 and <answer>6</answer>", "no balanced"),
        ("<answer>5", "no balanced"),
        ("\\boxed{}", "empty box"),
        ("\\boxed{<think>5}", "not closed"),
        ("\\boxed{5<image>}", "marker '<image>'"),
        ("\\boxed{5</tool>}", "marker '</tool>'"),
        ("\\boxed{5\u202e}", "U+202E"),
        ("\\boxed{a\u200db}", "U+200D"),
    ],
)
def test_a_box_that_hides_something_is_refused(text: str, reason: str) -> None:
    reading = read_boxed_answer(text)
    assert not reading.ok and reason in reading.reason, reading


def test_no_mixture_of_styles_raises_or_lets_markup_through() -> None:
    rng = random.Random(0)
    pieces = [
        *AROUND,
        *INSIDE,
        "<question",
        "</question>",
        "<think>",
        "</think>",
        "user:",
        "?",
        "；",
        ";",
        "\u200d",
        '"',
        "**",
    ]
    for _ in range(5_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 5)))
        cut = text[rng.randrange(len(text)) :] if rng.random() < 0.5 else text
        reading = read_tagged_question(cut)
        assert reading.ok == bool(reading.text) != bool(reading.reason)
        assert hidden_character(reading.text) is None
        assert "question>" not in reading.text.lower() and "think>" not in reading.text
