"""The grammar: what can be said is understood, in every phrasing, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.images.worlds.grammar import (
    ATTRIBUTES,
    DIRECTIONS,
    EXTREMES,
    FAMILIES,
    FAMILY_OF,
    MARKS,
    PHRASINGS,
    Described,
    Query,
    read,
    say,
)
from selfsight.images.worlds.scene import COLOURS, SHAPES, SIZES, Thing
from selfsight.language.question_reader import check_question


def maybe(words: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(words)


DESCRIBED = st.builds(Described, maybe(SIZES), maybe(COLOURS), maybe(SHAPES))
CELL = st.just(0)
THINGS = st.builds(Thing, st.sampled_from(SHAPES), st.sampled_from(COLOURS), st.sampled_from(SIZES), CELL, CELL)
COLOUR, MARK = st.sampled_from(COLOURS), st.sampled_from(sorted(MARKS.values()))
ONE_COLOUR, TWO_COLOURS = st.tuples(COLOUR), st.tuples(COLOUR, COLOUR)


def query(kind: str, **fields: st.SearchStrategy) -> st.SearchStrategy[Query]:
    return st.builds(Query, st.just(kind), **fields)


QUERIES = {
    "exists": query("exists", a=DESCRIBED),
    "attribute": query("attribute", a=DESCRIBED, word=st.sampled_from(ATTRIBUTES)),
    "count": query("count", a=DESCRIBED),
    "more": query("more", a=DESCRIBED, b=DESCRIBED),
    "relation": query("relation", a=DESCRIBED, b=DESCRIBED, word=st.sampled_from(DIRECTIONS)),
    "total": query("total", a=DESCRIBED, b=DESCRIBED),
    "difference": query("difference", a=DESCRIBED, b=DESCRIBED),
    "value": query("value", colours=ONE_COLOUR, mark=MARK),
    "greater": query("greater", colours=TWO_COLOURS, mark=MARK),
    "extreme": query("extreme", word=st.sampled_from(EXTREMES), mark=MARK),
    "sum": query("sum", colours=TWO_COLOURS, mark=MARK),
    "gap": query("gap", colours=TWO_COLOURS, mark=MARK),
}


class Pick:
    """Stands in for a generator and always picks the same phrasing."""

    def __init__(self, phrasing: int) -> None:
        self.phrasing = phrasing

    def integers(self, count: int) -> int:
        assert self.phrasing < count
        return self.phrasing


@pytest.mark.parametrize(
    ("kind", "phrasing"), [(k, i) for k, patterns in PHRASINGS.items() for i in range(len(patterns))]
)
def test_every_phrasing_of_every_kind_is_read_back_as_what_was_meant(kind: str, phrasing: int) -> None:
    @settings(deadline=None)
    @given(QUERIES[kind])
    def holds(meant: Query) -> None:
        sentence = say(meant, Pick(phrasing))  # type: ignore[arg-type]
        assert read(sentence) == meant
        assert read(sentence.upper()) == meant
        assert read(f"  {sentence.replace(' ', '  ')} ") == meant
        assert check_question(sentence).text == sentence  # and the product's own reader lets it through

    holds()


@settings(deadline=None)
@given(st.sampled_from(sorted(QUERIES)).flatmap(QUERIES.__getitem__), st.integers(0, 2**32))
def test_any_phrasing_a_generator_picks_is_read_back(meant: Query, seed: int) -> None:
    assert read(say(meant, np.random.default_rng(seed))) == meant
    assert read(say(meant)) == meant


def test_no_sentence_means_two_things() -> None:
    """Over all phrasings of many random queries, a sentence belongs to one query only."""
    rng = np.random.default_rng(0)
    meant_by: dict[str, Query] = {}

    def described() -> Described:
        return Described(*(None if rng.random() < 0.4 else str(rng.choice(w)) for w in (SIZES, COLOURS, SHAPES)))

    for kind, patterns in PHRASINGS.items():
        for _ in range(60):
            chart = FAMILY_OF[kind].startswith("chart_")
            words = {"attribute": ATTRIBUTES, "relation": DIRECTIONS, "extreme": EXTREMES}.get(kind)
            one = Query(
                kind,
                described() if not chart else None,
                described() if kind in ("more", "relation", "total", "difference") else None,
                str(rng.choice(words)) if words else None,
                tuple(map(str, rng.choice(COLOURS, {"value": 1, "extreme": 0}.get(kind, 2)))) if chart else (),
                str(rng.choice(sorted(MARKS.values()))) if chart else None,
            )
            for i in range(len(patterns)):
                assert meant_by.setdefault(say(one, Pick(i)), one) == one  # type: ignore[arg-type]
    assert len(meant_by) > 1000


@pytest.mark.parametrize(
    ("described", "singular", "plural", "indefinite"),
    [
        (Described(), "object", "objects", "an object"),
        (Described(colour="orange"), "orange object", "orange objects", "an orange object"),
        (Described("small", "orange"), "small orange object", "small orange objects", "a small orange object"),
        (Described(shape="star"), "star", "stars", "a star"),
        (Described("large", "red", "circle"), "large red circle", "large red circles", "a large red circle"),
        (Described(colour="orange", shape="diamond"), "orange diamond", "orange diamonds", "an orange diamond"),
    ],
)
def test_articles_and_plurals_are_english(described: Described, singular: str, plural: str, indefinite: str) -> None:
    assert (described.singular, described.plural, described.indefinite) == (singular, plural, indefinite)


@pytest.mark.parametrize(
    ("sentence", "meant"),
    [
        ("Is there an red circle?", Query("exists", Described(colour="red", shape="circle"))),
        ("is there a object?", Query("exists", Described())),
        ("What color is the star?", Query("attribute", Described(shape="star"), word="colour")),
        ("WHICH BAR IS THE LARGEST?", Query("extreme", word="largest", mark="bar")),
        ("How many\tred \n stars are there?", Query("count", Described(colour="red", shape="star"))),
    ],
)
def test_spelling_that_changes_no_meaning_is_read(sentence: str, meant: Query) -> None:
    assert read(sentence) == meant


@pytest.mark.parametrize(
    "sentence",
    [
        "", "?", "Is there", "Is there a?", "Is there a circle", "Is there a circle??", "Is there a circle? Yes?",
        "Is there a pink circle?", "Is there a circle red?", "Is there red circle?", "Is there a red red circle?",
        "Is there a red small circle?", "How many circle are there?", "How many red are there?",
        "How many red circles and are there in total?", "How many circles are here?", "What taste is the circle?",
        "Is the circle near the star?", "Is the red bar larger than the blue slice?", "Which bar is the reddest?",
        "What is the sum of the red and blue bar?", "What is the sum of red and blue?", "Describe the image.",
        "Please: Is there a circle?", "Is there a circle? " * 20, "Is there a " + "red " * 60 + "circle?",
        "Is there a ſquare?", "Is there a \u200bcircle?", "Is there a cırcle?",
    ],
)  # fmt: skip
def test_anything_else_is_not_a_sentence_of_the_language(sentence: str) -> None:
    assert read(sentence) is None


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_at_all_can_be_asked(text: str) -> None:
    assert read(text) is None or check_question(" ".join(text.split())).ok


def test_a_long_hostile_text_is_refused_at_once() -> None:
    assert read("How many " + "small red " * 200_000 + "circles are there?") is None


@settings(deadline=None)
@given(DESCRIBED, THINGS)
def test_a_description_fits_a_thing_when_each_of_its_words_does(described: Described, thing: Thing) -> None:
    words = set(described.singular.split()) - {"object"}
    assert described.matches(thing) == (words <= {thing.size, thing.colour, thing.shape})


def test_every_kind_has_a_family_and_every_family_a_kind() -> None:
    assert set(FAMILY_OF) == set(PHRASINGS) == set(QUERIES)
    assert set(FAMILY_OF.values()) == set(FAMILIES)
    assert all(Query(kind).family == family for kind, family in FAMILY_OF.items())
