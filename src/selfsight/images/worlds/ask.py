"""Draws well-posed questions with balanced answers: for held-out sets and for the authors the starter learns from."""

import numpy as np

from selfsight.images.worlds.grammar import (
    CHART_FAMILIES,
    DIRECTIONS,
    EXTREMES,
    MARKS,
    SCENE_FAMILIES,
    Described,
    Query,
)  # fmt: skip
from selfsight.images.worlds.scene import COLOURS, SHAPES, SIZES, Chart, Picture, Scene
from selfsight.images.worlds.truth import answer, overlap

TRIES = 30


def families_for(picture: Picture) -> tuple[str, ...]:
    """The families that can be asked about a picture."""
    return CHART_FAMILIES if isinstance(picture, Chart) else SCENE_FAMILIES


def ask(picture: Picture, family: str, rng: np.random.Generator) -> tuple[Query, str] | None:
    """A well-posed query of a family with its answer, or None when the picture offers none.

    Yes and no are equally likely before rejection; counts and readings follow the picture.
    """
    wanted = "yes" if rng.random() < 0.5 else "no"
    for _ in range(TRIES):
        query = _draft(picture, family, rng, wanted)
        if query is None:
            continue
        found = answer(query, picture).answer
        if found is None or (found in ("yes", "no") and found != wanted):
            continue
        if family in ("counting", "arithmetic") and found == "0" and rng.random() < 0.7:
            continue  # empty groups are easy to draw and teach little
        return query, found
    return None


def draft_any(rng: np.random.Generator, picture: Picture, family: str) -> Query | None:
    """A query that need not be well-posed: what an author asks who did not check that there is just one."""
    return _draft(picture, family, rng, "yes" if rng.random() < 0.5 else "no", sure=False)


def _pick(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return str(options[int(rng.integers(len(options)))])


def _group(rng: np.random.Generator, scene: Scene | None) -> Described:
    """A group by colour, by shape, by size or by colour and shape; taken from the scene when one is given."""
    colours = [t.colour for t in scene.things] if scene else list(COLOURS)
    shapes = [t.shape for t in scene.things] if scene else list(SHAPES)
    style = rng.random()
    if style < 0.4:
        return Described(colour=_pick(rng, colours))
    if style < 0.8:
        return Described(shape=_pick(rng, shapes))
    if style < 0.9:
        return Described(colour=_pick(rng, colours), shape=_pick(rng, shapes))
    return Described(size=_pick(rng, SIZES))


def _pair(rng: np.random.Generator, scene: Scene) -> tuple[Described, Described] | None:
    a, b = _group(rng, scene), _group(rng, scene if rng.random() < 0.85 else None)
    same_kind = (a.colour is None) == (b.colour is None) and (a.shape is None) == (b.shape is None)
    return (a, b) if same_kind and not overlap(a, b) else None


def _referent(rng: np.random.Generator, scene: Scene, sure: bool, without: str | None = None) -> Described | None:
    """A description of one thing, and if `sure` one that fits nothing else; often fuller than it need be.

    `without` is the attribute that the question asks for. People name colour and shape when either would do
    (Pechmann 1989), and whoever is not sure of the rest of the picture had better.
    """
    thing = scene.things[int(rng.integers(len(scene.things)))]
    options = [
        Described(colour=thing.colour, shape=thing.shape), Described(thing.size, thing.colour),
        Described(thing.size, None, thing.shape), Described(colour=thing.colour), Described(shape=thing.shape),
        Described(thing.size, thing.colour, thing.shape),
    ]  # fmt: skip
    if without is not None:
        options = [o for o in options if getattr(o, without) is None]
    order = rng.permutation(len(options)) if rng.random() < 0.4 else range(len(options))
    for i in order:
        if not sure or sum(map(options[i].matches, scene.things)) == 1:
            return options[i]
    return None


def _draft(picture: Picture, family: str, rng: np.random.Generator, wanted: str, sure: bool = True) -> Query | None:
    if isinstance(picture, Chart):
        return _draft_chart(picture, family, rng)
    if family == "existence":
        thing = picture.things[int(rng.integers(len(picture.things)))]
        colour = thing.colour if rng.random() < 0.85 else None
        seen = Described(None if colour and rng.random() < 0.8 else thing.size, colour, thing.shape)
        if wanted == "yes":
            return Query("exists", seen)
        # A near miss: one attribute of something that is there, changed.
        swap = rng.random() < 0.5 and seen.colour is not None
        return Query(
            "exists",
            Described(seen.size, _pick(rng, COLOURS), seen.shape) if swap
            else Described(seen.size, seen.colour, _pick(rng, SHAPES)),
        )  # fmt: skip
    if family == "attribute":
        word = _pick(rng, ("colour", "shape", "colour", "shape", "size"))
        referent = _referent(rng, picture, sure, without=word)
        return None if referent is None else Query("attribute", referent, word=word)
    if family == "counting":
        return Query("count", _group(rng, picture if rng.random() < 0.9 else None))
    if family == "relation":
        a, b = _referent(rng, picture, sure), _referent(rng, picture, sure)
        return Query("relation", a, b, _pick(rng, DIRECTIONS)) if a and b and a != b else None
    pair = _pair(rng, picture)
    if pair is None:
        return None
    if family == "comparison":
        return Query("more", *pair)
    return Query("total" if rng.random() < 0.5 else "difference", *pair)


def _draft_chart(chart: Chart, family: str, rng: np.random.Generator) -> Query | None:
    mark = MARKS[chart.kind]
    first, second = (str(c) for c in rng.choice(chart.colours, size=2, replace=False))
    if family == "chart_value":
        return Query("value", colours=(first,), mark=mark)
    if family == "chart_comparison":
        if rng.random() < 0.5:
            return Query("greater", colours=(first, second), mark=mark)
        return Query("extreme", word=_pick(rng, EXTREMES), mark=mark)
    return Query("sum" if rng.random() < 0.5 else "gap", colours=(first, second), mark=mark)
