"""Drawings show what they say: everything in a picture is read back from its pixels, without a model.

The readers here know how things look, not how they are drawn: colours by the nearest in the palette, shapes by how
their area lies in their bounding box, values by heights and areas.
"""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.draw import RGB, draw
from selfsight.images.worlds.scene import CHARTS, COLOURS, SHAPES, Chart, Scene, Thing, sample_chart, sample_scene

PALETTE = np.array([RGB[colour] for colour in COLOURS], dtype=np.int16)
TINT = 45  # a tint moves a colour by at most 12 per channel; rims and text are further away


def drawn(picture: Scene | Chart, size: int, seed: int = 0) -> np.ndarray:
    return np.asarray(draw(picture, np.random.default_rng(seed), size)).astype(np.int16)


def colour_map(pixels: np.ndarray) -> np.ndarray:
    """Per pixel the index of the palette's colour, or -1 for background, axes, text and rims."""
    distances = np.stack([np.abs(pixels - colour).sum(-1) for colour in PALETTE])
    return np.where(distances.min(0) <= TINT, distances.argmin(0), -1)


def is_coloured(pixels: np.ndarray) -> np.ndarray:
    """Everything that is not grey, rims included."""
    return pixels.max(-1) - pixels.min(-1) > 60


def common_colour(found: np.ndarray) -> str | None:
    counts = np.bincount(found[found >= 0], minlength=len(COLOURS))
    return COLOURS[int(counts.argmax())] if counts.sum() else None


def read_shape(mask: np.ndarray) -> str:
    """The shape of a filled figure: share of its bounding box that is filled, and where it is widest."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    filled, width = box.mean(), box.sum(1)
    if filled > 0.93:
        return "square"
    if filled > 0.7:
        return "circle"
    if filled < 0.42:
        return "star"
    return "triangle" if width.argmax() > 0.8 * len(width) else "diamond"


def read_scene(pixels: np.ndarray, rows: int, cols: int) -> list[tuple[str, str, str, int, int]]:
    cell = pixels.shape[0] // max(rows, cols)
    found, coloured = colour_map(pixels), is_coloured(pixels)
    things = []
    for row in range(rows):
        for col in range(cols):
            place = slice(row * cell, (row + 1) * cell), slice(col * cell, (col + 1) * cell)
            colour, mask = common_colour(found[place]), coloured[place]
            if colour is not None:
                size = "large" if np.ptp(np.flatnonzero(mask.any(1))) / cell > 0.58 else "small"
                things.append((read_shape(mask), colour, size, row, col))
    return things


@pytest.mark.parametrize("size", [112, 224, 448])
def test_a_layout_can_be_read_back_from_its_pixels(size: int) -> None:
    for seed in range(40 if size < 448 else 15):
        scene = sample_scene(np.random.default_rng(seed))
        expected = [(t.shape, t.colour, t.size, t.row, t.col) for t in scene.things]
        found = read_scene(drawn(scene, size, seed), scene.rows, scene.cols)
        if size < 448:  # too few pixels to tell every shape by its area; colour, size and cell are certain
            assert [thing[1:] for thing in found] == [thing[1:] for thing in expected]
        else:
            assert found == expected


def test_the_middle_of_a_large_thing_has_its_colour_at_the_smallest_size() -> None:
    for size in (56, 112):
        for seed in range(40):
            scene = sample_scene(np.random.default_rng(seed))
            pixels = drawn(scene, size, seed)
            for thing in scene.things:
                if thing.size == "large":
                    y, x = (int((place + 0.5) * size / 4) for place in (thing.row, thing.col))
                    assert common_colour(colour_map(pixels[y : y + 1, x : x + 1])) == thing.colour


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_recognised_in_every_colour_and_size(shape: str) -> None:
    for size in ("small", "large"):
        scene = Scene(4, 4, tuple(Thing(shape, colour, size, i, i % 4) for i, colour in enumerate(COLOURS[:4])))
        found = read_scene(drawn(scene, 448), 4, 4)
        assert found == [(shape, colour, size, i, i % 4) for i, colour in enumerate(COLOURS[:4])]


def read_bars(pixels: np.ndarray) -> dict[str, float]:
    """Height of each colour's bar above the axis at 0.96 of the picture's side, in units of 0.09 of it."""
    found, side = colour_map(pixels), len(pixels)
    tops = {c: np.flatnonzero((found == i).sum(1) > side * 0.06) for i, c in enumerate(COLOURS)}
    return {colour: (0.96 * side - rows[0]) / (0.09 * side) for colour, rows in tops.items() if len(rows)}


def read_points(pixels: np.ndarray) -> dict[str, float]:
    """Height of the middle of each coloured point on the same axis."""
    found, side = colour_map(pixels), len(pixels)
    values = {}
    for index, colour in enumerate(COLOURS):
        rows = np.flatnonzero((found == index).sum(1) > side * 0.03)
        if len(rows):
            values[colour] = (0.96 * side - (rows[0] + rows[-1] + 1) / 2) / (0.09 * side)
    return values


def read_slices(pixels: np.ndarray) -> dict[str, float]:
    """Per cent of the coloured area."""
    found = colour_map(pixels)
    counts = {c: int((found == i).sum()) for i, c in enumerate(COLOURS)}
    counts = {colour: count for colour, count in counts.items() if count > found.size / 50}
    return {colour: 100 * count / sum(counts.values()) for colour, count in counts.items()}


READERS = {"bar": read_bars, "line": read_points, "pie": read_slices}


@pytest.mark.parametrize("kind", sorted(READERS))
@pytest.mark.parametrize("size", [56, 112, 224, 448])
def test_the_values_of_a_chart_can_be_measured_in_its_pixels(kind: str, size: int) -> None:
    # Half of the smallest difference, but for a pie of 56 pixels, where the white rims cost a thin slice most.
    tolerance = 0.45 if kind != "pie" else 4.5 if size > 56 else 7.5
    for seed in range(30 if size < 448 else 10):
        chart = sample_chart(np.random.default_rng(seed), kind)
        values = READERS[kind](drawn(chart, size, seed))
        assert set(values) == set(chart.colours)
        for colour, value in zip(chart.colours, chart.values, strict=True):
            assert values[colour] == pytest.approx(value, abs=tolerance)


def test_bars_points_and_slices_stand_in_the_order_of_the_colours() -> None:
    for kind in ("bar", "line"):
        for seed in range(20):
            chart = sample_chart(np.random.default_rng(seed), kind)
            found = colour_map(drawn(chart, 224, seed))
            middles = [np.median(np.flatnonzero((found == COLOURS.index(c)).any(0))) for c in chart.colours]
            assert middles == sorted(middles)
    found = colour_map(drawn(Chart("pie", ("red", "blue"), (20, 80)), 224))
    assert COLOURS[found[60, 120]] == "red"  # the first slice starts at twelve o'clock and goes right
    assert COLOURS[found[120, 60]] == "blue"


def table_rows(pixels: np.ndarray, rows: int) -> list[tuple[str | None, np.ndarray]]:
    """Of each row the colour of its swatch and the picture of its digit, scaled to 12 x 18."""
    side, height = len(pixels), len(pixels) * 0.96 / 5
    found = colour_map(pixels)
    out = []
    for row in range(rows):
        top, bottom = (round(side * 0.02 + height * (row + part)) for part in (0.1, 0.9))
        ink = 255 - pixels[top:bottom, round(side * 0.55) : round(side * 0.85)].max(-1)
        down, across = np.flatnonzero((ink > 100).any(1)), np.flatnonzero((ink > 100).any(0))
        digit = ink[down[0] : down[-1] + 1, across[0] : across[-1] + 1].astype(np.uint8)
        scaled = Image.fromarray(digit).resize((12, 18), Image.Resampling.BILINEAR)
        out.append((common_colour(found[top:bottom, : side // 2]), np.asarray(scaled).astype(float)))
    return out


@pytest.mark.parametrize("size", [112, 336])
def test_a_table_shows_a_colour_and_its_digit_in_every_row(size: int) -> None:
    """Digits of forty tables are recognised by what those of twenty others look like."""
    looks: dict[int, list[np.ndarray]] = {value: [] for value in range(1, 10)}
    unknown: list[tuple[int, np.ndarray]] = []
    for seed in range(60):
        chart = sample_chart(np.random.default_rng(seed), "table")
        read = table_rows(drawn(chart, size, seed), len(chart.colours))
        assert [colour for colour, _ in read] == list(chart.colours)
        for value, (_, digit) in zip(chart.values, read, strict=True):
            if seed < 20:
                looks[value].append(digit)
            else:
                unknown.append((value, digit))
    templates = {value: np.mean(digits, axis=0) for value, digits in looks.items()}
    recognised = [min(templates, key=lambda v: np.abs(templates[v] - digit).sum()) for _, digit in unknown]
    assert recognised == [value for value, _ in unknown]


def test_nuisances_change_pixels_but_no_colour_value_or_place() -> None:
    scene = sample_scene(np.random.default_rng(3))
    images = [drawn(scene, 448, seed) for seed in range(6)]
    assert all(np.abs(a - b).max() > 0 for a, b in pairwise(images))
    assert len({tuple(read_scene(image, 4, 4)) for image in images}) == 1


@pytest.mark.parametrize("world", ["scenes", "charts"])
def test_every_size_that_models_use_can_be_drawn(world: str) -> None:
    for size in (56, 84, 112, 168, 224, 336, 448):
        source = WorldSource(world, seed=2, size=size)
        for ref in source.take(0, 4):
            image = source.open(ref)
            assert image.size == (size, size)
            assert np.asarray(image).std() > 5


def test_every_chart_has_a_reader_here() -> None:
    assert {*READERS, "table"} == set(CHARTS)
