"""Points and the straight lines through them as a small SVG, written by hand: no plotting library is a requirement.

Left out: logarithmic axes, which would make every power look straight.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 110, 50, 60
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e", "#34495e")


@dataclass(frozen=True)
class Line:
    """Measured points (x, y), and the line `start + slope * x` that was fitted to them."""

    name: str
    points: Sequence[tuple[float, float]]
    start: float
    slope: float


def svg(lines: Sequence[Line], *, title: str, x_name: str, y_name: str) -> str:
    """Both axes begin at zero, so that a line's height over the origin is its fixed cost."""
    right = max(x for line in lines for x, _ in line.points)
    top = max(y for line in lines for _, y in line.points)
    top = max(top, *(line.start + line.slope * right for line in lines))

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = x / right * (WIDTH - LEFT - RIGHT), y / top * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    drawn = [_text(LEFT, 20, title, "start", 15), _text(LEFT - 8, TOP - 10, y_name, "end")]
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_name, "middle"))
    for tick in range(5):
        x, y = right * tick / 4, top * tick / 4
        (at, _), (_, height) = place(x, 0), place(0, y)
        drawn += [
            _text(at, HEIGHT - BOTTOM + 18, f"{x:,.0f}", "middle"),
            _text(LEFT - 8, height + 4, f"{y:.3g}", "end"),
        ]
        drawn.append(_stroke((LEFT, height), (WIDTH - RIGHT, height), "#dddddd"))
    above = -math.inf
    by_height = sorted(lines, key=lambda line: -line.start - line.slope * right)
    for line, colour in zip(by_height, itertools.cycle(COLOURS)):
        end = place(right, line.start + line.slope * right)
        above = max(above + 15, end[1])  # names of lines that end close together stand below each other
        drawn.append(_stroke(place(0, line.start), end, colour))
        drawn += [
            f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>' for x, y in (place(*point) for point in line.points)
        ]
        drawn.append(_text(end[0] + 8, above + 4, line.name, "start", colour=colour))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *drawn, "</svg>\n"])


def _text(x: float, y: float, text: str, anchor: str, size: int = 12, *, colour: str = "#333333") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _stroke(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    return f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}" stroke="{colour}"/>'
