"""The curves of a run: what metrics.jsonl says about every step, as series that a chart can draw.

A step is a line of a stage that learns; they are numbered through the whole run. The roles' figures are different
quantities under one name (a questioner's reward is not a reasoner's), so every role has a series of its own, and its
line breaks where the other one learns. A run longer than `MOST_POINTS` steps is drawn as means of neighbouring steps of
a stage, and says so.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from selfsight.report.reading import number

MOST_POINTS: Final = 600

Form = Literal["number", "share", "count"]
Line = Mapping[str, Any]
Read = Callable[[Line], float | None]


@dataclass(frozen=True)
class Stretch:
    """Steps `first` to `last` (included) of one stage, `phase` being who learned in it."""

    round: int
    phase: str
    first: int
    last: int


@dataclass(frozen=True)
class Series:
    """One line of a chart: unbroken pieces of (step, value). `role` decides its colour."""

    name: str
    role: str
    pieces: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True)
class Curve:
    """One chart; `about` says in a sentence what to look for."""

    title: str
    about: str
    form: Form
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Curves:
    """All charts of a run over the same steps; `per_point` is how many steps a point stands for."""

    steps: int
    per_point: int
    stretches: tuple[Stretch, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class _Plan:
    """A chart to be: series as (name, role, the phases it is about, how to read it)."""

    title: str
    about: str
    form: Form
    series: tuple[tuple[str, str, tuple[str, ...], Read], ...]


def _key(name: str) -> Read:
    return lambda line: number(line.get(name))


def _zero_variance(line: Line) -> float | None:
    silent, groups = number(line.get("zero_variance_groups")), number(line.get("groups"))
    return None if silent is None or not groups else silent / groups


def _both(read: Read) -> tuple[tuple[str, str, tuple[str, ...], Read], ...]:
    return (("questioner", "questioner", ("questioner",), read), ("reasoner", "reasoner", ("reasoner",), read))


_GAMES: Final = ("clue", "decision", "both")


def _by_stage(read: Read) -> tuple[tuple[str, str, tuple[str, ...], Read], ...]:
    return (
        ("clue stage trains", "clue", ("clue",), read),
        ("decision stage trains", "decision", ("decision",), read),
        ("both train", "both", ("both",), read),
    )


def _all(*series: tuple[str, str, str]) -> tuple[tuple[str, str, tuple[str, ...], Read], ...]:
    return tuple((name, role, _GAMES, _key(key)) for name, role, key in series)


_LEARNING: Final[tuple[tuple[str, str, Form, Read], ...]] = (
    ("KL to the start", "How far the weights have moved away from the starting model.", "number", _key("kl_anchor")),
    ("Entropy", "Falls to zero when a role always says the same.", "number", _key("entropy")),
    ("Loss", "Of the policy objective; it need not fall, since every step has samples of its own.", "number",
     _key("loss")),
    ("Gradient norm", "Before clipping; single peaks are clipped, a steady rise is not healthy.", "number",
     _key("grad_norm")),
    ("Learning rate", "Constant after the warm-up.", "number", _key("learning_rate")),
    ("Groups without signal", "Share of groups whose samples were all paid the same: nothing to learn from.", "share",
     _zero_variance),
    ("Tokens per second", "Sampled, over the whole step.", "count", _key("tokens_per_second")),
    ("Memory", "GiB: the most that was held at once so far, by the GPU or, without one, by the process.", "number",
     _key("peak_memory_gib")),
)  # fmt: skip

_VISPLAY: Final = (
    _Plan("Reward", "The questioner's pays for split votes, the reasoner's for the label.", "number",
          _both(_key("reward"))),
    _Plan("Confidence", "Votes of the winning answer over all answers: of what is asked, and of what is learned.",
          "share", _both(_key("confidence"))),
    _Plan("Questions that earn nothing", "Unreadable, or refused by a gate.", "share", (
        ("unreadable", "questioner", ("questioner",), lambda line: _less_than_one(number(line.get("valid")))),
        ("refused", "second", ("questioner",), _key("refused")),
    )),
    _Plan("Unreadable answers", "Of the reasoner, while it learns.", "share",
          (("reasoner", "reasoner", ("reasoner",), _key("format_failures")),)),
    _Plan("Length of answers", "In tokens.", "count", (("reasoner", "reasoner", ("reasoner",), _key("length")),)),
    *(_Plan(title, about, form, _both(read)) for title, about, form, read in _LEARNING),
)  # fmt: skip

_VISION_ZERO: Final = (
    _Plan("Spy found", "Share of ballots; the average is what the schedule looks at.", "share",
          _all(("step", "decision", "accuracy"), ("average", "average", "accuracy_average"))),
    _Plan("Votes n/a", "Share of the votes; the average is what the schedule looks at.", "share",
          _all(("step", "decision", "abstention"), ("average", "average", "abstention_average"))),
    _Plan("Reward of votes", "By default +1 for the spy, \N{MINUS SIGN}0.5 for n/a, \N{MINUS SIGN}1 for the rest.",
          "number", _by_stage(_key("reward"))),
    _Plan("Reward of clues", "Zero-sum: what the spy loses, the citizens win together.", "number",
          _all(("spy", "spy", "reward_spy"), ("citizen", "citizen", "reward_citizen"))),
    _Plan("Baselines of the roles", "What is taken off a clue's reward.", "number",
          _all(("spy", "spy", "baseline_spy"), ("citizen", "citizen", "baseline_citizen"))),
    _Plan("Who wins", "Share of games that the citizens win; a tie is the spy's.", "share",
          _all(("citizens win", "citizen", "citizens_win"))),
    _Plan("What could not be read", "Refused clues and invalid votes.", "share",
          _all(("clues", "clue", "invalid_clues"), ("votes", "decision", "invalid_votes"))),
    _Plan("Length of clues", "In words, of the valid ones.", "count", _all(("clues", "clue", "clue_words"))),
    _Plan("Different wordings", "Distinct valid clues over all of them.", "share",
          _all(("clues", "clue", "clue_wordings"))),
    *(_Plan(title, about, form, _by_stage(read)) for title, about, form, read in _LEARNING),
)  # fmt: skip


def curves(metrics: Sequence[Line], most_points: int = MOST_POINTS) -> Curves:
    """The charts of a run of any method: each step says whose it is. A chart without any value is left out."""
    placed = [(place, line) for line in metrics if (place := _place(line)) is not None]
    stretches = _stretches([place for place, _ in placed])
    per_point = max(1, math.ceil(len(placed) / most_points))
    found: dict[str, Curve] = {}
    for plan in (*_VISPLAY, *_VISION_ZERO):
        series = tuple(
            Series(name, role, pieces)
            for name, role, phases, read in plan.series
            if (pieces := _pieces([line for _, line in placed], stretches, phases, read, per_point))
        )
        if series:
            before = found[plan.title].series if plan.title in found else ()
            found[plan.title] = Curve(plan.title, plan.about, plan.form, (*before, *series))
    return Curves(len(placed), per_point, stretches, tuple(found.values()))


def _place(line: Line) -> tuple[int, str] | None:
    """Round and phase of a step that learned; None for any other line."""
    head, _, phase = str(line.get("stage")).partition("/")
    round = head.removeprefix("round-")
    if not round.isdecimal() or number(line.get("step")) is None:
        return None
    if phase == "games":
        phase = str(line.get("phase"))
        return (int(round), phase) if phase in _GAMES else None
    return (int(round), phase) if phase in ("questioner", "reasoner") else None


def _stretches(places: Sequence[tuple[int, str]]) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    for step, (round, phase) in enumerate(places):
        if found and (found[-1].round, found[-1].phase) == (round, phase):
            found[-1] = Stretch(round, phase, found[-1].first, step)
        else:
            found.append(Stretch(round, phase, step, step))
    return tuple(found)


def _pieces(
    lines: Sequence[Line], stretches: Sequence[Stretch], phases: Sequence[str], read: Read, per_point: int
) -> tuple[tuple[tuple[float, float], ...], ...]:
    pieces: list[tuple[tuple[float, float], ...]] = []
    for first, last in _spans(stretches, phases):
        piece: list[tuple[float, float]] = []
        for start in range(first, last + 1, per_point):
            end = min(start + per_point, last + 1)
            values = [(step, value) for step in range(start, end) if (value := read(lines[step])) is not None]
            if values:
                middle = sum(step for step, _ in values) / len(values)
                piece.append((middle, math.fsum(value for _, value in values) / len(values)))
        if piece:
            pieces.append(tuple(piece))
    return tuple(pieces)


def _spans(stretches: Sequence[Stretch], phases: Sequence[str]) -> list[tuple[int, int]]:
    """First and last steps of neighbouring stretches that a series is about."""
    spans: list[tuple[int, int]] = []
    for stretch in stretches:
        if stretch.phase not in phases:
            continue
        if spans and spans[-1][1] + 1 == stretch.first:
            spans[-1] = (spans[-1][0], stretch.last)
        else:
            spans.append((stretch.first, stretch.last))
    return spans


def _less_than_one(valid: float | None) -> float | None:
    return None if valid is None else 1 - valid
