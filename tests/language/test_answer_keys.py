"""Answer keys: a table of answers that are and are not the same, and the laws of equality."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.language import Reading, answer_key, key_of
from selfsight.language.numbers import is_score

# Every line is one class of equal answers; answers of different lines of a block are different.
CLASSES = {
    "choice": [
        ["B", "b", "(B)", "(b)", "B.", "b)", "[B]", "Option B", "choice (b)", "B. the red one", "(B) red",
         "b) red",
         "B: red", "$\\text{B}$", "\\textbf{B}", "\\mathrm{B}", "**B**", "The answer is B", "B .", "Ｂ",
         "option b: red"],
        ["C", "C. the red one", "(c)"],
        ["A", "a", "A. B", "(A) the letter B"],
    ],
    "yes and no": [
        ["yes", "Yes", "YES.", "Yes!", "yes, it is", "Yes, there are two red circles.", "Yes it is",
         "\\text{yes}",
         "'yes'", "yes; two of them", "Yes - both", "final answer: yes"],
        ["no", "No", "No.", "no, it is not", "No, there is none", "no there are not", "\\text{No}",
         "No: it is not red"],
        ["true", "True."],
        ["No. 5"],
        ["yes, no", "yes no"],
        ["yes, it is not"],
        ["no one", "No one."],
        ["no circles"],
        ["nothing"],
        ["yesterday"],
    ],
    "integers": [
        ["1000", "1,000", "1 000", "1000.0", "1,000.00", "+1000", "1e3", "10^3", "10^{3}", "10**3", "1k",
         "1 thousand",
         "$1,000", "1000 dollars", "1000 USD", "€1000", "1{,}000", "\\$1000", "１０００", "1000.", "$1000$",
         "1 \\times 10^3", "(1000)", "one thousand", "x = 1000", "500+500", "\\boxed{1000}", "1000 km",
         "1000 metres"],
        ["1001"],
        ["100", "one hundred", "hundred", "100%", "100 percent", "100 per cent", "100\\%", "100°",
         "100 degrees"],
        ["-1000", "−1000", "-1,000", "- 1000", "-$1000", "$-1000"],
        ["1,00"],
        ["10,000", "10 thousand"],
        ["1000000", "1 million", "1,000,000", "10^6"],
    ],
    "small numbers": [
        ["3", "three", "Three.", "3.0", "03", "3/1", "6/2", "\\frac{6}{2}", "٣", "3 units", "\\text{3}",
         "y=3", "1+2",
         "\\sqrt{9}", "sqrt(9)", "3 cm", "3 cm^2", "3 cm²", "3 square metres", "\\log_2 8", "three dollars",
         "\\frac{9}{3}", "|-3|", "about 3", "≈3"],
        ["0", "zero", "0.0", "-0", "0%", "\\sin(0)", "1+2-3"],
        ["21", "twenty-one", "twenty one", "21."],
        ["3 circles"],
        ["3 or 4"],
        ["30"],
        ["33"],
        ["-3", "− 3"],
        ["third", "3rd"],
        ["6", "3!", "3 \\cdot 2", "3*2", "six"],
    ],
    "fractions and decimals": [
        ["0.5", ".5", ".50", "0.500", "1/2", "2/4", "½", "\\frac{1}{2}", "\\dfrac{1}{2}", "\\frac12",
         "5e-1", "half",
         "one half", "0.5 cm", "$0.5$", "2^{-1}", "2**-1", "1 / 2", "\\cos(\\pi/3)"],
        ["50%", "50", "50 percent", "50\\%", "fifty", "50.0 %", "fifty percent"],
        ["0.333"],
        ["1/3", "⅓", "\\frac{1}{3}", "2/6"],
        ["0.05", "5/100", ".05"],
        ["5.5", "5½", "5 1/2", "11/2", "5\\frac{1}{2}"],
        ["51/2", "25.5"],
        ["0,5"],
        ["1:2"],
        ["1/2/2020"],
        ["1/0"],
    ],
    "maths": [
        ["\\sqrt{8}", "2\\sqrt{2}", "sqrt(8)", "√8", "2√2", "8^{1/2}", "8**(1/2)", "2 \\cdot \\sqrt{2}"],
        ["2.83"],
        ["\\pi", "π", "pi", "\\pi ", "1\\pi", "\\frac{2\\pi}{2}"],
        ["3.14"],
        ["2π", "2\\pi", "2*pi"],
        ["x^2+2x+1", "(x+1)^2", "(1+x)^2", "1+2x+x^2", "(x+1)(x+1)", "x^{2}+2x+1", "x²+2x+1"],
        ["x^2+1"],
        ["y^2+2y+1"],
        ["x<3", "3>x", "x < 3", "x-3<0"],
        ["x\\le 3", "x≤3", "x \\leq 3"],
        ["x>3", "3<x"],
        ["\\{1,2\\}", "\\{2,1\\}", "{1, 2}", "\\{1, 2, 2\\}"],
        ["(1,2)", "(1, 2)", "\\left(1, 2\\right)"],
        ["(2,1)"],
        ["[1,2]", "[1, 2]"],
        ["[1,2)"],
        ["\\infty", "∞"],
        ["\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}"],
        ["\\int_0^1 x dx", "\\int_0^1 x  dx"],
        ["\\sin 30°", "\\sin 30^\\circ"],
        ["e^{x}", "\\exp(x)"],
        ["x=\\pm 4", "±4", "\\pm 4", "\\{-4, 4\\}"],
        ["\\frac{2^3}{4^5}", "2^{-7}"],
    ],
    "text": [
        ["red circle", "Red circle", "the red circle", "A red circle.", "RED  CIRCLE", "red-circle",
         "\"red circle\"",
         "\\text{red circle}", "\\text{The red} \\text{circle}", "`red circle`", "red circle,"],
        ["circle red"],
        ["red circles"],
        ["red"],
        ["dark red circle"],
        ["left of the star", "Left of star"],
        ["don't know why", "dont know why", "don’t know why"],
        ["red and blue", "Red and blue", "red, blue", "red + blue", "red & blue"],
        ["blue and red"],
        ["red blue"],
        ["vitamin a"],
        ["vitamin"],
        ["3:30", "3:30."],
        ["3:03"],
        ["2020-2021", "2020–2021"],
        ["C++"],
        ["<"],
        [">"],
        ["+"],
        ["@"],
        ["café", "cafe\u0301", "CAFÉ"],
        ["cafe"],
        ["日本"],
        ["straße", "STRASSE"],
        ["12/05/2020"],
        ["x-axis", "x axis", "the X axis"],
        ["red = blue"],
    ],
}  # fmt: skip

CLASS_LISTS = [(block, equal) for block, classes in CLASSES.items() for equal in classes]
ABSTENTIONS = ["", " ", "...", "?", "\n", "()", "N/A", "unknown", "I don't know.", "I do not know",
"not sure",
               "Cannot tell", "cannot be determined", "\u200b", "x" * 600, "word " * 50, "\\text{}",
               "$$"]  # fmt: skip


def test_the_table_is_as_large_as_it_claims() -> None:
    pairs = sum(len(equal) * (len(equal) - 1) // 2 for _, equal in CLASS_LISTS)
    answers = sum(len(equal) for _, equal in CLASS_LISTS)
    assert answers >= 200 and pairs >= 300


@pytest.mark.parametrize(("block", "equal"), CLASS_LISTS, ids=[f"{b}: {e[0][:20]}" for b, e in CLASS_LISTS])
def test_equal_answers_share_a_key(block: str, equal: list[str]) -> None:
    keys = {answer: answer_key(answer) for answer in equal}
    assert len(set(keys.values())) == 1 and None not in keys.values(), keys


@pytest.mark.parametrize("block", CLASSES)
def test_answers_that_differ_have_different_keys(block: str) -> None:
    first = {equal[0]: answer_key(equal[0]) for equal in CLASSES[block]}
    assert len(set(first.values())) == len(first), first


@pytest.mark.parametrize("answer", ABSTENTIONS)
def test_nothing_readable_is_an_abstention(answer: str) -> None:
    assert answer_key(answer) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("50%", "0.5"), ("1.5", "15"), ("1.000", "1000"), ("B", "Blue"), ("A", "An apple"), ("no", "none"),
        ("no", "0"), ("5", "5 apples"), ("12", "1, 2"), ("3-5", "-2"), ("5-3", "2"), ("3", "III"), ("no",
        "not"),
        ("x^2", "x2"), ("10", "2^10"), ("-5", "5"), ("5", "5 or so"), ("16", "4, 4"), ("yes", "y"), ("1e5",
        "15"),
        ("\\frac{1}{2}", "\\frac{2}{1}"), ("2:1", "2"), ("circle", "circular"), ("E. coli is here",
        "bacteria"),
        ("5!", "5"), ("100", "1OO"), ("2 3/4", "23/4"), ("(1,2)", "[1,2]"), ("\\sqrt{2}", "1.41"), ("π",
        "22/7"),
    ],
)  # fmt: skip
def test_answers_that_merely_look_alike_are_different(one: str, other: str) -> None:
    assert answer_key(one) != answer_key(other)


def test_units_are_dropped_for_all_or_for_none_since_equality_is_transitive() -> None:
    assert answer_key("5 cm") == answer_key("5") == answer_key("5 m") == answer_key("$5") == answer_key("5%")


def test_a_refused_reading_is_an_abstention_whatever_its_text() -> None:
    assert key_of(Reading(False, "5", "no box")) is None
    assert key_of(Reading(True, "5", "")) == answer_key("5")


def test_huge_numbers_keep_a_short_key() -> None:
    assert answer_key("1e50") == answer_key("10^{50}") == answer_key("1" + "0" * 50)
    assert answer_key("1e50") != answer_key("2e50")
    assert answer_key("9" * 400) is not None and len(str(answer_key("9" * 400))) < 40
    assert answer_key("1e999") != answer_key("1e998")


ANSWERS = st.sampled_from([answer for _, equal in CLASS_LISTS for answer in equal]) | st.text(max_size=12)


@given(ANSWERS, ANSWERS, ANSWERS)
@settings(max_examples=300, deadline=None)
def test_equality_of_keys_is_an_equivalence(one: str, two: str, three: str) -> None:
    """A key is read afresh each time: the cache must not be what makes answers equal to themselves."""
    key = answer_key.__wrapped__
    assert key(one) == key(one) == answer_key(one)
    if key(one) == key(two) and key(two) == key(three):
        assert key(one) == key(three)


def test_ten_thousand_random_triples_obey_the_laws_of_equality() -> None:
    rng = random.Random(1)
    answers = [answer for _, equal in CLASS_LISTS for answer in equal]
    key = {answer: answer_key(answer) for answer in answers}
    again = {answer: answer_key.__wrapped__(answer) for answer in rng.sample(answers, len(answers))}
    assert again == key
    for _ in range(10_000):
        a, b, c = rng.choices(answers, k=3)
        assert key[a] == again[a]
        assert (key[a] == again[b]) == (again[b] == key[a])
        assert not (key[a] == again[b] and again[b] == key[c]) or key[a] == key[c]


@given(st.fractions(max_denominator=1000), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_a_fraction_and_its_decimal_writings_agree(value, places) -> None:  # type: ignore[no-untyped-def]
    # A slash may also write a score or a time signature (2/2, 6/8), so LaTeX says here that a fraction is meant.
    key = answer_key(f"\\frac{{{value.numerator}}}{{{value.denominator}}}")
    assert key == answer_key(f"\\frac{{{2 * value.numerator}}}{{{2 * value.denominator}}}")
    if not is_score(str(abs(value.numerator)), str(value.denominator)):
        assert key == answer_key(f"{value.numerator}/{value.denominator}")
    assert key == answer_key(str(value))
    scaled = value.numerator
    decimal = f"{'-' if scaled < 0 else ''}{abs(scaled) // 10**places}.{abs(scaled) % 10**places:0{places or 1}d}"
    assert answer_key(decimal) == answer_key(f"\\frac{{{scaled}}}{{{10**places}}}")


@given(st.integers(-(10**12), 10**12))
@settings(deadline=None)
def test_thousands_separators_change_nothing(value: int) -> None:
    assert answer_key(f"{value:,}") == answer_key(str(value)) == f"num:{value}"
