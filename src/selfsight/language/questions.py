"""What a question already names, so that repeating it adds nothing to an answer.

"How many circles are there?" makes `3`, `3 circles` and `There are 3 circles` one answer; "in cm?" makes `5` and
`5 cm` one and keeps `5 m` apart; listed options make "red" and "B. red" one. Everything here is a function of the
question alone, so that within one question a key is still one string per answer, and equality an equivalence relation.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from selfsight.language.folding import fold_characters, word_set
from selfsight.language.units import unit_of

MAX_QUESTION_CHARS = 2_000


@dataclass(frozen=True)
class Context:
    """What a question says about its answers."""

    counted: frozenset[str] = frozenset()
    """Words of what is counted, in the singular: {"red", "circle"}."""
    counts: bool = False
    unit: str | None = None
    """The unit that it asks for, if it names exactly one."""
    fraction: bool = False
    """Asks for a fraction, a probability or a decimal: 50% is 1/2, and 10/10 is 1."""
    ordered: bool = False
    """Asks for coordinates or an order: a list keeps its order, and brackets add nothing."""
    ratio: bool = False
    yes_no: bool = False
    options: tuple[tuple[str, str], ...] = ()
    """(letter, text) of listed options."""


NONE = Context()
_HOW_MANY = re.compile(
    r"\b(?:how many|number of|count of|total of|amount of|count (?:all |up )?(?:the )?|how much)\s+(.{1,120}?)"
    r"(?=\?|$|\.|,|\b(?:are|is|do|does|did|can|could|was|were|have|has|in|on|of|with|that|which|there"
    r"|you|would|will|at|appear|visible|shown|"
    r"remain|left|be|to|from|per|between|for|who|inside|outside|within|near|above|below|under|behind"
    r"|make|makes|need|needed|lie|sit|stand)\b)"
)
_MANY_ELSEWHERE = re.compile(
    r"多少|几|幾|いくつ|何[個人本枚匹台つ]|몇|कितन|cuánt|combien|wie ?viele|quant[oiae]s?\b|quanti|quante|сколько"
    r"|كم|hoeveel|kaç|ile\b|bao nhiêu|berapa"
)
_UNIT_NAMED = re.compile(
    r"(?:\b(?:in|unit of|units of|how many|number of|measured in|expressed in|nearest)\s+|\()(?:the "
    r")?([A-Za-zµ°Ω%$€£/²³^0-9]+(?: (?:per|squared|cubed) ?[A-Za-z]*"
    r"|(?<=square) [A-Za-z]+|(?<=cubic) [A-Za-z]+|(?<=degrees) [A-Za-z]+)?)(?=[\s?.,)]|$)"
)
_FRACTION = re.compile(
    r"\b(?:fraction|probability|proportion|decimal|likelihood|simplest form|lowest terms|chance)\b", re.IGNORECASE
)
_ORDERED = re.compile(
    r"\b(?:coordinates?|ordered pair|point|vertex|vertices|location|position|midpoint|origin|intercept"
    r"|order|rank|sort|sequence|arrange|ascending|"
    r"descending|from left to right|from right to left|from top|from bottom|respectively|first.{1,40}then"
    r"|from smallest|from largest|from lowest|from highest)\b",
    re.IGNORECASE,
)
_RATIO = re.compile(r"\bratio\b|\bodds\b|比例|比率", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"^(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|might|isn't|aren't"
    r"|doesn't|don't)\b(?!.*\bor\b)",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"(?:^|(?<=[\s\n?.,;]))(?:\(([A-J])\)|([A-J])[).:])\s*(.+?)(?=\s*(?:[,;]?\s+(?:or\s+)?(?:\([A-J]\)"
    r"|[A-J][).:]\s)|$))",
    re.DOTALL,
)
_FILLERS = word_set(
    "in total altogether all of them such the image picture photo photograph figure scene chart "
    "diagram graph here visible shown present there "
    "this that can be seen i see overall are is a an different individual"
)
_IRREGULAR = {
    "people": "person", "persons": "person", "men": "man", "women": "woman", "children": "child", "feet": "foot",
    "mice": "mouse", "geese": "goose", "teeth": "tooth", "leaves": "leaf", "knives": "knife", "shelves": "shelf",
    "wolves": "wolf", "halves": "half", "lives": "life", "loaves": "loaf", "vertices": "vertex", "axes": "axis",
    "dice": "die", "buses": "bus", "gases": "gas", "glasses": "glass", "oxen": "ox", "kids": "child", "kid": "child",
    "shoes": "shoe", "canoes": "canoe", "toes": "toe", "horses": "horse", "houses": "house", "vases": "vase",
    "noses": "nose", "roses": "rose", "nurses": "nurse", "cases": "case", "cookies": "cookie", "movies": "movie",
    "indices": "index", "cacti": "cactus", "scarves": "scarf", "calves": "calf", "thieves": "thief",
}  # fmt: skip


def singular(word: str) -> str:
    """The singular of an English noun in lower case."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses", "zzes", "oes")):
        return word[:-2]
    if len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _words(text: str) -> list[str]:
    return [singular(word) for word in re.findall(r"[^\W\d_]+", text.casefold())]


@lru_cache(maxsize=8_192)
def context_of(question: str | None) -> Context:
    """What a question says about its answers; `NONE` without a question. Total, and a function of the text alone."""
    if not question or len(question) > MAX_QUESTION_CHARS:
        return NONE
    folded = fold_characters(question)
    lowered = folded.casefold()
    options = tuple((found[1] or found[2], found[3].strip(" ,;?")) for found in _OPTION.finditer(question.strip()))
    letters = [letter for letter, _ in options]
    if len(options) < 2 or letters != sorted(set(letters)) or letters[0] != "A":
        options = ()
    counted = frozenset(
        word
        for found in _HOW_MANY.finditer(lowered)
        for word in _words(found[1])
        if word not in ("and", "or", "the", "more", "total")
    )
    counts = bool(counted) and re.search(r"how many|number of|count", lowered) is not None
    if not counts and _MANY_ELSEWHERE.search(lowered):
        counts, counted = (
            True,
            frozenset(_words(lowered)) | frozenset(c for c in lowered if not c.isascii() and c.isalpha()),
        )
    units = {unit for found in _UNIT_NAMED.finditer(folded) if (unit := _asked_unit(found[1])) is not None}
    if re.search(r"\bpercent|\bpercentage|%", lowered):
        units.add("%")
    return Context(
        counted=counted,
        counts=counts,
        unit=next(iter(units)) if len(units) == 1 else None,
        fraction=_FRACTION.search(folded) is not None and "percent" not in lowered,
        ordered=_ORDERED.search(folded) is not None,
        ratio=_RATIO.search(folded) is not None,
        yes_no=_AUXILIARY.match(folded) is not None,
        options=options,
    )


def _asked_unit(text: str) -> str | None:
    # "in a", "in m": a single letter is a unit only as one of those that nothing else is.
    if len(text) == 1 and text not in "m%$€£g":
        return None
    if text.casefold() in ("points", "point", "units", "unit", "in", "c", "a", "as", "min", "second", "cup", "cups"):
        return None
    return unit_of(text)


def names_counted(rest: str, context: Context) -> bool:
    """Whether what stands behind a number only repeats what the question counts."""
    if not context.counts:
        return False
    words = [word for word in _words(rest) if word not in _FILLERS]
    if not words:
        return bool(rest.strip())
    if all(word in context.counted for word in words):
        return True
    # Scripts without spaces between words: every character stands in the question.
    return all(not c.isascii() and c in context.counted for c in rest if c.isalpha())
