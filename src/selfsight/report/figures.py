"""How figures of a run are written for a person: tables, shares, intervals, changes in points.

A figure that a run could not measure is a dash, never zero.
"""

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table

DASH: Final = "\N{EN DASH}"
_MINUS: Final = "\N{MINUS SIGN}"


def table(first: str, *others: str) -> Table:
    """A table with `first` to the left and columns of figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def console(stream: TextIO) -> Console:
    """Text that nobody interprets, as wide as a terminal or as 110 characters."""
    # Not a terminal: a fixed width, so that a log reads the same everywhere. Never markup or emoji codes:
    # a model's name is not ours to interpret.
    width = None if stream.isatty() else 110
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def share(value: float | None) -> str:
    """0.5 as 50.0 %."""
    return DASH if value is None else f"{value * 100:.1f} %"


def points(value: float) -> str:
    """0.05 as +5.0."""
    sign = "+" if value > 0 else _MINUS if value < 0 else ""
    return f"{sign}{abs(value) * 100:.1f}"


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """A share with its interval [low, high]."""
    if value is None or interval is None:
        return share(value)
    return f"{share(value)} [{interval[0] * 100:.1f}, {interval[1] * 100:.1f}]"


def change(value: float | None, interval: Sequence[float] | None) -> str:
    """A difference of shares in points, with its interval."""
    if value is None:
        return DASH
    bounds = "" if interval is None else f" [{points(interval[0])}, {points(interval[1])}]"
    return f"{points(value)}{bounds}"
