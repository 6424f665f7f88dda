"""Units: which words behind a number are a unit, and which unit it is.

A unit is a grammar, not a list: a prefix and a base ("kilo" + "metre", "m" + "A"), a power ("square", "cubed", ^2),
and products and quotients of those ("kg/m^3", "newton metres", "miles per hour"). Symbols keep their case where it
matters: `5 g` is grams and `5 G` is not, `5 mm` is millimetres and `5 MM` is not.
"""

import re
from functools import lru_cache

from selfsight.language.folding import word_set

# name -> symbol; every name also has its plural.
_WORDS = {
    "meter": "m", "metre": "m", "gram": "g", "gramme": "g", "liter": "L", "litre": "L", "second": "s", "watt": "W",
    "volt": "V", "amp": "A", "ampere": "A", "hertz": "Hz", "joule": "J", "pascal": "Pa", "ohm": "Ω", "newton": "N",
    "calorie": "cal", "byte": "B", "bit": "bit", "farad": "F", "tonne": "t", "candela": "cd", "mole": "mol",
    "tesla": "T",
    "henry": "H", "lumen": "lm", "lux": "lx", "becquerel": "Bq", "sievert": "Sv", "electronvolt": "eV", "pixel": "px",
    "parsec": "pc", "bar": "bar", "siemens": "S", "weber": "Wb", "coulomb": "C",
}  # fmt: skip
_PREFIX_WORDS = {
    "kilo": "k", "centi": "c", "milli": "m", "micro": "µ", "nano": "n", "deci": "d", "hecto": "h", "mega": "M",
    "giga": "G", "tera": "T", "peta": "P", "deka": "da", "pico": "p",
}  # fmt: skip
# Names without prefixes: all spellings of one unit, its symbol first.
_PLAIN = """
% percent percents pct percentage percentages prozent procent porcentaje pourcent 퍼센트
° deg degs degree degrees
°C celsius centigrade degC
°F fahrenheit degF
in inch inches
ft foot feet
yd yard yards yds
mi mile miles
nmi
lb lbs pound pounds
oz ounce ounces ozs
fl
ton tons
s sec secs
min mins minute minutes
h hr hrs hour hours
d day days
wk week weeks wks
month months mo mos
yr year years yrs
decade decades
century centuries
gal gallon gallons gals
pt pint pints
qt quart quarts
cup cups
tbsp tablespoon tablespoons
tsp teaspoon teaspoons
acre acres
ha hectare hectares
px pixel pixels
unit units
point points pts
rad radian radians
rev revolution revolutions
mph
kph kmph
fps
rpm
bpm
knot knots kn kts
psi
atm
hp horsepower
dB decibel decibels
pH
kcal kcals
dpi ppi
ppm
ppb
light-year lightyear lightyears light-years ly
carat carats ct
micron microns
ly light years
sqft
sqm
cc
gsm
mmHg
$ usd dollar dollars buck bucks
€ eur euro euros
£ gbp sterling quid
¥ jpy yen 円
CN¥ cny rmb yuan renminbi 元 块
₹ inr rupee rupees rs lakhs
₩ krw won 원
₽ rub ruble rubles rouble roubles
CHF franc francs
MX$ peso pesos
₺ lira liras
₫ dong
฿ baht
kr krona kronor krone kroner
R$ real reais
c ¢ cent cents
p pence penny pennies
dime dimes
厘米 公分 センチ センチメートル
毫米
米 公尺 メートル 미터
公里 千米 キロメートル
千克 公斤 キログラム 킬로그램
克
吨
升
毫升
度
秒 秒钟 초
分 分钟 分鐘
小时 小時 時間 시간
天
岁 歳 살
"""
_ALIASES = {"厘米": "cm", "毫米": "mm", "米": "m", "公里": "km", "千克": "kg", "克": "g", "升": "L", "毫升": "mL",
            "度": "°", "秒": "s", "分": "min", "小时": "h", "天": "d", "吨": "t", "岁": "yr"}  # fmt: skip
# Bases that take the symbol of a prefix; case matters.
_BASES = [
    "m",
    "g",
    "L",
    "l",
    "s",
    "W",
    "V",
    "A",
    "Hz",
    "Pa",
    "J",
    "N",
    "Ω",
    "F",
    "B",
    "b",
    "bit",
    "eV",
    "cal",
    "Wh",
    "Ah",
    "mol",
    "cd",
    "lm",
    "lx",
    "Bq",
    "Sv",
    "H",
    "T",
    "pc",
    "bps",
    "B/s",
    "bar",
]
_PREFIXES = ["k", "c", "m", "µ", "u", "n", "d", "h", "M", "G", "T", "P", "p", "da"]
_SYMBOLS_ALONE = [
    "m",
    "g",
    "L",
    "l",
    "s",
    "W",
    "V",
    "J",
    "N",
    "Pa",
    "Hz",
    "Ω",
    "A",
    "C",
    "F",
    "mol",
    "cd",
    "lm",
    "lx",
    "Bq",
    "Sv",
    "Wb",
    "eV",
    "cal",
    "Wh",
    "Ah",
    "bit",
    "bits",
    "h",
    "t",
    "K°",
    "bps",
    "bar",
    "S",
]
# Read in lower case today and in reports: KM, Kg, CM, HZ. Not MM (a million), MB and Mb, nor one letter.
_ANY_CASE = word_set("km cm kg mg ml hz khz mhz ghz mph kph lb lbs oz ft in yd mi kwh kw")
_CUBED_SHORT = re.compile(r"(?<=[A-Za-z])\s?(?:\^\s?\{?\s?(-?[1-4])\s?\}?|( squared| cubed))$|(?<=[A-Za-z])([23])$")
_SQUARE_FIRST = re.compile(r"^(?:(squared|square|sq)|(cubic|cu))(?:\. ?| )(?=\S)")
_PER = re.compile(r"\s?/\s?| per | a | an ")
_TIMES = re.compile(r"\s?[·*]\s?|-(?=[A-Za-z])| ")


def _plain_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for line in _PLAIN.split("\n"):
        spellings = line.split()
        for name in spellings:
            names[name] = _ALIASES.get(spellings[0], spellings[0])
    for name, symbol in _WORDS.items():
        for prefix, short in [("", ""), *_PREFIX_WORDS.items()]:
            plural = prefix + name + ("" if name.endswith(("z", "s", "x")) else "es" if name.endswith("ch") else "s")
            names[prefix + name] = names[plural] = short + symbol
    return names


_NAMES = _plain_names()
_NAMES_LOWER = {name.casefold(): symbol for name, symbol in _NAMES.items() if len(name) > 2 or not name.isascii()}
_SYMBOLS = {prefix + base: prefix.replace("u", "µ") + base for base in _BASES for prefix in _PREFIXES}
_SYMBOLS |= {symbol: symbol for symbol in _SYMBOLS_ALONE}
_SYMBOLS |= {
    "℃": "°C",
    "kts": "kn",
    "KB": "kB",
    "cms": "cm",
    "kms": "km",
    "kgs": "kg",
    "mls": "mL",
    "ml": "mL",
    "l": "L",
}
_SYMBOLS |= {
    "Mbps": "Mbps",
    "Gbps": "Gbps",
    "kbps": "kbps",
    '"': "in",
    "w": "W",
    "v": "V",
    "j": "J",
    "n": "N",
    "pa": "Pa",
}
for _never in ("pm", "MM", "G", "M", "B", "K", "T", "cd", "Tm", "Pm", "mm2"):
    _SYMBOLS.pop(_never, None)


def _single(name: str) -> str | None:
    """The symbol of one unit without powers, or None."""
    found = _SYMBOLS.get(name) or _NAMES.get(name)
    if found is None:
        lowered = name.casefold()
        found = _NAMES_LOWER.get(lowered)
        if found is None and lowered in _ANY_CASE:
            found = _SYMBOLS.get(lowered) or _NAMES.get(lowered)
    return found


def _factor(text: str) -> str | None:
    """The symbol of a unit with its power: "sq. cm", "m^2", "metres squared"."""
    text = text.strip()
    if (found := _single(text.rstrip("."))) is not None:
        return found
    power = ""
    if (first := _SQUARE_FIRST.match(text.casefold())) is not None:
        power, text = ("2" if first[1] else "3"), text[first.end() :]
    elif (last := _CUBED_SHORT.search(text)) is not None:
        power = last[1] or last[3] or ("2" if last[2] == " squared" else "3")
        text = text[: last.start()]
    found = _single(text.strip().rstrip("."))
    return None if found is None or not power else found + power


@lru_cache(maxsize=4096)
def unit_of(text: str) -> str | None:
    """The canonical symbol of a unit as written behind a number, or None when the words are no unit.

    Args:
        text: folded, in its own case: "km/h", "kilometers per hour", "sq. cm", "degrees Celsius".

    Returns:
        One spelling per unit ("km/h" for both of the above), or None.
    """
    text = text.strip()
    if len(text) > 48 or not text:
        return None
    if (found := _factor(text)) is not None:
        return found
    lowered = text.casefold().rstrip(".")
    if lowered == "per cent":
        return "%"
    if lowered.startswith(("degree ", "degrees ", "deg ", "deg. ", "°")):
        scale = lowered.partition("°")[2] or lowered.partition(" ")[2]
        return {"c": "°C", "celsius": "°C", "centigrade": "°C", "f": "°F", "fahrenheit": "°F"}.get(scale.strip())
    above, *below = _PER.split(text)
    if len(below) > 2 or not above.strip():
        return None
    parts = [_product(part) for part in (above, *below)]
    return None if None in parts else "/".join(str(part) for part in parts)


def _product(text: str) -> str | None:
    if (found := _factor(text)) is not None:
        return found
    # "square feet" holds a space that multiplies nothing, so a product needs two units.
    for cut in _TIMES.finditer(text.strip()):
        first, second = _factor(text.strip()[: cut.start()]), _factor(text.strip()[cut.end() :])
        if first is not None and second is not None and "%" not in first:
            return f"{first}·{second}"
    return None


# Where a value can end and a unit begin: after a digit, a bracket or \pi, with or without a space.
_TAIL = re.compile(
    r"(?:(?<=[\d})π°])|(?<=\\pi )|(?<=\\infty )) ?(?P<unit>[A-Za-zµΩ°%][A-Za-zµΩ°%./· -]*(?: ?\^ "
    r"?\{? ?-?\d ?\}?)?[A-Za-z/ ]*)$"
)


def without_unit(text: str, *, marked: bool) -> str:
    """A mathematical answer without the unit at its end: "25\\pi cm^2" is "25\\pi".

    Args:
        text: a folded answer.
        marked: whether the unit stood in \\text{} or the like. Only then may it be a single letter: 2\\pi m.
    """
    found = _TAIL.search(text)
    if found is None:
        return text
    unit = found["unit"].strip()
    if (len(unit) == 1 and not marked) or unit_of(unit) is None:
        return text
    return text[: found.start()].strip()
