"""A world's picture as data: what is in it, before anything is drawn.

Two kinds. A `Scene` is a layout of coloured shapes, one per cell of a grid. A `Chart` gives each of
several colours a value, shown as bars, as points on a line, as slices of a pie or as rows of a table. Colours name
the categories of a chart because a small vision tower reads colours long before it reads words.

Everything is a pure function of a numpy generator, so a picture is its seed.
"""

from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "diamond")
SIZES = ("small", "large")
CHARTS = ("bar", "line", "pie", "table")


@dataclass(frozen=True)
class Thing:
    """One coloured shape; `row` and `col` count cells from the top left, starting at 0."""

    shape: str
    colour: str
    size: str
    row: int
    col: int


@dataclass(frozen=True)
class Scene:
    """Things in reading order (row by row, left to right) on a grid of `rows` x `cols` cells."""

    rows: int
    cols: int
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Chart:
    """`values[i]` belongs to `colours[i]`. Bars, lines and tables hold 1..9; a pie holds per cent that sum to 100."""

    kind: str
    colours: tuple[str, ...]
    values: tuple[int, ...]

    def value(self, colour: str) -> int | None:
        """The value shown for a colour, or None when the chart does not show it."""
        return dict(zip(self.colours, self.values, strict=True)).get(colour)


Picture = Scene | Chart


def sample_scene(rng: np.random.Generator, *, rows: int = 4, cols: int = 4, least: int = 3, most: int = 8) -> Scene:
    """A layout of `least`..`most` things in distinct cells.

    Colours and shapes come from a small palette per scene, so that groups worth counting occur.
    """
    count = int(rng.integers(least, most + 1))
    cells = np.sort(rng.choice(rows * cols, size=count, replace=False))
    colours = rng.choice(COLOURS, size=int(rng.integers(2, 5)), replace=False)
    shapes = rng.choice(SHAPES, size=int(rng.integers(2, 5)), replace=False)
    things = tuple(
        Thing(
            str(rng.choice(shapes)),
            str(rng.choice(colours)),
            str(rng.choice(SIZES)),
            *divmod(int(cell), cols),
        )
        for cell in cells
    )
    return Scene(rows, cols, things)


def sample_chart(rng: np.random.Generator, kind: str | None = None) -> Chart:
    """A chart of a random (or given) kind.

    Bars, lines and tables have 3 to 5 colours, a pie 2 to 4 slices of whole tenths. Only tables and pies may show a
    value twice.
    """
    kind = kind or str(rng.choice(CHARTS))
    count = int(rng.integers(3, 6)) if kind != "pie" else int(rng.integers(2, 5))
    colours = tuple(str(c) for c in rng.choice(COLOURS, size=count, replace=False))
    if kind == "pie":
        cuts = np.sort(rng.choice(np.arange(1, 10), size=count - 1, replace=False))
        shares = np.diff(np.concatenate([[0], cuts, [10]])) * 10
        return Chart(kind, colours, tuple(int(s) for s in shares))
    values = rng.choice(np.arange(1, 10), size=count, replace=kind == "table")
    return Chart(kind, colours, tuple(int(v) for v in values))
