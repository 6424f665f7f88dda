"""Questions about worlds: what can be asked, how it is said, and how a sentence is read back.

A question is a `Query` (data). `PHRASINGS` is the whole language: the same sentence patterns write a query out and
read one in, so that nothing can be said that is not understood. Families rise in difficulty from
existence to arithmetic over two groups and over chart values. For evaluation and for building the starter
only: no training path imports this module.
"""

import re
from dataclasses import dataclass

import numpy as np

from selfsight.images.worlds.scene import COLOURS, SHAPES, SIZES, Thing

FAMILIES = (
    "existence", "attribute", "counting", "comparison", "relation", "arithmetic",
    "chart_value", "chart_comparison", "chart_arithmetic",
)  # fmt: skip
SCENE_FAMILIES = FAMILIES[:6]
CHART_FAMILIES = FAMILIES[6:]
ATTRIBUTES = ("colour", "shape", "size")
DIRECTIONS = ("left of", "right of", "above", "below")
EXTREMES = ("largest", "smallest")
MARKS = {"bar": "bar", "line": "point", "pie": "slice", "table": "row"}


@dataclass(frozen=True)
class Described:
    """A description of things: None means 'any'. Plain `object` when no shape is given."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None

    def matches(self, thing: Thing) -> bool:
        """Whether a thing fits the description."""
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.size, thing.size),
                (self.colour, thing.colour),
                (self.shape, thing.shape),
            )
        )

    @property
    def singular(self) -> str:
        """'small red circle', 'red object'."""
        return " ".join(word for word in (self.size, self.colour, self.shape or "object") if word)

    @property
    def plural(self) -> str:
        """'small red circles', 'red objects'."""
        return self.singular + "s"

    @property
    def indefinite(self) -> str:
        """'a small red circle', 'an object'."""
        return ("an " if self.singular[0] in "aeiou" else "a ") + self.singular


@dataclass(frozen=True)
class Query:
    """One question as data. Which fields are used depends on `kind`; see `PHRASINGS` for the kinds."""

    kind: str
    a: Described | None = None
    b: Described | None = None
    word: str | None = None  # attribute, direction or extreme
    colours: tuple[str, ...] = ()
    mark: str | None = None

    @property
    def family(self) -> str:
        """The family a kind belongs to."""
        return FAMILY_OF[self.kind]


FAMILY_OF = {
    "exists": "existence", "attribute": "attribute", "count": "counting", "more": "comparison",
    "relation": "relation", "total": "arithmetic", "difference": "arithmetic", "value": "chart_value",
    "greater": "chart_comparison", "extreme": "chart_comparison", "sum": "chart_arithmetic",
    "gap": "chart_arithmetic",
}  # fmt: skip

# Slots: {A} indefinite, {a} {b} singular, {as} {bs} plural, {attr} {dir} {ext} words, {c} {d} colours, {mark}.
PHRASINGS: dict[str, tuple[str, ...]] = {
    "exists": ("Is there {A}?", "Can you see {A}?", "Does the image show {A}?"),
    "attribute": ("What {attr} is the {a}?", "Which {attr} does the {a} have?", "What is the {attr} of the {a}?"),
    "count": ("How many {as} are there?", "How many {as} can you see?", "What is the number of {as}?"),
    "more": ("Are there more {as} than {bs}?", "Do {as} outnumber {bs}?", "Can you see more {as} than {bs}?"),
    "relation": ("Is the {a} {dir} the {b}?", "Does the {a} lie {dir} the {b}?", "Can you see the {a} {dir} the {b}?"),
    "total": ("How many {as} and {bs} are there in total?", "What is the total number of {as} and {bs}?"),
    "difference": ("How many more {as} than {bs} are there?", "By how many do {as} outnumber {bs}?"),
    "value": (
        "What is the value of the {c} {mark}?", "What value does the {c} {mark} show?", "How much is the {c} {mark}?",
    ),
    "greater": ("Is the {c} {mark} larger than the {d} {mark}?", "Does the {c} {mark} show more than the {d} {mark}?"),
    "extreme": ("Which {mark} is the {ext}?", "What colour is the {ext} {mark}?"),
    "sum": ("What is the sum of the {c} and {d} {mark}s?", "How much are the {c} and {d} {mark}s together?"),
    "gap": ("What is the difference between the {c} and {d} {mark}s?", "How far apart are the {c} and {d} {mark}s?"),
}  # fmt: skip

_NOUN = rf"(?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)}|object)"
_COLOUR = rf"({'|'.join(COLOURS)})"
_MARK = rf"({'|'.join(MARKS.values())})"
_SLOTS = {
    "{A}": r"an? " + _NOUN, "{a}": _NOUN, "{b}": _NOUN, "{as}": _NOUN + "s", "{bs}": _NOUN + "s",
    "{attr}": rf"({'|'.join(ATTRIBUTES)}|color)", "{dir}": rf"({'|'.join(DIRECTIONS)})",
    "{ext}": rf"({'|'.join(EXTREMES)})", "{c}": _COLOUR, "{d}": _COLOUR, "{mark}": _MARK,
}  # fmt: skip
_SLOT = re.compile(r"\{\w+\}")


def _compile(pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    slots = tuple(_SLOT.findall(pattern))
    pieces = _SLOT.split(pattern)
    regex = re.escape(pieces[0])
    for slot, piece in zip(slots, pieces[1:], strict=True):
        regex += _SLOTS[slot] + re.escape(piece)
    # ASCII, or a long s would match an s and the colour or shape read would be one that no thing has.
    return re.compile(regex + r"\Z", re.IGNORECASE | re.ASCII), slots


_READERS = [(kind, *_compile(pattern)) for kind, patterns in PHRASINGS.items() for pattern in patterns]


def say(query: Query, rng: np.random.Generator | None = None) -> str:
    """The query as an English sentence: a random phrasing, or the first one without a generator."""
    patterns = PHRASINGS[query.kind]
    pattern = patterns[0] if rng is None else patterns[int(rng.integers(len(patterns)))]
    a, b = query.a, query.b
    words = {
        "{A}": a and a.indefinite, "{a}": a and a.singular, "{b}": b and b.singular, "{as}": a and a.plural,
        "{bs}": b and b.plural, "{attr}": query.word, "{dir}": query.word, "{ext}": query.word,
        "{c}": query.colours[0] if query.colours else None,
        "{d}": query.colours[1] if len(query.colours) > 1 else None, "{mark}": query.mark,
    }  # fmt: skip
    return _SLOT.sub(lambda slot: str(words[slot.group()]), pattern)


def read(question: str) -> Query | None:
    """The query that a sentence asks, or None when the sentence is not one of this language."""
    text = " ".join(question.split())
    if len(text) > 200:
        return None
    for kind, pattern, slots in _READERS:
        found = pattern.match(text)
        if found is not None:
            return _query_from(kind, slots, [g.lower() if g else None for g in found.groups()])
    return None


def _query_from(kind: str, slots: tuple[str, ...], groups: list[str | None]) -> Query | None:
    nouns: list[Described] = []
    colours: list[str] = []
    marks: set[str] = set()
    word: str | None = None
    for slot in slots:
        if slot in ("{A}", "{a}", "{b}", "{as}", "{bs}"):
            size, colour, shape, *groups = groups
            nouns.append(Described(size, colour, None if shape == "object" else shape))
        else:
            value, *groups = groups
            if slot in ("{c}", "{d}"):
                colours.append(str(value))
            elif slot == "{mark}":
                marks.add(str(value))
            else:
                word = "colour" if value == "color" else value
    if len(marks) > 1:
        return None
    first, second = [*nouns, None, None][:2]
    return Query(kind, first, second, word, tuple(colours), next(iter(marks), None))
