"""Draws a world's picture with Pillow, at any size, supersampled.

Nuisances that carry no answer (shade of the background, exact tint, place inside a cell) vary with the generator, so
a model must read the picture, not memorise pixels.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from selfsight.images.worlds.scene import Chart, Picture, Scene

RGB = {
    "red": (220, 40, 40),
    "green": (40, 165, 70),
    "blue": (45, 90, 220),
    "yellow": (240, 215, 40),
    "purple": (145, 60, 180),
    "orange": (245, 135, 30),
}
SUPERSAMPLING = 3
_RADIUS = {"small": 0.24, "large": 0.42}  # of a cell's side


def draw(picture: Picture, rng: np.random.Generator, size: int = 112) -> Image.Image:
    """The picture as a square RGB image of `size` pixels a side; `rng` decides the nuisances only."""
    big = size * SUPERSAMPLING
    shade = int(rng.integers(226, 256))
    image = Image.new("RGB", (big, big), (shade, shade, shade))
    pen = ImageDraw.Draw(image)
    if isinstance(picture, Scene):
        _draw_scene(pen, picture, rng, big)
    else:
        _CHART_PAINTERS[picture.kind](pen, picture, rng, big)
    return image.resize((size, size), Image.Resampling.BOX)


def _tint(colour: str, rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(np.clip(c + rng.integers(-12, 13), 0, 255)) for c in RGB[colour])
    return red, green, blue


def _draw_scene(pen: ImageDraw.ImageDraw, scene: Scene, rng: np.random.Generator, big: int) -> None:
    cell = big / max(scene.rows, scene.cols)
    for thing in scene.things:
        radius = _RADIUS[thing.size] * cell
        slack = max(0.0, cell / 2 - radius - 1) * 0.6
        dx, dy = rng.uniform(-slack, slack, size=2)
        centre = ((thing.col + 0.5) * cell + dx, (thing.row + 0.5) * cell + dy)
        _draw_shape(pen, thing.shape, centre, radius, _tint(thing.colour, rng))


def _draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    fill: tuple[int, int, int],
) -> None:
    x, y = centre
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "square":
        half = radius * 0.84
        pen.rectangle((x - half, y - half, x + half, y + half), fill=fill)
    elif shape == "triangle":
        pen.polygon([(x, y - radius), (x + radius, y + radius * 0.8), (x - radius, y + radius * 0.8)], fill=fill)
    elif shape == "diamond":
        pen.polygon([(x, y - radius), (x + radius * 0.75, y), (x, y + radius), (x - radius * 0.75, y)], fill=fill)
    elif shape == "star":
        points = []
        for k in range(10):
            reach = radius if k % 2 == 0 else radius * 0.4
            angle = -math.pi / 2 + k * math.pi / 5
            points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        pen.polygon(points, fill=fill)
    else:
        raise ValueError(f"no such shape: {shape}")


def _axes(pen: ImageDraw.ImageDraw, big: int) -> tuple[float, float]:
    """Baseline and unit height of a 0..10 axis, with a light grid line per two units."""
    base, unit = big * 0.96, big * 0.09
    for level in range(2, 11, 2):
        y = base - level * unit
        pen.line((big * 0.03, y, big * 0.98, y), fill=(190, 190, 190), width=SUPERSAMPLING)
    pen.line((big * 0.03, base, big * 0.98, base), fill=(40, 40, 40), width=SUPERSAMPLING)
    pen.line((big * 0.03, base - 10 * unit, big * 0.03, base), fill=(40, 40, 40), width=SUPERSAMPLING)
    return base, unit


def _draw_bars(pen: ImageDraw.ImageDraw, chart: Chart, rng: np.random.Generator, big: int) -> None:
    base, unit = _axes(pen, big)
    slot = big * 0.93 / len(chart.colours)
    for i, (colour, value) in enumerate(zip(chart.colours, chart.values, strict=True)):
        left = big * 0.05 + i * slot + slot * 0.12
        pen.rectangle((left, base - value * unit, left + slot * 0.76, base), fill=_tint(colour, rng))


def _draw_line(pen: ImageDraw.ImageDraw, chart: Chart, rng: np.random.Generator, big: int) -> None:
    base, unit = _axes(pen, big)
    slot = big * 0.93 / len(chart.colours)
    points = [(big * 0.05 + (i + 0.5) * slot, base - v * unit) for i, v in enumerate(chart.values)]
    pen.line(points, fill=(70, 70, 70), width=2 * SUPERSAMPLING)
    radius = big * 0.055
    for (x, y), colour in zip(points, chart.colours, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_tint(colour, rng))


def _draw_pie(pen: ImageDraw.ImageDraw, chart: Chart, rng: np.random.Generator, big: int) -> None:
    box, start = (big * 0.06, big * 0.06, big * 0.94, big * 0.94), -90.0
    for colour, value in zip(chart.colours, chart.values, strict=True):
        end = start + 3.6 * value
        pen.pieslice(box, start, end, fill=_tint(colour, rng), outline=(255, 255, 255), width=SUPERSAMPLING)
        start = end


def _draw_table(pen: ImageDraw.ImageDraw, chart: Chart, rng: np.random.Generator, big: int) -> None:
    height = big * 0.96 / 5
    font = ImageFont.load_default(size=height * 0.85)
    for i, (colour, value) in enumerate(zip(chart.colours, chart.values, strict=True)):
        top = big * 0.02 + i * height
        pen.rectangle((big * 0.04, top, big * 0.96, top + height), outline=(60, 60, 60), width=SUPERSAMPLING)
        swatch = (big * 0.08, top + height * 0.15, big * 0.42, top + height * 0.85)
        pen.rectangle(swatch, fill=_tint(colour, rng))
        pen.text((big * 0.7, top + height * 0.5), str(value), fill=(20, 20, 20), font=font, anchor="mm")


_CHART_PAINTERS = {"bar": _draw_bars, "line": _draw_line, "pie": _draw_pie, "table": _draw_table}
