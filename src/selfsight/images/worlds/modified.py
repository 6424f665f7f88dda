"""The modified twin of a world's picture: the same picture with two facts changed, and a log of the changes.

As in Vision-Zero's pairs (arXiv 2509.25541, A.2.2): in a scene two things change colour and shape and keep their
position and size; in a chart two colours swap their values. A chart whose values are all equal has nothing to swap:
one of its colours is replaced by a colour that it did not show.

Left out: added and removed things, and twins with more or fewer changes (the paper's games have two).
"""

from dataclasses import dataclass, replace

import numpy as np

from selfsight.images.worlds.scene import COLOURS, SHAPES, Chart, Picture, Scene, Thing

CHANGED_THINGS = 2


@dataclass(frozen=True)
class ThingChange:
    """A thing that got another colour and another shape; row, col and size are those of before."""

    before: Thing
    after: Thing


@dataclass(frozen=True)
class ValueChange:
    """A colour of a chart that got another value."""

    colour: str
    before: int
    after: int


@dataclass(frozen=True)
class ColourChange:
    """Place `place` (from 0) of a chart got another colour and kept its value."""

    place: int
    before: str
    after: str


Change = ThingChange | ValueChange | ColourChange


@dataclass(frozen=True)
class Twin:
    """The modified picture and how it differs from the original, in the picture's order."""

    picture: Picture
    changes: tuple[Change, ...]


def modify(picture: Picture, rng: np.random.Generator) -> Twin:
    """The twin of a picture; `rng` decides what changes."""
    return _modify_scene(picture, rng) if isinstance(picture, Scene) else _modify_chart(picture, rng)


def _another(options: tuple[str, ...], taken: tuple[str, ...], rng: np.random.Generator) -> str:
    return str(rng.choice([option for option in options if option not in taken]))


def _modify_scene(scene: Scene, rng: np.random.Generator) -> Twin:
    things = list(scene.things)
    changes: list[Change] = []
    for place in sorted(rng.choice(len(things), size=min(CHANGED_THINGS, len(things)), replace=False).tolist()):
        before = things[place]
        colour, shape = _another(COLOURS, (before.colour,), rng), _another(SHAPES, (before.shape,), rng)
        things[place] = replace(before, colour=colour, shape=shape)
        changes.append(ThingChange(before, things[place]))
    return Twin(replace(scene, things=tuple(things)), tuple(changes))


def _modify_chart(chart: Chart, rng: np.random.Generator) -> Twin:
    places = range(len(chart.values))
    pairs = [(i, j) for i in places for j in places if i < j and chart.values[i] != chart.values[j]]
    if not pairs:
        place = int(rng.integers(len(chart.colours)))
        colour = _another(COLOURS, chart.colours, rng)
        colours = tuple(colour if at == place else old for at, old in enumerate(chart.colours))
        return Twin(replace(chart, colours=colours), (ColourChange(place, chart.colours[place], colour),))
    i, j = pairs[int(rng.integers(len(pairs)))]
    values = list(chart.values)
    values[i], values[j] = values[j], values[i]
    changes = tuple(ValueChange(chart.colours[at], chart.values[at], values[at]) for at in (i, j))
    return Twin(replace(chart, values=tuple(values)), changes)
