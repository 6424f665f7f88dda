"""Numbers as answers: read exactly, written as one canonical key.

Values are fractions, never floats: 0.1 is a tenth, .50 and 0.5 and 1/2 are the same key, 0.333 is not 1/3.

What a sign or a word around the number means (stated once, because equality must be transitive):
- Comma groups of three are thousands (1,000 = 1000), and so are single spaces (1 000); the point is the
  decimal mark. "1,5" is not a number here.
- Units, currencies, degrees and the percent sign are dropped: the question fixes the unit, so
  50% = 50 percent = 50 (and not 0.5), $5 = 5 dollars = 5, 5 cm = 5. Since "5" must equal "5 cm" and "5" must
  equal "5 m", it follows that 5 cm = 5 m. Answers are only compared with answers to the same question.
- thousand, million, billion, trillion and k multiply. "5 m" is five metres.
- Number words from zero to one hundred are numbers.
"""

import re
from fractions import Fraction

MAX_KEY_DIGITS = 40
_MAX_EXPONENT = 60

_UNIT_WORDS = (
    "% percent pct ° deg degs degree degrees °c °f celsius fahrenheit "
    "mm cm m km nm um in inch inches ft foot feet yd yard yards mi mile miles "
    "millimeter millimeters centimeter centimeters meter meters kilometer kilometers "
    "millimetre millimetres centimetre centimetres metre metres kilometre kilometres "
    "mg g gram grams kg kilogram kilograms lb lbs oz ounce ounces ton tons tonne tonnes "
    "ms s sec secs second seconds min mins minute minutes h hr hrs hour hours day days week weeks "
    "month months year years yr yrs "
    "ml l liter liters litre litres gallon gallons px pixel pixels unit units point points "
    "hz khz mhz ghz kb mb gb tb w kw kwh v j n pa kpa mph kph km/h m/s rad radian radians "
    "$ € £ ¥ ₹ usd eur gbp jpy inr dollar dollars euro euros yen rupee rupees cent cents"
)
_UNITS = frozenset(_UNIT_WORDS.split())
_CURRENCY = r"(?:us\$|[$€£¥₹]|usd|eur|gbp|jpy|inr)"
_MULTIPLIERS = {
    "thousand": 10**3,
    "k": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
}

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-])? ?(?:{_CURRENCY} ?)?(?P<sign2>[+-])?"
    rf"(?:(?P<whole>\d{{1,12}}) (?P<numerator>\d{{1,12}})/(?P<denominator>\d{{1,12}})"
    rf"|(?P<top>{_INTEGER}(?:\.\d+)?) ?/ ?(?P<bottom>{_INTEGER}(?:\.\d+)?)"
    rf"|(?P<decimal>{_INTEGER}(?:\.\d*)?|\.\d+)(?:e(?P<exponent>[+-]?\d{{1,3}}))?)"
    rf"(?P<rest>.*)",
    re.DOTALL,
)
_UNIT_POWER = re.compile(r"^(?:sq|square|cubic) |\^\{?[23]\}?$|(?<=m)[23]$| squared$| cubed$")

_ONE_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES, _TENS = _ONE_WORDS.split(), _TEN_WORDS.split()
_WORDS: dict[str, int | Fraction] = {word: value for value, word in enumerate(_ONES)}
_WORDS |= {word: 10 * (value + 2) for value, word in enumerate(_TENS)}
_WORDS |= {f"{ten}-{one}": _WORDS[ten] + _WORDS[one] for ten in _TENS for one in _ONES[1:10]}
_WORDS |= {f"{ten} {one}": _WORDS[ten] + _WORDS[one] for ten in _TENS for one in _ONES[1:10]}
_WORDS |= {
    "hundred": 100,
    "one hundred": 100,
    "a hundred": 100,
    "half": Fraction(1, 2),
    "one half": Fraction(1, 2),
}


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
    return Fraction(text.replace(",", "").replace(" ", "").rstrip(".") or "0")


def is_unit(text: str) -> bool:
    """Whether `text` (folded, lower case) is a unit, a currency or a percent sign."""
    text = text.strip().rstrip(".").strip()
    if text == "per cent":
        return True
    return text in _UNITS or _UNIT_POWER.sub("", text).strip() in _UNITS


def read_number(text: str) -> Fraction | None:
    """The value of a folded answer that is a number as a whole, or None; never a number among words."""
    if text in _WORDS:
        return Fraction(_WORDS[text])
    first, _, rest_of_words = text.partition(" ")
    if first in _WORDS and rest_of_words and (is_unit(rest_of_words) or rest_of_words in _MULTIPLIERS):
        return Fraction(_WORDS[first]) * _MULTIPLIERS.get(rest_of_words, 1)
    match = _NUMBER.fullmatch(text)
    if match is None or (match["sign"] and match["sign2"]):
        return None
    if match["whole"] is not None:
        if int(match["denominator"]) == 0:
            return None
        value = int(match["whole"]) + Fraction(int(match["numerator"]), int(match["denominator"]))
    elif match["top"] is not None:
        if _exact(match["bottom"]) == 0:
            return None
        value = _exact(match["top"]) / _exact(match["bottom"])
    else:
        exponent = int(match["exponent"] or 0)
        if abs(exponent) > _MAX_EXPONENT:
            return None
        value = _exact(match["decimal"]) * Fraction(10) ** exponent
    rest = match["rest"].strip()
    word, _, after = rest.partition(" ")
    if word in _MULTIPLIERS:
        value *= _MULTIPLIERS[word]
        rest = after.strip()
    if rest and not is_unit(rest):
        return None
    return -value if "-" in (match["sign"], match["sign2"]) else value
