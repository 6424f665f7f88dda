"""The answer key: an answer is read once into the name of its equivalence class.

Two answers are equal when their keys are the same string, so equality is reflexive, symmetric and transitive
by construction, and voting, the reasoner's reward and rule-based evaluation cannot disagree. None is an
abstention: it equals nothing, not even another None (callers count it in the denominator only).

A key may look at its question: what the question names adds nothing to an answer (`questions`). Answers to one
question are read with that question, everywhere. A key never depends on time, load, cache or other answers.

The classes, tried in this order on the whole answer, never on a part of it (docs/answers.md has every policy):
- *abstention*: empty, too long, or a refusal to answer, in any wording and many languages (`refusals`);
- *choice*: a letter with or without its text, several letters as a set (`choices`);
- *yes/no*: the word, alone or before a text that does not take it back;
- *number*: see `numbers` for thousands, percent, units and currency; a number with a noun is a count;
- *times, dates, ranges, ratios, sizes*: see `times`;
- *maths*: LaTeX, powers, roots, equations, sets, by value, see `expressions`. `x = 5` is the value 5;
- *text*: case, articles and punctuation folded, members of a list separated alike. Order and number are kept:
  "red and blue" is not "blue and red", "circle" is not "circles".

Left out: substring and fuzzy matching (each is a way to be paid for a wrong answer), unit conversion,
synonyms.
"""

import re
from fractions import Fraction
from functools import lru_cache

from selfsight.language.choices import choice_key, yes_or_no
from selfsight.language.folding import fold_characters, fold_text
from selfsight.language.lists import list_members
from selfsight.language.mathkey import math_key
from selfsight.language.numbers import ORDINAL_WORDS, number_key, ordinal_of, read_quantity
from selfsight.language.parse import Reading
from selfsight.language.questions import Context, context_of, names_counted, singular
from selfsight.language.refusals import is_refusal
from selfsight.language.times import composite_key
from selfsight.language.units import unit_of, without_unit

MAX_RAW_CHARS = 512
MAX_TEXT_CHARS = 200

_LEAD = re.compile(
    r"^(?:(?:so|thus|hence|therefore|finally)[, ]+)?(?:the |my )?(?:final |correct )?(?:answer|result"
    r"|solution)(?: is:?|:| =) ?(?=\S)"
    r"|^[A-Z][a-z]+(?: [a-z]+){0,4}: (?=[\[(]?\\begin)|^(?:(?:so|thus|hence|therefore),? )(?=\S)"
    r"|^(?:we (?:find|get|have|obtain)(?: that)? )(?=[x-z\d\\(])|^(?:最终|最終)?(?:答案|答え|정답|답)(?:是|为"
    r"|為|:|は|은|는) ?(?=\S)"
    r"|^(?:la |die |a |il |o )?(?:respuesta|réponse|antwort|resposta|risposta|ответ)(?: es| est| "
    r"ist| é| è|:)+ ?(?=\S)",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:it is|it's|this is|that is|that's|they are|they're|these are|there are|there is|there's"
    r"|i see|i can see|i count"
    r"|the (?:image|picture|photo|figure|diagram) (?:shows|contains|depicts|has)) (?=\S)",
    re.IGNORECASE,
)
_EXACTLY = re.compile(r"^(?:exactly|only|just|a total of) (?=\S)", re.IGNORECASE)
_TWICE_WRITTEN = re.compile(r"^([A-Za-z -]{3,40}) \((\d{1,9})\)(?= |$)")
_BOTH = re.compile(r"^yes\W+(?:and |or )?no$")
_DENIES = re.compile(r"^(?:it is|it's|this is|that is|they are) not\b", re.IGNORECASE)
_ABOUT = re.compile(
    r"^(?:≈|~|\\approx(?![A-Za-z])|\\sim(?![A-Za-z])|(?:about|approximately|approx\.?|around|roughly"
    r"|circa|ca\.|nearly|almost|ungefähr|etwa|environ)(?= )|约|約|大约|大約|およそ|약)\s*(?=[\d.$€£¥+\-\\]"
    r"|[a-z])"
    r"|\s*\(?(?:approximately|approx\.?)\)?$",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(r"^(?:minus|negative|负|負|マイナス) ?(?=[\d.a-z])", re.IGNORECASE)
_HASH = re.compile(r"^(?:#|№|no\.? ?|nr\. ?|number |num\. ?)(?=\d)", re.IGNORECASE)
_BRACKETED = re.compile(r"^\([^(),]*\)$")
_ION_WORD = re.compile(r"^(?:type |blood type )?(a|b|ab|o) ?(positive|negative|pos|neg)(?: blood)?$", re.IGNORECASE)
_SIDE = re.compile(r"^(?:(?:on|to|at|in) )?(?:the )?(left|right|top|bottom)(?:[- ]hand)?(?: side)?$", re.IGNORECASE)
_PH = re.compile(r"^ph ?(?:=|of|:)? ?(?=\d)", re.IGNORECASE)
_SHAPE = re.compile(r"\\(?:triangle|angle|measuredangle|overline|odot|square|parallel|perp|Delta) ?(?:\{([^{}]*)\})?")
_SHAPE_WORD = re.compile(r"^(?:\\(triangle|angle)|(triangle|angle)) ?\{?([A-Z]{1,4})\}?$")
_NAMED = (
    r"(?:m ?)?(?:\\(?:angle|measuredangle|triangle|overline|vec|hat|widehat)(?![A-Za-z]) ?)?"
    r"\{?(?:[A-Z]{1,5}(?:_\{?\w{1,6}\}?)?'?"
    r"|[A-Z](?: ?_ ?\{?\w{1,6}\}?)?)\}?"
)
_RATIO_NAME = rf"(?:{_NAMED} ?: ?{_NAMED}|\\frac\{{ ?{_NAMED} ?\}}\{{ ?{_NAMED} ?\}}|{_NAMED} ?/ ?{_NAMED})"
_ASSIGNED = re.compile(
    rf"^(?:{_NAMED}|{_RATIO_NAME}|(?:the )?(?:area|perimeter|volume|length|width|height|radius|diameter"
    rf"|slope|circumference|angle|total|sum|"
    r"distance|speed|mass|median|mean|mode|range|probability|average|age|cost|price|value|answer"
    r"|surface area|hypotenuse|mass|time|weight)(?: of [A-Za-z ]{1,30})?)"
    r" ?(?:=|≈|\\approx) ?(?P<value>[^=]*\d[^=]*|[^=]*\\pi[^=]*|[^=]*π[^=]*)$",
    re.IGNORECASE,
)
# Marks of maths that words and plain numbers do not carry. "-" and "/" alone do not make maths: 2020-2021.
_MATH_MARK = re.compile(
    r"\\[A-Za-z{]|[\^=√π∞≤≥≠±×÷·]|\*|(?<=[\w)]) ?[+<>] ?(?=[\w(\\-])|(?<=\d)!|\bsqrt\b|\bpi\b|\|"
    r"|(?<=\d)/[a-z]\b|(?<=\d)-\d+/|^[a-z] ?/ ?[a-z]$|!="
)
_BRACKETED_LIST = re.compile(r"^[(\[{][^A-Za-z]*,[^A-Za-z]*[)\]}]$")
_NUMBER_LIST = re.compile(r"^[-+./\s]*+\d[-+\d./\s°%]*+(?:[,;][-+./\s°%]*+\d[-+\d./\s°%]*+)+$")
_LETTER_RUN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_FUNCTIONS = frozenset(
    {
        "sqrt",
        "sin",
        "cos",
        "tan",
        "log",
        "exp",
        "abs",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "infinity",
        "inf",
    }
)
_BEGIN_END = re.compile(r"\\(?:begin|end)\{[A-Za-z*]+\}(?:\{[clr|]+\})?")
_MARKED_UNIT = re.compile(
    r"\\(?:text|mathrm|textrm|textnormal|rm|mbox|operatorname|textbf|mathbf)\W? ?\{?[^{}]*\}?(?:\^\{?\d\}?)?[\s$.)]*$"
)
_AND_VALUES = re.compile(r" ?\b(?:and|or)\b ?")
_DOTS = re.compile(r"^(?:\\[lcv]?dots|\\square|\.|…|_|\?|\s)+$")
_CHEMICAL = re.compile(
    r"^(?=[A-Z(])(?:[A-Z][a-z]?|\((?:[A-Z][a-z]?\d?)++\)| ?_ ?(?=[\d{])"
    r"|\{ ?\d++ ?\}|\d++| (?=[A-Z_\d(^{]))++(?: ?\^ ?\{? ?\d*[+-] ?\}?)?$"
)
_UNIT_ALONE = re.compile(r"^(?:[A-Za-zµ°]{1,6}(?:\^\{?[23]\}?|[23])|[A-Za-z]{1,3}/[A-Za-z]{1,3}(?:\^?[23])?)$")


def _looks_like_maths(text: str) -> bool:
    if _BRACKETED_LIST.match(text) or _NUMBER_LIST.match(text):
        return True
    if _MATH_MARK.search(text) is None or not any(character.isalnum() or character == "∞" for character in text):
        return False
    return all(run in _FUNCTIONS for run in _LETTER_RUN.findall(_BEGIN_END.sub("", text)))


@lru_cache(maxsize=65_536)
def answer_key(text: str, question: str | None = None) -> str | None:
    """The canonical key of an answer (the content of a box), or None for an abstention. Total and pure.

    Args:
        text: what a model wrote in its box; any string.
        question: the question it answers. What it names adds nothing to the answer.

    Example:
        >>> answer_key("3 circles"), answer_key("3 circles", "How many circles are there?")
        ('count:3 circle', 'num:3')
    """
    if len(text) > MAX_RAW_CHARS:
        return None
    context = context_of(question)
    folded = fold_characters(text)
    for _ in range(3):
        match = _LEAD.match(folded)
        if match is None or not match.end():
            break
        folded = fold_characters(folded[match.end() :])
    if not folded or is_refusal(folded) or _DOTS.match(folded):
        return None
    key = _key(folded, context, _MARKED_UNIT.search(text) is not None if "\\" in text else False)
    if key is not None and context.options:
        return _option_key(key, context)
    return key


def _option_key(key: str, context: Context) -> str:
    """The letter of the listed option that says the same."""
    same = [letter for letter, option in context.options if _option_text_key(option) == key]
    return f"choice:{same[0]}" if len(same) == 1 else key


@lru_cache(maxsize=4_096)
def _option_text_key(option: str) -> str | None:
    return answer_key(option)


def _key(folded: str, context: Context, marked: bool) -> str | None:
    options = frozenset(letter for letter, _ in context.options)
    if (choice := choice_key(folded, options=options)) is not None:
        return _ordered_choices(folded, choice, context)
    lowered = folded.casefold()
    if (word := yes_or_no(lowered)) is not None:
        return _yes_no_or_zero(word, lowered, context)
    if _BOTH.match(lowered):
        return "text:yes no"
    if _OPENING.match(folded) and not _DENIES.match(folded):
        folded = fold_characters(_OPENING.sub("", folded))
        lowered = folded.casefold()
        if (choice := choice_key(folded, options=options)) is not None:
            return choice
    if (key := _short_key(folded, lowered, context)) is not None:
        return key
    return _maths_or_text(folded, context, marked)


def _ordered_choices(folded: str, choice: str, context: Context) -> str:
    if context.ordered and choice.startswith("choices:"):
        return "choices:" + ",".join(
            found.upper() for found in re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])|^[A-Za-z]+$", folded)
        )
    return choice


def _yes_no_or_zero(word: str, lowered: str, context: Context) -> str:
    """ "There are no circles" is no, and to "How many circles?" it is zero."""
    if word == "no" and context.counts and (lowered.startswith("there ") or lowered == "no"):
        return "num:0" if lowered != "no" else "no"
    return word


def _short_key(folded: str, lowered: str, context: Context) -> str | None:
    """Numbers and what is made of numbers, or None."""
    if (about := _ABOUT.search(folded)) is not None and about.group().strip():
        folded = (folded[: about.start()] + folded[about.end() :]).strip()
    plain = folded[1:-1].strip() if _BRACKETED.match(folded) else folded
    plain = _HASH.sub("", plain)
    plain = _PH.sub("", plain)
    if (negative := _NEGATIVE.match(plain)) is not None:
        rest = plain[negative.end() :].strip()
        found = read_quantity(rest)
        if found is not None and not found.rest:
            plain = f"-{number_key(found.value)[4:]}" + (f" {found.unit}" if found.unit else "")
    if plain[:1] in "+-" and plain[1:2] == " ":
        plain = plain[0] + plain[1:].lstrip()
    plain = _said_once(plain)
    quantity = read_quantity(plain)
    if quantity is None and plain.startswith("(") and (closed := re.match(r"^\((-?\d[\d.,]*)\) (?=[A-Za-z])", plain)):
        quantity = read_quantity(f"{closed[1]} {plain[closed.end() :]}")
    if quantity is not None and not quantity.rest:
        return _quantity_key(quantity.value, quantity.unit, context)
    if (key := composite_key(plain)) is not None:
        return _composite(key, context)
    if quantity is not None and (key := _count_key(quantity.value, quantity.rest, context)) is not None:
        return key
    if lowered.startswith("no ") and (key := _none_of(lowered, context)) is not None:
        return key
    if (place := ordinal_of(plain)) is not None:
        return f"ordinal:{place}"
    if context.fraction and (score := re.fullmatch(r"(\d{1,9}) ?/ ?(\d{1,9})", plain)) and int(score[2]):
        return number_key(Fraction(int(score[1]), int(score[2])))
    if (score := re.fullmatch(r"(\d{1,4}) ?/ ?(\d{1,4})", plain)) and int(score[2]):
        return f"score:{int(score[1])}/{int(score[2])}"
    return None


def _said_once(plain: str) -> str:
    """ "three (3)" is 3, and so are "exactly 3" and "a total of 3"."""
    if (exactly := _EXACTLY.match(plain)) is not None and read_quantity(plain[exactly.end() :]) is not None:
        plain = plain[exactly.end() :]
    if (twice := _TWICE_WRITTEN.match(plain)) is not None:
        word = read_quantity(twice[1])
        if word is not None and not word.rest and word.value == int(twice[2]):
            return twice[2] + plain[twice.end() :]
    return plain


def _quantity_key(value: Fraction, unit: str | None, context: Context) -> str:
    if unit == "%" and context.fraction:
        return number_key(value / 100)
    if unit is not None and context.unit is not None and unit != context.unit and not _same_kind(unit, context.unit):
        return f"{number_key(value)} {unit}"
    return number_key(value)


def _same_kind(unit: str, asked: str) -> bool:
    """Units that people write for each other: a currency sign in a question about dollars, degrees, points."""
    return asked in ("$", "%") and unit in ("$", "%") and unit == asked


def _composite(key: str, context: Context) -> str:
    if context.ratio and key.startswith("time:") and key.count(":") == 2:
        hour, minute = key[5:].split(":")
        return f"ratio:{hour}:{int(minute)}" if minute.isdigit() else key
    if context.ratio and key.startswith("range:"):
        return "ratio:" + key[6:].replace("..", ":")
    if context.fraction and key.startswith("score:"):
        top, _, bottom = key[6:].partition("/")
        return number_key(Fraction(int(top), int(bottom)))
    return key


_SYMBOL = re.compile(r"^[A-Za-z\u0370-\u03ff](?![^\W_])")
_COUNTED = re.compile(r"^[^\W\d_][^\d\\=<>{}^_+*/@#]*$")


def _count_key(value: Fraction, rest: str, context: Context) -> str | None:
    """A number with its noun: the number alone when the question names the noun."""
    if (
        _COUNTED.match(rest) is None
        or _SYMBOL.match(rest)
        or len(rest) > 60
        or (value.denominator != 1 and len(rest) > 40)
    ):
        return None
    if names_counted(rest, context):
        return number_key(value)
    words = fold_text(rest).split()
    if (
        not words
        or len(words) > 5
        or words[0] in ("or", "to", "and", "of", "out", "in", "x", "by", "from", "at", "past", "less", "more", "o")
    ):
        return None
    if words[0] == "such" or words == ["in", "total"]:
        return number_key(value)
    return f"count:{number_key(value)[4:]} {' '.join([*words[:-1], singular(words[-1])])}"


def _none_of(lowered: str, context: Context) -> str | None:
    """ "no circles": zero where circles are counted, no where it is asked whether there are any."""
    rest = lowered[3:].strip()
    if names_counted(rest, context):
        return "num:0"
    if context.yes_no:
        return "no"
    if re.fullmatch(r"[a-z]+(?: [a-z]+)?s", rest) and not rest.endswith(("ss", "us", "is")):
        words = rest.split()
        return f"count:0 {' '.join([*words[:-1], singular(words[-1])])}"
    return None


def _maths_or_text(folded: str, context: Context, marked: bool) -> str | None:
    if (assigned := _ASSIGNED.match(folded)) is not None and not _is_equation(folded):
        value = fold_characters(assigned["value"])
        if (key := _short_key(value, value.casefold(), context)) is not None:
            return key
        folded = value
    if (shape := _SHAPE_WORD.match(folded)) is not None:
        return f"text:{shape[1] or shape[2]} {shape[3].casefold()}"
    if _UNIT_ALONE.match(folded) and (unit := unit_of(folded)) is not None:
        return f"unit:{unit}"
    if _CHEMICAL.match(folded) and ("_" in folded or "^" in folded):
        return "text:" + re.sub(r"[_^{}\s]", "", folded).casefold()
    maths = without_unit(folded, marked=marked)
    joined = _AND_VALUES.sub(",", maths).replace(",,", ",") if " and " in maths or "or" in maths else maths
    if _looks_like_maths(joined):
        return math_key(joined, ordered=context.ordered)
    return _text_key(folded, context)


def _is_equation(text: str) -> bool:
    left, _, right = text.partition("=")
    return bool(re.fullmatch(r" ?[A-Za-z] ?", left)) and bool(re.search(r"(?<![\\A-Za-z])[a-z](?![A-Za-z])", right))


def _text_key(folded: str, context: Context) -> str | None:
    if (ion := _ION_WORD.match(folded)) is not None:
        folded = ion[1] + ("+" if ion[2].casefold().startswith("p") else "-")
    if (side := _SIDE.match(folded)) is not None:
        return f"text:{side[1].casefold()}"
    if "\\" in folded:
        folded = _SHAPE.sub(
            lambda found: " " + found.group().lstrip("\\").replace("{", " ").replace("}", " ") + " ", folded
        )
    if len(folded) > 1 and folded.endswith("的") and not folded.isascii():
        folded = folded[:-1]
    members = list_members(folded)
    words = ", ".join(filter(None, (_member(member) for member in members))) if len(members) > 1 else _member(folded)
    return f"text:{words}" if words and len(words) <= MAX_TEXT_CHARS else None


_NUMBERED = re.compile(r"\b(\d{1,3})(?:st|nd|rd|th)\b")


def _member(text: str) -> str:
    words = fold_text(text)
    if "1" <= words[:1] <= "9" or any(mark in words for mark in ("st", "nd", "rd", "th")):
        words = _NUMBERED.sub(lambda found: _ordinal_word(int(found[1])) or found.group(), words)
    return words


def _ordinal_word(place: int) -> str | None:
    return ORDINAL_WORDS[place] if place < len(ORDINAL_WORDS) else None


def key_of(reading: Reading, question: str | None = None) -> str | None:
    """The key of a reading as an answer to `question`: a refused reading is an abstention."""
    return answer_key(reading.text, question) if reading.ok else None
