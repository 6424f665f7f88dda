"""Answer keys by kind: how people and chat models write one answer, what only looks alike, and who declines.

Each line of SAME is one answer in several writings; the members of a line of DIFFERENT are all different answers.
"""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.ask import ask, families_for
from selfsight.images.worlds.grammar import say
from selfsight.images.worlds.truth import scene_of
from selfsight.language import Reading, answer_key, count_votes, key_of

SAME = [
    [
        "B",
        "Option B.",
        "The correct answer is B",
        "Answer: B",
        "(B)",
        "\\boxed{B}",
        "B) 12 cm",
        "B is correct",
        "The answer is (B)",
        "B - 12 cm",
        "I would choose B",
        "It is B",
        "choice B",
        "B since it is bigger",
        "Correct option: B",
        "B: 12",
        "b)",
        "答案选B",
        "正确答案是B",
        "我选B",
        "The correct option is B.",
        "**B**",
        "B.",
        "选择B",
        "正解はB",
        "정답은 B",
        "The best answer is option B",
    ],
    ["D, A, C", "A, C, D", "ACD", "A, C and D", "A and C and D", "(A), (C), (D)", "A,C,D", "A/C/D", "A C D", "A;C;D"],
    [
        "yes",
        "Yes she is",
        "Yes, it does.",
        "yes because the light is red",
        "Yes. The man is wearing a hat",
        "Yes, he is not alone",
        "yes - there are two",
        "\\text{Yes}",
        "Yes!",
        "是的",
        "Sí",
        "Oui",
        "yeah",
        "Yes, no cars are parked",
    ],
    [
        "no",
        "No, the dog is white",
        "No. The cat sleeps",
        "No the light is green",
        "nope",
        "There is no dog",
        "There are no dogs in the picture",
        "No it isn't",
        "不是",
        "Nein",
    ],
    ["1234567", "1,234,567", "12,34,567", "1 234 567", "1.234.567", "1{,}234{,}567", "1'234'567"],
    [
        "50%",
        "50 %",
        "50 percent",
        "fifty percent",
        "50 per cent",
        "50 pct",
        "about 50%",
        "approximately 50 percent",
        "50\\%",
        "~50%",
        "≈ 50 %",
        "around 50%",
        "%50",
    ],
    [
        "12",
        "12 cm",
        "12 centimeters",
        "12 sq ft",
        "12 square feet",
        "12 ft²",
        "12 m^3",
        "12 cubic meters",
        "12 \\text{ m}^2",
        "12\\,\\mathrm{cm}",
        "12 mph",
        "12 miles per hour",
        "12 km/h",
        "12 kWh",
        "12 newton meters",
        "12 N·m",
        "12 m/s^2",
        "12 degrees",
        "12°",
        "12 °F",
        "12 liters",
        "12 mL",
        "12 kilograms",
        "12 GHz",
        "12 MB",
        "12 psi",
        "12 hours",
        "12 min.",
        "12 yrs",
        "twelve",
        "a dozen",
        "12.0",
        "approx. 12",
        "12 approximately",
        "12 kΩ",
        "12 inches",
        "$12",
        "12 dollars",
        "€12",
        "12 元",
        "12 yen",
        "Rs 12",
        "12 pounds",
        "12 mmHg",
        "12 rpm",
    ],
    [
        "5700000",
        "5.7M",
        "5.7 million",
        "$5.7M",
        "5.7 mn",
        "5.7 mil",
        "5,700,000",
        "\\$5.7 \\text{ million}",
        "5.7 million dollars",
        "about 5.7 million",
    ],
    ["2500000000", "2.5B", "2.5 billion", "$2.5bn", "2.5 bn", "2.5 billion USD"],
    ["-7", "minus 7", "negative seven", "−7", "- 7", "minus seven", "-7 °C", "-7.0"],
    ["105", "one hundred and five", "one hundred five", "a hundred and five"],
    ["2500", "two thousand five hundred", "2,500", "2.5 thousand", "2.5k"],
    [
        "3/4",
        "three quarters",
        "three fourths",
        "three-fourths",
        "0.75",
        "\\frac{3}{4}",
        "\\frac34",
        "3 out of 4",
        "3 in 4",
        "¾",
        "three out of four",
    ],
    ["5/2", "two and a half", "2 1/2", "2.5", "2½", "\\frac{5}{2}", "2\\frac{1}{2}"],
    ["1st", "first", "First"],
    ["22nd", "twenty-second"],
    ["7:05", "07:05", "7:05."],
    ["8:30", "half past eight", "08:30", "8:30:00", "half past 8"],
    ["8:15", "quarter past eight", "a quarter past eight", "fifteen minutes past eight"],
    ["9:40", "twenty to ten", "09:40"],
    ["3:00", "3 o'clock", "three o'clock", "03:00"],
    ["5:20 PM", "5:20pm", "5:20 p.m.", "17:20", "05:20 PM"],
    ["12:00 pm", "noon", "12 PM"],
    [
        "July 4, 1776",
        "4 July 1776",
        "July 4th, 1776",
        "4th of July, 1776",
        "1776-07-04",
        "Jul 4, 1776",
        "the 4th of July 1776",
    ],
    ["16:9", "16 : 9", "16 to 9"],
    ["30-40", "30 to 40", "between 30 and 40", "from 30 to 40", "30–40", "30 - 40"],
    ["2019-2020", "2019/2020", "2019 to 2020"],
    ["the 1980s", "1980s", "1980's"],
    [
        "blue",
        "\\emph{blue}",
        "\\textcolor{red}{blue}",
        "\\underline{blue}",
        "{\\bf blue}",
        "**blue**",
        "*blue*",
        "`blue`",
        '"blue"',
        "Blue.",
        "> blue",
        "\\mathrm{blue}",
        "\\textbf{blue}",
        "It is blue",
        "The blue",
        "__blue__",
    ],
    [
        "8",
        "CD = 8",
        "\\overline{CD} = 8",
        "x = 8",
        "x = 3 + 5 = 8",
        "area = 8",
        "\\angle ABC = 8^\\circ",
        "m\\angle B = 8",
        "\\underline{8}",
        "\\mathbf{8}",
        "{8}",
        "y=2^3",
        "\\sqrt{64}",
        "= 8",
    ],
    ["x > 2", "(2, \\infty)", "2 < x", "x \\in (2,\\infty)", "2<x<\\infty"],
    ["x \\le -1", "(-\\infty, -1]", "-1 \\geq x"],
    ["1 < t \\le 4", "(1,4]", "4 \\ge t > 1"],
    ["\\sqrt{12}", "2\\sqrt{3}", "2 \\sqrt 3", "√12", "2√3"],
    ["16\\pi \\text{ m}^2", "16\\pi", "16π", "16 \\pi cm^2", "16π square units", "4^2\\pi"],
    ["CH4", "CH_4", "CH₄", "\\text{CH}_4", "\\mathrm{CH_4}"],
    ["Ca2+", "Ca^{2+}", "Ca²⁺", "\\text{Ca}^{2+}"],
    ["SO4^2-", "SO_4^{2-}"],
    ["\\angle PQR", "∠PQR", "angle PQR"],
    ["1024x768", "1024 × 768", "1024 x 768", "1024×768", "1024 \\times 768", "1024 by 768"],
    [
        "cat, dog and bird",
        "cat, dog, bird",
        "cat, dog, and bird",
        "cat and dog and bird",
        "cat; dog; bird",
        "cat & dog & bird",
        "cat + dog + bird",
    ],
    ["1, 3", "1 and 3", "1; 3", "3, 1", "x=1, x=3", "x = 1 or x = 3", "\\{1,3\\}", "1,3", "1 \\text{ and } 3"],
    ["-3, 4", "4, -3", "4,-3", "-3 and 4"],
    ["e-mail", "email"],
    ["U.S.A.", "USA", "usa"],
    ["grey", "gray"],
    ["A+", "A positive"],
    ["#7", "7", "No. 7", "number 7", "№ 7"],
    ["6'2\"", "6 ft 2 in", "6 feet 2 inches", "6'2", "6 foot 2"],
    ["2 h 30 min", "2 hours 30 minutes", "2 hr 30 mins", "2h30min"],
    ["twice", "2 times", "2x", "two times"],
    ["3 dogs", "three dogs"],
    ["3 children", "three kids", "3 kids"],
    ["1 million people", "1,000,000 people"],
    ["5\\times 10^4", "50000", "5e4", "5 x 10^4", "5 × 10⁴"],
    ["\\{1\\} \\cup (2,3)", "(2,3) \\cup \\{1\\}"],
    ["\\ln 2", "\\log 2"],
    ["x^2+1=0", "2x^2+2=0", "x^2 = -1"],
    ["3x+y=2", "y = 2-3x", "y=-3x+2", "6x+2y=4"],
    ["(3, 4)", "(3,4)", "\\left(3, 4\\right)", "(3.0, 4)"],
    ["\\begin{bmatrix}1\\\\2\\end{bmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"],
    ["top left", "topleft", "Top-left"],
    ["30%-40%", "30-40%", "30% to 40%"],
    ["红色", "红色的"],
    ["4个", "四个", "4", "四"],
]

DIFFERENT = [
    ["5.7M", "5.7", "5.7B", "5.7 km M"],
    ["J. Smith", "J. Jones", "J"],
    ["T. Rex", "T. Roosevelt", "T"],
    ["P(1,-2)", "P(1,2)", "P(-1,2)"],
    ["-0.5", ".5", "5"],
    ["A", "A, B", "A, B, C", "B, C"],
    ["A-", "A", "A+"],
    ["O-", "O+", "O"],
    ["Na+", "Na", "Na-"],
    ["F#", "F", "Fb"],
    ["C#", "C++", "C"],
    ["2 × 3", "6", "3 × 2", "1 × 6"],
    ["9/9", "1"],
    ["08:30", "8.30"],
    ["0042", "42"],
    ["1970s", "1970"],
    ["5 dogs", "5 cats"],
    ["12'", '12"'],
    ["@bob", "bob"],
    ["1:2", "2:1"],
    ["(1,2)", "(2,1)", "[1,2]"],
    ["1 & 2", "1 & 3"],
    [
        "\\begin{pmatrix}1 & 2 \\\\ 3 & 4\\end{pmatrix}",
        "\\begin{pmatrix}1 & 3 \\\\ 2 & 4\\end{pmatrix}",
        "\\begin{pmatrix}1 & 2 & 3 & 4\\end{pmatrix}",
    ],
    ["x<3", "x\\le 3", "x>3"],
    ["A: 1, B: 2", "A: 1, B: 3", "A"],
    ["(a) 1 (b) 2", "(a) 1 (b) 3"],
    ["(A) and (B)", "(A)", "(B)"],
    ["A. Lincoln", "A. Einstein"],
    ["E. coli", "E. faecalis"],
    ["x:-2", "x:2"],
    ["T = -4°C", "T = 4°C"],
    ["plan A", "plan B", "plan"],
    ["vitamin A", "vitamin"],
    ["type A blood", "type blood"],
    ["we'll", "well"],
    ["I'll", "ill"],
    ["4G", "4", "5G"],
    ["10 to 5", "5 to 10"],
    ["2020-05-01", "2020-01-05"],
    ["red and blue", "blue and red"],
    ["not red", "red"],
    ["3 million", "3 billion", "3"],
    ["1e5", "1e6"],
    ["yes", "no", "yes and no"],
    ["no", "none", "nothing"],
    ["3", "3 or 4", "3-4", "33"],
    ["5 ft 10 in", "5 ft 1 in"],
    ["left", "right", "left of"],
    ["circle", "circles"],
    ["5 m", "5 M"],
    ["-5 apples", "5 apples"],
    ["(-5) cats", "(5) cats"],
    [".7 to .9", "7 to 9"],
    ["\\frac{a}{b}", "\\frac{b}{a}"],
    ["x-1", "1-x"],
    ["a", "b"],
    ["\\sqrt{3}", "3"],
    ["ABC", "ABD"],
    ["1,-3", "1,3", "-1,3"],
    ["12:30", "1:30"],
    ["3 PM", "3 AM"],
    ["March", "May"],
    ["N/m", "m"],
]

REFUSALS = [
    "I can't tell from the picture",
    "cannot be answered",
    "It is impossible to determine",
    "Insufficient data",
    "unable to answer",
    "The question cannot be answered based on the image",
    "The image does not show the price",
    "No information given",
    "not visible",
    "Not visible in the image",
    "I'm not sure",
    "I am unable to see the image",
    "There is not enough information to determine the answer",
    "Sorry, I cannot help with that",
    "cannot say",
    "can't say",
    "hard to tell",
    "It's unclear",
    "It is not clear from the image",
    "unknown",
    "N/A",
    "n.a.",
    "None given",
    "not stated",
    "I don't have enough information",
    "the image is too blurry to tell",
    "data not available",
    "information not provided",
    "not mentioned",
    "无法从图中确定",
    "信息不足",
    "我不知道",
    "无法判断",
    "わかりません",
    "判断できません",
    "不明",
    "알 수 없음",
    "알 수 없습니다",
    "No se puede determinar",
    "no lo sé",
    "No es posible determinar",
    "Impossible à déterminer",
    "Je ne sais pas",
    "Kann nicht bestimmt werden",
    "Unbekannt",
    "nicht erkennbar",
    "Não é possível determinar",
    "desconhecido",
    "Non è possibile determinare",
    "sconosciuto",
    "неизвестно",
    "Невозможно определить",
    "لا يمكن تحديد ذلك",
    "غير معروف",
    "निर्धारित नहीं किया जा सकता",
    "पता नहीं",
    "your answer here",
    "???",
    "---",
    "\\dots",
    "TBD",
    "Your answer",
    "\\text{Cannot be determined}",
    "As an AI language model, I cannot see images",
    "undetermined",
    "The value cannot be determined from the given graph",
    "it is not possible to tell",
    "There's no way to know",
    "No way to tell",
    "We cannot know",
    "can not be determined",
    "could not be determined",
    "Cannot tell from this image.",
    "not determinable",
    "I have no idea",
    "The answer is unknown",
    "The answer cannot be determined.",
    "Not given",
    "Unsure",
    "Indeterminable",
    "\\text{N/A}",
    "information is insufficient",
    "图片中没有提供足够的信息",
    "抱歉，我无法回答这个问题",
    "图中未显示",
    "정보가 부족합니다",
    "答えられません",
    "La imagen no proporciona suficiente información",
    "L'image ne permet pas de déterminer",
    "Das Bild zeigt nicht genug",
    "Недостаточно информации",
    "No hay suficiente información",
    "Es kann nicht bestimmt werden",
    "Es ist nicht möglich, dies zu bestimmen",
    "Nie można określić",
    "tidak dapat ditentukan",
    "không thể xác định",
    "bilinmiyor",
    "Onbekend",
    "Cannot be inferred",
]

# Answers that hold the words of a refusal and are none.
ANSWERS = [
    "Unknown Pleasures",
    "no",
    "none",
    "It is not possible to turn left",
    "Na",
    "not red",
    "Unable to walk",
    "no parking",
    "Do not enter",
    "not enough salt",
    "Nothing",
    "blind",
    "The man cannot see",
    "He can't swim",
    "No entry",
    "no smoking",
    "null island",
    "sorry sign",
    "impossible triangle",
    "hard",
    "difficult",
    "unclear water",
    "The answer to life",
    "information desk",
    "Not for sale",
    "No information desk",
    "Information",
    "Mission Impossible",
    "error",
    "undefined",
    "infinitely many",
    "does not exist",
    "no solution",
    "0",
    "not a number line",
    "Nan",
    "Nantes",
    "NASA",
    "hidden",
    "dark",
    "unknown soldier",
    "The Unknown Soldier",
    "uncertainty principle",
    "no one",
    "Don't walk",
    "cannot fly",
    "x",
    "+",
    "without sugar",
    "more sugar",
    "Pass",
    "skip rope",
    "not available light",
    "No exit",
    "clear",
    "can",
    "Cantonese",
    "tell",
    "Canada",
    "see",
    "Insufficient funds",
    "keine Parken",
    "nein",
    "nicht rauchen",
    "不",
    "无",
    "没有",
    "不是",
    "否",
    "いいえ",
    "нет",
    "impossible burger",
    "Lost and Found",
    "missing",
    "lack of sleep",
    "Data",
    "unsure footing",
    "Answer B",
    "answer key",
    "No answer key",
]

HOW_MANY = "How many red circles are there in the image?"
# (question, answers that are one, answers that are each something else)
WITH_QUESTION = [
    (
        HOW_MANY,
        ["3", "three", "3 circles", "3 red circles", "There are 3 red circles.", "three circles in total"],
        ["3 squares", "4", "3 blue circles"],
    ),
    (HOW_MANY, ["0", "none", "no circles", "There are no red circles", "zero"], ["no squares", "1"]),
    ("How many people are waiting?", ["2", "two people", "2 persons", "There are two people"], ["2 dogs", "3"]),
    ("How long is the pencil in cm?", ["5", "5 cm", "5 centimeters", "5.0 \\text{ cm}"], ["5 m", "5 inches", "6 cm"]),
    ("What fraction of the circle is shaded?", ["1/2", "50%", "0.5", "half", "\\frac{1}{2}"], ["50", "1/3"]),
    ("What fraction is shaded?", ["1", "8/8", "1.0"], ["8", "7/8"]),
    ("What percentage of people agree?", ["50%", "50", "fifty percent"], ["0.5", "5%"]),
    ("What are the coordinates of point P?", ["(1, 2)", "1, 2", "1,2"], ["(2, 1)", "2, 1", "12"]),
    ("Which colour is it? A. red B. blue C. green", ["B", "blue", "B. blue", "(B)", "Blue."], ["A", "red", "green"]),
    ("Which pets are shown? (A) cat (B) dog (C) bird", ["A, C", "CA", "(C) and (A)"], ["A", "A, B", "B"]),
    ("List the letters in order from left to right.", ["B, A, C"], ["A, B, C", "C, A, B"]),
    ("What is the ratio of cats to dogs?", ["3:10", "3 to 10", "3 : 10"], ["10:3", "3"]),
    ("Is there a dog?", ["no", "No dogs", "There is no dog", "No, there is not"], ["yes"]),
    ("图中有多少个圆？", ["3", "3个", "三个圆", "3个圆"], ["3个方", "4个圆"]),
]


@pytest.mark.parametrize("answers", SAME, ids=[line[0] for line in SAME])
def test_one_answer_in_many_writings_has_one_key(answers: list[str]) -> None:
    keys = {answer: answer_key(answer) for answer in answers}
    assert len(set(keys.values())) == 1 and None not in keys.values(), keys


@pytest.mark.parametrize("answers", DIFFERENT, ids=[line[0] for line in DIFFERENT])
def test_answers_that_only_look_alike_keep_their_own_keys(answers: list[str]) -> None:
    keys = {answer: answer_key(answer) for answer in answers}
    assert len(set(keys.values())) == len(answers) and None not in keys.values(), keys


@pytest.mark.parametrize("answer", REFUSALS)
def test_whoever_declines_abstains(answer: str) -> None:
    assert answer_key(answer) is None


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_holds_such_words_is_an_answer(answer: str) -> None:
    assert answer_key(answer) is not None


@pytest.mark.parametrize(("question", "equal", "others"), WITH_QUESTION, ids=[row[1][0] for row in WITH_QUESTION])
def test_what_the_question_names_adds_nothing(question: str, equal: list[str], others: list[str]) -> None:
    keys = {answer: answer_key(answer, question) for answer in equal + others}
    assert len({keys[answer] for answer in equal}) == 1 and None not in keys.values(), keys
    assert keys[equal[0]] not in {keys[answer] for answer in others}, keys


def test_without_its_question_a_count_keeps_its_noun() -> None:
    assert len({answer_key(answer) for answer in ("3", "3 circles", "3 squares")}) == 3
    assert key_of(Reading(True, "3 circles", ""), HOW_MANY) == answer_key("3")


def test_ten_samples_of_an_easy_question_agree() -> None:
    said = ["3"] * 4 + ["3 \\text{ circles}"] * 3 + ["three", "three circles", "4"]
    votes = count_votes([answer_key(answer, HOW_MANY) for answer in said])
    assert (votes.label, votes.confidence) == ("num:3", 0.9)


def test_ten_refusals_in_several_wordings_give_no_label() -> None:
    said = ["Cannot be determined from the image"] * 4 + ["\\text{Cannot be determined}", "12", "12"]
    votes = count_votes([answer_key(answer) for answer in [*said, "Not enough information"]])
    assert (votes.label, votes.abstentions) == ("num:12", 6)


def test_questions_of_worlds_keep_their_labels_and_wrong_answers_stay_wrong() -> None:
    rng = np.random.default_rng(0)
    answers: dict[str, str | None] = {}
    asked: list[tuple[str, str]] = []
    for ref in WorldSource("mixed", seed=3).take(0, 150):
        picture = scene_of(ref)
        for family in families_for(picture):
            if (found := ask(picture, family, rng)) is not None:
                asked.append((say(found[0], rng), found[1]))
                answers[found[1]] = answer_key(found[1])
    assert len(asked) > 300 and len(answers) > 20
    for question, truth in asked:
        assert answer_key(truth, question) == answers[truth]  # the label is what it is without a question
        right = {other for other in answers if answer_key(other, question) == answers[truth]}
        assert right == {truth}, question


TEXTS = st.sampled_from([answer for line in SAME + DIFFERENT for answer in line]) | st.text(max_size=40)
QUESTIONS = st.sampled_from([None, HOW_MANY, *[row[0] for row in WITH_QUESTION]]) | st.text(max_size=30)


@given(TEXTS, QUESTIONS)
@settings(max_examples=300, deadline=None)
def test_a_key_is_a_function_of_answer_and_question(answer: str, question: str | None) -> None:
    key = answer_key.__wrapped__(answer, question)
    assert key is None or (isinstance(key, str) and key)
    assert key == answer_key.__wrapped__(answer, question) == answer_key(answer, question)


@given(st.sampled_from([answer for line in SAME for answer in line]))
@settings(max_examples=200, deadline=None)
def test_white_space_and_wrappers_around_an_answer_change_nothing(answer: str) -> None:
    key = answer_key(answer)
    for wrapped in (f"  {answer} ", f"{answer}\n", f"\t{answer}"):
        assert answer_key(wrapped) == key, wrapped
    if not any(mark in answer for mark in "*`$\"'\\_>^{"):
        for wrapped in (f"**{answer}**", f"`{answer}`", f"$\\text{{{answer}}}$", f'"{answer}"'):
            assert answer_key(wrapped) == key, wrapped


@given(st.lists(st.sampled_from(["red", "Blue", "a cat", "THE dog", "green tree"]), min_size=1, max_size=4))
@settings(deadline=None)
def test_the_case_of_words_changes_nothing(words: list[str]) -> None:
    text = " ".join(words)
    assert answer_key(text) == answer_key(text.upper()) == answer_key(text.lower())


@given(st.permutations(["3", "3 circles", "unknown", "three", "4", "no circles", "0", "3 \\text{ circles}"]))
@settings(max_examples=30, deadline=None)
def test_the_order_of_a_group_changes_no_key(group: list[str]) -> None:
    votes = count_votes([answer_key.__wrapped__(answer, HOW_MANY) for answer in group])
    assert votes.counts == {"num:3": 4, "num:0": 2, "num:4": 1}


HOSTILE = [
    "x" * 65_536,
    "\ud800" * 100,
    "\x00" * 300,
    "{" * 500,
    "(" * 199 + "1",
    "\\frac{" * 60,
    "1," * 250,
    "9^{9^{9}}",
    "\\binom{200000}{100000}",
    "\\gcd(2^{99999999},3)",
    "option " * 70,
    "the answer is " * 30,
    "not enough " * 40,
    "I cannot " * 50,
    "the image " * 50,
    "A, " * 150,
    "9!" * 90,
    "1 & 2 \\\\ " * 20,
    "½" * 250,
    "1 " * 250,
    "无法" * 200,
    "ne peut pas être " * 25,
    "kann nicht " * 40,
    "\\text{" * 80,
    "$" * 500,
    "*a" * 250,
    "." * 500,
    "e^" * 90,
    "- " * 250,
    "{" + ",".join(["1"] * 91) + "}",
    "\\{" + ",".join(["1"] * 91) + "\\}",
    "x+" * 99,
    "sin " * 49,
    "1/" * 99,
    "2 h " * 120,
]


def test_a_group_of_hostile_answers_is_read_in_two_seconds() -> None:
    answer_key.__wrapped__("\\frac{1}{2}+x")  # imports
    started = time.process_time()  # this process alone: a busy machine must not fail the test
    first = [answer_key.__wrapped__(answer) for answer in HOSTILE]
    assert time.process_time() - started < 2.0
    assert first == [answer_key.__wrapped__(answer) for answer in HOSTILE]


def test_a_set_of_ninety_ones_is_read_alike_every_time_and_needs_no_worker() -> None:
    answer = "\\{" + ",".join(["1"] * 60) + "\\}"
    code = (
        "from selfsight.language import answer_key\n"
        "from selfsight.language.mathkey import MATH_KEYS\n"
        f"assert answer_key({answer!r}) == 'set:num:1'\n"
        "assert answer_key('\\\\begin{pmatrix}1&2\\\\\\\\ 3&4\\\\end{pmatrix}').startswith('matrix:')\n"
        "assert MATH_KEYS._worker is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("p=5, q=2", "q=2, p=5", True),
        ("p=5; q=2", "p=5, q=2", True),
        ("p=5, q=2", "p=2, q=5", False),
        ("a = 3 \\text{ and } b = 4", "a=4 and b=3", False),
        ("AB = 5, BC = 3", "AB = 3, BC = 5", False),
        ("x>1, y<2", "y>1, x<2", False),
        ("p=5,q=2;p=7,q=3", "p=7,q=3; q=2,p=5", True),
        ("p=5,q=2;p=7,q=3", "p=5,q=3;p=7,q=2", False),
        ("x = 1, x = 2", "2, 1", True),
        ("f(x)=3, g(x)=4", "f(x)=4, g(x)=3", False),
    ],
)
def test_values_of_several_names_keep_their_names(one: str, other: str, same: bool) -> None:
    assert (answer_key(one) == answer_key(other)) == same
