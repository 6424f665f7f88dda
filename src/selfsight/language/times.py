"""Clock times, dates, ranges, ratios, sizes and other answers made of several numbers.

Each has one spelling: "3:45PM" = "3:45 p.m." = "quarter to four pm", "10-20" = "from 10 to 20", "May 5th, 2020" =
"2020-05-05", "640 × 480" = "640x480". None of them is a number: 3 × 4 is not 12, and 10/10 is not 1.
"""

import re
from fractions import Fraction

from selfsight.language.numbers import is_score, number_key, read_number, read_quantity, words_value
from selfsight.language.units import unit_of

_CLOCK = re.compile(
    r"^(?:at )?(\d{1,2})(?: ?[:h] ?(\d{2})(?: ?: ?(\d{2}))?|(?:\.(\d{2}))?(?= ?[ap]\.?m)|(?= o'? ?clock))"
    r"(?: ?o'? ?clock)? ?(?:([ap])\.? ?m\.?|(?:in the )?(morning|afternoon|evening)|(?:uhr|hrs?|hours))?$",
    re.IGNORECASE,
)
_HAN_CLOCK = re.compile(r"^(上午|下午|早上|晚上|午前|午後)?(\d{1,2})(?:点|點|時|时|:)(?:(\d{1,2})分?|(半))?$")
_SPOKEN = re.compile(
    r"^(?:(a )?(?P<part>half|quarter|[a-z]+(?:[ -][a-z]+)??|\d{1,2})(?: minutes?)? (?P<side>past"
    r"|after|to|before|till) )"
    r"(?P<hour>[a-z]+|\d{1,2})(?: o'? ?clock)?(?: ?(?P<half>[ap])\.? ?m\.?)?$",
    re.IGNORECASE,
)
_HOUR_WORD = re.compile(r"^([a-z]+) o'? ?clock(?: ?([ap])\.? ?m\.?)?$", re.IGNORECASE)
_NAMED_TIMES = {
    "noon": "12:00 pm",
    "midday": "12:00 pm",
    "midnight": "12:00 am",
    "12 noon": "12:00 pm",
    "12 midnight": "12:00 am",
}
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = (
    {name: at for at, name in enumerate(_MONTHS, 1)}
    | {name[:3]: at for at, name in enumerate(_MONTHS, 1)}
    | {"sept": 9}
)
_MONTH_NAME = rf"({'|'.join(sorted(_MONTH, key=len, reverse=True))})\.?"
_DATES = (
    re.compile(
        rf"^(?:on )?(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?{_MONTH_NAME} (\d{{1,2}})(?:st|nd"
        rf"|rd|th)?(?:,? (\d{{4}}))?$", re.IGNORECASE),
    re.compile(
        rf"^(?:on )?(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?(?:the )?(\d{{1,2}})(?:st|nd|rd"
        rf"|th)?(?: of)?[ -]{_MONTH_NAME}(?:,?[ -](\d{{4}}))?$", re.IGNORECASE),
    re.compile(r"^(\d{4})(?:-(\d{1,2})-(\d{1,2})|/(\d{1,2})/(\d{1,2})|年(\d{1,2})月(\d{1,2})日?)$"),
    re.compile(rf"^{_MONTH_NAME},? (\d{{4}})$", re.IGNORECASE),
)  # fmt: skip
_DECADE = re.compile(r"^(?:the )?(\d{3}0)'?s$")
_RANGE = re.compile(
    r"^(?:(?P<lead>from|between) )?(?P<low>\S.*?)(?P<mark> ?(?:-|to|through|until|~|and|至|到|から) ?)(?P<high>\S.*)$",
    re.IGNORECASE,
)
_RATIO = re.compile(r"^(?P<parts>\d+(?:\.\d+)?(?: ?: ?\d+(?:\.\d+)?)+)$")
_SIZE = re.compile(r"^(?P<first>[\d.,]+)(?P<unit>[^\d]*?) ?(?:×|\\times|[xX*]|by)(?![A-Za-z]) ?(?=[\d.])")
_SIZE_CUT = re.compile(r" ?(?:×|\\times(?![A-Za-z])|(?<=[\d a-z])[xX](?=[ \d])| by ) ?")
_OUT_OF = re.compile(
    r"^(?P<top>[\w-]+) (?:out of|of|in|out of every|in every) (?:every |the )?(?P<bottom>[\w-]+)$", re.IGNORECASE
)
_FEET = re.compile(
    r"^(\d+(?:\.\d+)?) ?(?:'|ft\.?|feet|foot) ?(?:and )?(\d+(?:\.\d+)?(?: \d/\d)?) ?(?:\"|''|in\.?"
    r"|inch(?:es)?)?$",
    re.IGNORECASE,
)
_PART = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-zµ°'\"]+)\.?(?: and |, and |, | )?")
_TIMES_WORD = {"once": 1, "twice": 2, "thrice": 3}
_MULTIPLE = re.compile(r"^(\S+(?: \S+)?) ?(?:times|fold|-fold|x|X|×)(?: as (?:many|much|large|big|long|tall))?$")


def composite_key(text: str) -> str | None:
    """The key of a folded answer made of several numbers, or None.

    Args:
        text: folded, in its own case.
    """
    if not any(character.isdigit() for character in text):
        return _spoken(text.casefold())
    lowered = text.casefold()
    if lowered.startswith(("half ", "quarter ", "a quarter ")):
        return _spoken(lowered)
    for read in (_clock, _date, _feet, _parts, _multiple):
        if (key := read(lowered)) is not None:
            return key
    return _size(text) or _out_of(lowered) or _ratio(text) or _range(text)


def _time(hour: int, minute: int, half: str, second: int = 0) -> str | None:
    if hour > 24 or minute > 59 or second > 59 or (half and not 0 < hour <= 12):
        return None
    if 12 < hour < 24:
        hour, half = hour - 12, "p"
    elif hour in (0, 24):
        hour, half = 12, "a"
    return f"time:{hour}:{minute:02d}" + (f":{second:02d}" if second else "") + (f" {half}m" if half else "")


def _clock(text: str) -> str | None:
    if (found := _HAN_CLOCK.match(text)) is not None and found[2] != text:
        if ":" in text and not found[1]:
            return _time(int(found[2]), int(found[3]), "") if found[3] and len(found[3]) == 2 else None
        half = {"上午": "a", "早上": "a", "午前": "a", "下午": "p", "晚上": "p", "午後": "p"}.get(found[1] or "", "")
        return _time(int(found[2]), 30 if found[4] else int(found[3] or 0), half)
    found = _CLOCK.match(text)
    if found is None:
        return None
    half = found[5] or {"morning": "a", "afternoon": "p", "evening": "p"}.get(found[6] or "", "")
    return _time(int(found[1]), int(found[2] or found[4] or 0), half, int(found[3] or 0))


def _number_word(text: str) -> int | None:
    if text.isdigit():
        return int(text)
    value = words_value(text)
    return None if value is None or value.denominator != 1 else int(value)


def _spoken(text: str) -> str | None:
    if text in _NAMED_TIMES:
        return "time:" + _NAMED_TIMES[text]
    if text in _TIMES_WORD:
        return f"times:{_TIMES_WORD[text]}"
    if (found := _HOUR_WORD.match(text)) is not None:
        hour = _number_word(found[1])
        return None if hour is None else _time(hour, 0, found[2] or "")
    found = _SPOKEN.match(text)
    if found is not None:
        hour = _number_word(found["hour"])
        minute = {"half": 30, "quarter": 15}.get(found["part"]) or _number_word(found["part"])
        if hour is not None and minute is not None and 1 <= hour <= 12 and 0 < minute < 60:
            if found["side"] in ("to", "before", "till"):
                if minute == 30 and found["part"] != "half":
                    return None
                hour, minute = (hour - 2) % 12 + 1, 60 - minute
            return _time(hour, minute, found["half"] or "")
    if (dated := _date(text)) is not None:
        return dated
    if (many := _multiple(text)) is not None:
        return many
    return _out_of(text) or _range(text)


def _date(text: str) -> str | None:
    if (found := _DECADE.match(text)) is not None:
        return f"decade:{found[1]}"
    if not any(character in text for character in " -/年"):
        return None
    for at, pattern in enumerate(_DATES):
        found = pattern.match(text)
        if found is None:
            continue
        groups = [group for group in found.groups() if group is not None]
        if at == 0:
            month, day, year = _MONTH[groups[0]], int(groups[1]), groups[2] if len(groups) > 2 else ""
        elif at == 1:
            day, month, year = int(groups[0]), _MONTH[groups[1]], groups[2] if len(groups) > 2 else ""
        elif at == 2:
            year, month, day = groups[0], int(groups[1]), int(groups[2])
        else:
            return f"date:{groups[1]}-{_MONTH[groups[0]]}"
        return f"date:{year}-{month}-{day}" if 1 <= month <= 12 and 1 <= day <= 31 else None
    return None


def _feet(text: str) -> str | None:
    found = _FEET.match(text)
    if found is None or not ("'" in text or "ft" in text or "f" in text):
        return None
    return f"parts:{number_key(Fraction(found[1]))[4:]} ft,{found[2]} in"


def _parts(text: str) -> str | None:
    """Several numbers with falling units: 2 h 30 min, 1 lb 3 oz."""
    found, at = [], 0
    for match in _PART.finditer(text):
        if match.start() != at or (unit := unit_of(match[2])) is None:
            return None
        found.append(f"{number_key(Fraction(match[1]))[4:]} {unit}")
        at = match.end()
    return "parts:" + ",".join(found) if at == len(text) and len(found) > 1 and len(set(found)) == len(found) else None


def _multiple(text: str) -> str | None:
    found = _MULTIPLE.match(text)
    if found is None:
        return None
    value = read_number(found[1])
    return None if value is None else f"times:{number_key(value)[4:]}"


def _size(text: str) -> str | None:
    """Lengths side by side: 640 × 480, 3 cm x 4 cm, 4 by 4. A power of ten makes a number instead."""
    if not ("×" in text or "\\times" in text or "x" in text or "X" in text or " by " in text):
        return None
    pieces = _SIZE_CUT.split(text)
    if len(pieces) < 2 or len(pieces) > 5 or "=" in text:
        return None
    sizes = []
    for piece in pieces:
        if re.match(r"^10 ?\^", piece):
            return None
        quantity = read_quantity(piece)
        if quantity is None or quantity.rest:
            return None
        sizes.append(number_key(quantity.value)[4:])
    return "size:" + "x".join(sizes)


def _out_of(text: str) -> str | None:
    found = _OUT_OF.match(text)
    if found is None:
        return None
    top, bottom = read_number(found["top"]), read_number(found["bottom"])
    if top is None or bottom is None or bottom == 0:
        return None
    if is_score(str(top), str(bottom)):
        return f"score:{top}/{bottom}"
    return number_key(top / bottom)


def _ratio(text: str) -> str | None:
    if ":" not in text or _RATIO.match(text) is None:
        return None
    return "ratio:" + ":".join(number_key(Fraction(part.strip()))[4:] for part in text.split(":"))


def _range(text: str) -> str | None:
    """Two numbers with a dash or "to" between: a range when it rises, else "2 to 1" is a ratio."""
    if (found := re.match(r"^(\d{4}) ?/ ?(\d{4}|\d{2})$", text)) is not None:
        last = found[2] if len(found[2]) == 4 else found[1][:2] + found[2]
        return f"range:{found[1]}..{last}" if int(last) == int(found[1]) + 1 else None
    found = _RANGE.match(text)
    if found is None:
        return None
    mark, lead = found["mark"].strip().casefold(), (found["lead"] or "").casefold()
    if (mark == "and") != (lead == "between"):
        return None
    if mark in ("to", "through", "until") and not found["mark"].startswith(" "):
        return None
    low, high = read_quantity(found["low"].strip()), read_quantity(found["high"].strip())
    if low is None or high is None or low.rest or high.rest:
        return None
    first, last = number_key(low.value)[4:], number_key(high.value)[4:]
    if found["low"].strip().isdigit() and found["high"].strip().isdigit() and mark == "-":
        first, last = found["low"].strip(), found["high"].strip()
        if len(first) > 4 or len(last) > 4 or (first[0] == "0" and len(first) > 1):
            return None  # telephone and serial numbers
    if mark == "to" and not lead and low.value >= high.value:
        return f"ratio:{first}:{last}"
    return f"range:{first}..{last}"
