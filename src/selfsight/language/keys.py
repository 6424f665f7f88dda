"""The answer key: an answer is read once into the name of its equivalence class.

Two answers are equal when their keys are the same string, so equality is reflexive, symmetric and transitive
by construction, and voting, the reasoner's reward and rule-based evaluation cannot disagree. None is an
abstention: it equals nothing, not even another None (callers count it in the denominator only).

The classes, tried in this order on the whole answer, never on a part of it:
- *abstention*: empty, too long, or an explicit "I don't know", "unknown", "n/a", "cannot tell";
- *choice*: a letter with or without its text, `B`, `(B)`, `b.`, `B. the red one`, `Option B`. The letter
  decides. A bare letter of any kind is a choice, so `x` and `X` are one key;
- *yes/no*: the word, or the word followed by a comma, a stop or "it/there/they ..." and a text that does not
  take it back. "true" and "false" are texts of their own;
- *number*: see `numbers` for thousands, percent, units and currency;
- *maths*: LaTeX, powers, roots, equations, sets, by value, see `mathkey`. `x = 5` is the value 5;
- *text*: case, articles and punctuation folded. Word order and number are kept: "red and blue" is not
  "blue and red", "circle" is not "circles".

Left out: substring and fuzzy matching (each is a way to be paid for a wrong answer), unit conversion,
synonyms.
"""

import re
from functools import lru_cache

from selfsight.language.folding import fold_characters, fold_text
from selfsight.language.mathkey import math_key
from selfsight.language.numbers import number_key, read_number
from selfsight.language.parse import Reading

MAX_RAW_CHARS = 512
MAX_TEXT_CHARS = 200

_LEAD = re.compile(r"^(?:the )?(?:final |correct )?answer(?: is:?|:) ?", re.IGNORECASE)
_ABSTENTIONS = frozenset(
    {
        "n/a", "na", "unknown", "not sure", "unsure", "idk", "i dont know", "i do not know", "cannot tell",
        "cant tell", "cannot be determined", "cannot determine", "i cannot tell", "none given",
    }
)  # fmt: skip
_BARE_CHOICE = re.compile(r"^(?:(?:option|choice) )?[(\[]?([A-Za-z])[)\].:]?$", re.IGNORECASE)
_CHOICE_WITH_TEXT = re.compile(
    r"^(?:(?:option|choice) )?(?:\(([A-J])\)|\[([A-J])\]|([A-J])\)|([A-J])[.:](?= ))", re.IGNORECASE
)
_YES_NO = re.compile(r"^(yes|no)(?:$|(?P<mark>[,;:.!]| -) ?(?P<rest>.*)| (?P<clause>(?:it|there|they|this|that) .*))")
_OPPOSITE = {"yes": re.compile(r"\b(?:no|not)\b|n't\b"), "no": re.compile(r"\byes\b")}

# Marks of maths that words and plain numbers do not carry. "-" and "/" alone do not make maths: 2020-2021.
_MATH_MARK = re.compile(r"\\[A-Za-z{]|[\^=√π∞≤≥±×÷·]|\*|(?<=[\w)]) ?[+<>] ?(?=[\w(\\-])|(?<=\d)!|\bsqrt\b|\bpi\b|\|")
_BRACKETED_LIST = re.compile(r"^[(\[{][^A-Za-z]*,[^A-Za-z]*[)\]}]$")
_LETTER_RUN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_FUNCTIONS = frozenset({"sqrt", "sin", "cos", "tan", "log", "exp", "abs", "arcsin", "arccos", "arctan"})
_BEGIN_END = re.compile(r"\\(?:begin|end)\{[A-Za-z*]+\}")


def _looks_like_maths(text: str) -> bool:
    if _BRACKETED_LIST.match(text):
        return True
    if _MATH_MARK.search(text) is None or not any(character.isalnum() or character == "∞" for character in text):
        return False
    return all(run in _FUNCTIONS for run in _LETTER_RUN.findall(_BEGIN_END.sub("", text)))


def _choice(text: str) -> str | None:
    if (match := _BARE_CHOICE.match(text)) is not None:
        return match[1].upper()
    if (match := _CHOICE_WITH_TEXT.match(text)) is not None:
        return next(letter for letter in match.groups() if letter).upper()
    return None


def _yes_or_no(lowered: str) -> str | None:
    match = _YES_NO.match(lowered)
    if match is None:
        return None
    word, rest = match[1], match["rest"] or match["clause"] or ""
    if match["mark"] == "." and rest[:1].isdigit():
        return None  # "No. 5" is a number plate, not a refusal
    return None if _OPPOSITE[word].search(rest) else word


@lru_cache(maxsize=65_536)
def answer_key(text: str) -> str | None:
    """The canonical key of an answer (the content of a box), or None for an abstention. Total and pure."""
    if len(text) > MAX_RAW_CHARS:
        return None
    folded = fold_characters(text)
    folded = fold_characters(_LEAD.sub("", folded)) if _LEAD.match(folded) else folded
    if not folded:
        return None
    lowered = folded.casefold()
    if lowered.replace("'", "") in _ABSTENTIONS:
        return None
    if (letter := _choice(folded)) is not None:
        return f"choice:{letter}"
    if (word := _yes_or_no(lowered)) is not None:
        return word
    plain = lowered[1:-1].strip() if re.fullmatch(r"\([^(),]*\)", lowered) else lowered
    if (value := read_number(plain)) is not None:
        return number_key(value)
    if _looks_like_maths(folded):
        return math_key(folded)
    words = fold_text(folded)
    return f"text:{words}" if words and len(words) <= MAX_TEXT_CHARS else None


def key_of(reading: Reading) -> str | None:
    """The key of a reading: a refused reading is an abstention."""
    return answer_key(reading.text) if reading.ok else None
