"""Numbers as answers: read exactly, written as one canonical key.

Values are fractions, never floats: 0.1 is a tenth, .50 and 0.5 and 1/2 are the same key, 0.333 is not 1/3.
docs/answers.md states every policy in one table; those that the reader of this module needs:
- Comma groups of three are thousands (1,000 = 1000), so are single spaces (1 000), Indian groups (12,34,567), and
  points when there are two or more of them (2.552.004). The point is the decimal mark otherwise.
- Units, currencies, degrees and the percent sign are dropped, so 50% = 50 (and not 0.5) and 5 cm = 5. Since "5" must
  equal "5 cm" and "5 m", it follows that 5 cm = 5 m: answers are only compared with answers to the same question.
  Where the question names the unit, another unit is another answer (`keys`).
- thousand, million, billion, trillion, k, M, B multiply; "5 m" is five metres.
- What is a label and not a number stays text: 007, 1990s, 4G, 4K, 10/10, 6/8.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from selfsight.language.units import unit_of

MAX_KEY_DIGITS = 40
_MAX_EXPONENT = 60

_CURRENCY = (
    r"(?:(?:US|us|A|C|NZ|HK|S)?\$|[$€£¥₹₩₽₺฿₫]|Rs\.?|rs\.?|(?i:usd|eur|gbp|jpy|inr|cny|rmb|krw|chf)(?![A-Za-z]))"
)
_MULTIPLIERS = {
    "thousand": 10**3, "thousands": 10**3, "k": 10**3, "K": 10**3, "million": 10**6, "millions": 10**6, "mn": 10**6,
    "mln": 10**6, "mil": 10**6, "mio": 10**6, "mm": 0, "MM": 10**6, "M": 10**6, "billion": 10**9, "billions": 10**9,
    "bn": 10**9, "bln": 10**9, "B": 10**9, "trillion": 10**12, "trillions": 10**12, "tn": 10**12, "trn": 10**12,
    "lakh": 10**5, "lakhs": 10**5, "crore": 10**7, "crores": 10**7, "hundred": 100, "dozen": 12, "万": 10**4,
    "萬": 10**4, "億": 10**8, "亿": 10**8, "만": 10**4, "억": 10**8, "千": 1000,
    "millones": 10**6, "millionen": 10**6, "milhões": 10**6, "milioni": 10**6, "миллионов": 10**6,
}  # fmt: skip
del _MULTIPLIERS["mm"]  # millimetres
_MULTIPLIER = re.compile(
    rf"(?:{'|'.join(sorted(map(re.escape, _MULTIPLIERS), key=len, reverse=True))})(?![A-Za-z])|[Mm]illion|[Bb]illion"
)
# Display resolutions, not thousands.
_NAMED_K = re.compile(r"^[248]K$")

_INTEGER = (
    r"(?:(?!0,)\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])|\d{1,3}(?:\.\d{3}){2,}(?![\d.])"
    r"|\d{1,3}(?:[ '_]\d{3})+(?!\d)|\d+)"
)
_NUMBER = re.compile(
    rf"(?P<sign>[+-])? ?(?:(?P<currency>{_CURRENCY}) ?|%)?(?P<sign2>[+-])?"
    rf"(?:(?P<whole>\d{{1,12}}) (?P<numerator>\d{{1,12}})/(?P<denominator>\d{{1,12}})"
    rf"|(?P<european>\d{{1,3}}(?:\.\d{{3}})+,\d{{1,2}}|\d{{4,15}},\d{{1,2}})(?![\d,])"
    rf"|(?P<top>{_INTEGER}(?:\.\d+)?) ?/ ?(?P<bottom>{_INTEGER}(?:\.\d+)?)(?![\d/.])"
    rf"|(?P<decimal>{_INTEGER}(?:\.\d*)?|\.\d+)(?:(?:[eE](?P<exponent>[+-]?\d{{1,3}}))|(?: ?[×xX*] "
    rf"?10 ?\^ ?\{{?(?P<ten>[+-]?\d{{1,3}})\}}?))?)"
    rf"(?P<rest>.*)",
    re.DOTALL,
)
_LABEL = re.compile(r"^0\d{2,}$|^0\d*0$(?<!^0)|^\d{4}'?s$|^\d+E\d+$")
_COUNTER = re.compile(r"^[个個つ개](?:$|(?=[^\w]))")
_PLAIN = re.compile(r"^-?(?:0|[1-9]\d{0,14})$")

_ONE_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES = {word: value for value, word in enumerate(_ONE_WORDS.split())}
_TENS = {word: 10 * (value + 2) for value, word in enumerate(_TEN_WORDS.split())}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8,
    "ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10, "twelfth": 12, "twelfths": 12, "hundredth": 100,
    "hundredths": 100,
}  # fmt: skip
_GROUPS = {"dozen": 12, "pair": 2, "couple": 2}
_WORD_STARTS = frozenset([*_ONES, *_TENS, *_GROUPS, "hundred", "half", "a", "none", "nil", "twelfth"])
ORDINAL_WORDS = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
_ORDINALS = {word: value for value, word in enumerate(ORDINAL_WORDS)}
_ORDINALS |= {
    f"{ten}-{word}": 10 * at + 20 + n for at, ten in enumerate(_TENS) for n, word in enumerate(ORDINAL_WORDS[1:10], 1)
}
_ORDINALS |= {ten[:-1] + "ieth": value for ten, value in _TENS.items()} | {"hundredth": 100}
_ORDINAL = re.compile(r"^(\d{1,4})(?:st|nd|rd|th)$")
_HAN = {**{c: i for i, c in enumerate("零一二三四五六七八九")}, "〇": 0, "两": 2, "兩": 2, "壹": 1}
_HAN_TENS = {"十": 10, "百": 100, "千": 1000}
_HAN_NUMBER = re.compile(r"^[零〇一二两兩三四五六七八九十百千]{1,9}(?=$|[个個つ])")


@dataclass(frozen=True)
class Quantity:
    """A number and what stands behind it: a unit's canonical symbol, or words that are none (`rest`)."""

    value: Fraction
    unit: str | None
    rest: str


def number_key(value: Fraction) -> str:
    """The key of an exact value; beyond 40 digits, of its first 15 significant digits."""
    text = str(value)
    if len(text) <= MAX_KEY_DIGITS:
        return f"num:{text}"
    # Integer arithmetic: a float would overflow, and a Decimal would depend on the process's context.
    sign, value = ("-" if value < 0 else ""), abs(value)
    exponent = len(str(value.numerator)) - len(str(value.denominator))
    if value < Fraction(10) ** exponent:
        exponent -= 1
    digits = round(value / Fraction(10) ** (exponent - 14))
    if digits == 10**15:
        digits, exponent = 10**14, exponent + 1
    return f"num:{sign}{digits}e{exponent - 14}"


def _exact(text: str) -> Fraction:
    grouped = text.count(".") > 1  # 2.552.004
    cleaned = text.replace(",", "").replace(" ", "").replace("'", "").replace("_", "")
    return Fraction((cleaned.replace(".", "") if grouped else cleaned.rstrip(".")) or "0")


def words_value(text: str) -> Fraction | None:
    """The value of English number words: "one hundred and five", "two thirds", "one and a half", "a dozen"."""
    words = text.replace("-", " ").split()
    if not words or words[0] not in _WORD_STARTS or len(words) > 12:
        return None
    if words in (["none"], ["nil"]):
        return Fraction(0)
    if words[0] == "half":
        if words in (["half", "a", "dozen"], ["half", "dozen"]):
            return Fraction(6)
        return Fraction(1, 2) if words == ["half"] else None
    if words[-1] in _PARTS and len(words) > 1:
        return _parts_value(words)
    if words[-1] in _GROUPS:
        many = Fraction(1) if words[:-1] in ([], ["a"]) else _cardinal(words[:-1])
        return None if many is None or (words == ["couple"]) else many * _GROUPS[words[-1]]
    return _cardinal(words)


def _parts_value(words: list[str]) -> Fraction | None:
    """ "three quarters", "a third", "two and a half"."""
    whole = Fraction(0)
    if "and" in words[:-1]:
        # The last "and" joins the fraction: one hundred and two and a half.
        at = len(words) - 1 - words[::-1].index("and")
        counted = _cardinal(words[:at])
        if counted is None:
            return None
        whole, words = counted, words[at + 1 :]
    top = Fraction(1) if words[:-1] in (["a"], ["one"]) else _cardinal(words[:-1])
    if top is None or top == 0 or (words[-1] == "half" and top != 1):
        return None
    return whole + top / _PARTS[words[-1]]


def _cardinal(words: list[str]) -> Fraction | None:
    total, group, last = 0, 0, "start"
    for at, word in enumerate(words):
        if word == "a" and at == 0 and len(words) > 1 and (words[1] == "hundred" or words[1] in _SCALES):
            group, last = 1, "ones"
        elif word == "and" and last == "hundred" and at + 1 < len(words):
            last = "and"
        elif word in _ONES and (
            last in ("start", "hundred", "scale", "and") or (last == "tens" and 0 < _ONES[word] < 10)
        ):
            group, last = group + _ONES[word], "ones"
        elif word in _TENS and last in ("start", "hundred", "scale", "and"):
            group, last = group + _TENS[word], "tens"
        elif word == "hundred" and (last == "start" or (last == "ones" and 0 < group < 100)):
            group, last = (group or 1) * 100, "hundred"
        elif word in _SCALES and (last != "start" and last != "and") and (total == 0 or total >= _SCALES[word] * 1000):
            total, group, last = total + group * _SCALES[word], 0, "scale"
        else:
            return None
    return None if last in ("start", "and") else Fraction(total + group)


def ordinal_of(text: str) -> int | None:
    """3 for "3rd" and "third", else None."""
    lowered = text.casefold()
    if (found := _ORDINAL.match(lowered)) is not None:
        return int(found[1])
    return _ORDINALS.get(lowered.replace(" ", "-") if " " in lowered else lowered)


def _han_value(text: str) -> int:
    total, digit = 0, 0
    for character in text:
        if character in _HAN:
            digit = digit * 10 + _HAN[character] if digit and character not in "零〇" else _HAN[character]
        else:
            total, digit = total + (digit or 1) * _HAN_TENS[character], 0
    return total + digit


def is_unit(text: str) -> bool:
    """Whether `text` (folded) is a unit, a currency or a percent sign."""
    return unit_of(text.strip().rstrip(".").strip()) is not None


def read_number(text: str) -> Fraction | None:
    """The value of a folded answer that is a number as a whole, or None; never a number among words."""
    if _PLAIN.match(text) is not None:
        return Fraction(int(text))
    found = read_quantity(text)
    return None if found is None or found.rest else found.value


def _word_quantity(text: str) -> Quantity | None:
    """Number words and what follows them: "three", "three dollars", "twenty one red circles"."""
    lowered = text.casefold()
    words = lowered.split()
    if not words or words[0].partition("-")[0] not in _WORD_STARTS:
        return None
    own = text.split()
    for taken in range(min(len(words), 12), 0, -1):
        value = words_value(" ".join(words[:taken]))
        if value is None or (taken == 1 and words[0] in ("a", "half", "none", "nil") and len(words) > 1):
            continue
        if taken == 1 and words[0] in ("pair", "dozen", "hundred", "couple") and len(words) > 1:
            continue
        return _with_rest(value, " ".join(own[taken:]))
    return None


def read_quantity(text: str) -> Quantity | None:
    """A number at the start of a folded answer with what follows it, or None when there is no number.

    Args:
        text: folded, in its own case (5 M is five million, 5 m five metres).

    Returns:
        The exact value with multipliers applied, and either the unit behind it or the words that are no unit.
    """
    first = text[:1]
    if not (first.isdigit() or first in "+-.$€£¥₹₩₽₺฿₫%") and not first.isalpha():
        return None
    if first.isalpha():
        if first.isascii():
            if (found := _word_quantity(text)) is not None:
                return found
            if first not in "URrACNHSSuegjickEGJICK":
                return None
        elif (han := _HAN_NUMBER.match(text)) is not None:
            return _with_rest(Fraction(_han_value(han.group())), text[han.end() :])
    if _LABEL.match(text) is not None or _NAMED_K.match(text) is not None:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None or (match["sign"] and match["sign2"]):
        return None
    value = _value(match)
    if value is None:
        return None
    found = _with_rest(
        -value if "-" in (match["sign"], match["sign2"]) else value, match["rest"], str(match["currency"] or "")
    )
    return found


def _value(match: re.Match[str]) -> Fraction | None:
    if match["whole"] is not None:
        if int(match["denominator"]) == 0:
            return None
        return int(match["whole"]) + Fraction(int(match["numerator"]), int(match["denominator"]))
    if match["european"] is not None:
        return Fraction(match["european"].replace(".", "").replace(",", "."))
    if match["top"] is not None:
        top, bottom = match["top"], match["bottom"]
        if is_score(top, bottom) or _exact(bottom) == 0:
            return None
        return _exact(top) / _exact(bottom)
    exponent = int(match["exponent"] or match["ten"] or 0)
    places = len(match["decimal"].partition(".")[2])
    if places >= 12 and not exponent:
        # A float printed in full (0.0833333333333333) is the simple fraction that it shows.
        exact = _exact(match["decimal"])
        simple = exact.limit_denominator(1000)
        return simple if abs(exact - simple) <= Fraction(1, 10**places) else exact
    if abs(exponent) > _MAX_EXPONENT and len(match["decimal"]) + abs(exponent) > _MAX_EXPONENT:
        return None
    return _exact(match["decimal"]) * Fraction(10) ** exponent


def is_score(top: str, bottom: str) -> bool:
    """Whether a fraction written with a slash is a score, a date or a time signature: 10/10, 4/4, 6/8, 12/8.

    Also a season (2020/2021). Every other plain fraction is its value: 2/4 = 1/2.
    """
    if top == bottom:
        return top not in ("1", "0")
    if (top, bottom) in (("6", "8"), ("12", "8"), ("6", "4")):
        return True
    return len(top) == len(bottom) == 4 and top.isdigit() and bottom.isdigit() and int(bottom) == int(top) + 1


def _with_rest(value: Fraction, rest: str, currency: str = "") -> Quantity | None:
    attached, rest = rest[:1] not in ("", " "), rest.strip()
    if unit_of(rest) is None and (multiplier := _MULTIPLIER.match(rest)) is not None:
        word = multiplier.group()
        # "12B" is a billion and "12 B" too, but "5 A" and other letters are no numbers.
        value *= _MULTIPLIERS.get(word) or _MULTIPLIERS[word.casefold()]
        rest = rest[multiplier.end() :].strip()
        if rest[:1] == "+" or rest.startswith("of "):
            rest = rest.removeprefix("of ").strip()
    if attached and (rest in ("A", "C", "F") or rest.casefold() in ("st", "nd", "rd", "th")):
        return None  # seat 12A, flat 3C; 3rd
    rest = _COUNTER.sub("", rest).strip()
    if not rest:
        return Quantity(value, None if not currency else unit_of(currency.rstrip(".")), "")
    unit = unit_of(rest) or unit_of(rest.rstrip(".").strip())
    if unit is not None:
        return Quantity(value, unit, "")
    return Quantity(value, None, rest)
