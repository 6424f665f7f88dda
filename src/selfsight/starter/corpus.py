"""What the starter reads while it is built: careful and careless authors writing about worlds.

A base model's text comes from both. Careful authors look, note the cells where the things are, and only then box an
answer; they ask questions that can be answered, and when asked whether one can be, they look first, too. Careless
authors box an answer with no working, and half of the time they guess; some of what they ask has no answer. Trained on
the mixture, a model's greedy answer is careless while the majority of its samples is careful: that difference is what
self-play can learn from (docs/starter.md gives the measurements).

Cells of a layout are named like a chess board: column a..d from the left, row 1..4 from the top.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from selfsight.images.worlds.ask import ask, draft_any, families_for
from selfsight.images.worlds.draw import draw
from selfsight.images.worlds.grammar import COLOURS, MARKS, SHAPES, SIZES, Described, Query, say
from selfsight.images.worlds.scene import Chart, Picture, Scene, sample_chart, sample_scene
from selfsight.images.worlds.source import picture_rng, sample_picture
from selfsight.images.worlds.truth import answer as true_answer
from selfsight.language.prompts import get_pack
from selfsight.starter.games import CAREFUL_PLAYERS, CARELESS_PLAYERS, Players, clue_turn, vote_turn

PACK = get_pack("compact")


@dataclass(frozen=True)
class Authors:
    """Shares of the mixture. `careless`: share of answers and verdicts without working; `guessing`: of those, guesses;
    `careless_questions`: share of questions by somebody who did not check that there is one answer.
    """

    careless: float
    guessing: float = 0.5
    careless_questions: float = 0.1
    players: Players = CARELESS_PLAYERS


CAREFUL = Authors(careless=0.0, careless_questions=0.0, players=CAREFUL_PLAYERS)
MIXTURE = Authors(careless=0.6)
BLANK_PAGES = 0.05  # share of pages with a blank picture, as the spy's is


@dataclass(frozen=True)
class Segment:
    """One turn about an image: what the user says and what the author completes."""

    user: str
    completion: str


@dataclass(frozen=True)
class Page:
    """An image and the segments about it, which share it in one row."""

    image: Image.Image
    segments: tuple[Segment, ...]


def page(index: int, *, seed: int, authors: Authors, segments: int = 9, size: int = 112) -> Page:
    """Page `index` of the corpus: a fixed function of its arguments. One segment is a description alone."""
    rng = picture_rng("mixed", "build", seed, index)
    picture = sample_picture("mixed", rng)
    image = draw(picture, rng, size)
    if segments > 1 and rng.random() < BLANK_PAGES:
        return _blank_page(image, authors, segments, rng)
    written = [Segment(PACK.describer_user, describe(picture))]
    if segments == 1:
        return Page(image, tuple(written))
    turns = (
        (1.0, _question), (0.5, _question), (0.5, _judgement), (0.6, _clue), (0.6, _vote),
    )  # fmt: skip
    written += [turn(picture, authors, rng) for share, turn in turns if rng.random() < share]
    written = written[:segments]
    families = families_for(picture)
    order = rng.permutation(len(families))
    turn = 0
    while len(written) < segments and turn < 4 * segments:
        asked = ask(picture, families[int(order[turn % len(families)])], rng)
        turn += 1
        if asked is not None:
            query, truth = asked
            written.append(Segment(say(query, rng), author_answer(query, truth, picture, authors, rng)))
    return Page(image, tuple(written))


def _blank_page(image: Image.Image, authors: Authors, segments: int, rng: np.random.Generator) -> Page:
    """What a spy has before it, and says, in one game after the other."""
    turns = [clue_turn(None, authors.players, rng) for _ in range(segments - 1)]
    nothing = Segment(PACK.describer_user, "nothing.")
    return Page(Image.new("RGB", image.size, "white"), (nothing, *(Segment(*turn) for turn in turns)))


def _clue(picture: Picture, authors: Authors, rng: np.random.Generator) -> Segment:
    return Segment(*clue_turn(picture, authors.players, rng))


def _vote(picture: Picture, authors: Authors, rng: np.random.Generator) -> Segment:
    return Segment(*vote_turn(picture, authors.players, rng))


def describe(picture: Picture) -> str:
    """Everything in a picture, in reading order."""
    if isinstance(picture, Chart):
        readings = ", ".join(f"{c} {v}" for c, v in zip(picture.colours, picture.values, strict=True))
        return f"a {picture.kind} chart: {readings}."
    return ", ".join(f"{cell(t.row, t.col)} {t.size} {t.colour} {t.shape}" for t in picture.things) + "."


def cell(row: int, col: int) -> str:
    """The name of a cell: a1 is the top left one."""
    return f"{'abcdefgh'[col]}{row + 1}"


def author_answer(query: Query, truth: str, picture: Picture, authors: Authors, rng: np.random.Generator) -> str:
    """A completion by a careful or a careless author, drawn from the mixture."""
    if rng.random() >= authors.careless:
        return f"{working(query, picture)} {boxed(truth)}"
    return boxed(guess(query, rng) if rng.random() < authors.guessing else truth)


def boxed(answer: str) -> str:
    """The rewarded format."""
    return f"\\boxed{{{answer}}}"


def working(query: Query, picture: Picture) -> str:
    """What a careful author notes before boxing the answer."""
    if isinstance(picture, Chart):
        return _chart_working(query, picture)
    a = _noted(query.a, picture)
    if query.kind in ("exists", "attribute"):
        return f"{a}."
    count = _count(query.a, picture)
    if query.kind == "count":
        return f"{a}, so {count}."
    b, other = _noted(query.b, picture), _count(query.b, picture)
    if query.kind == "relation":
        return f"{a}, {b}."
    if query.kind == "more":
        return f"{a}, {b}, so {count} against {other}."
    sign, result = ("+", count + other) if query.kind == "total" else ("-", count - other)
    return f"{a}, {b}, so {count} {sign} {other} = {result}."


def _noted(described: Described | None, scene: Scene) -> str:
    assert described is not None
    cells = [cell(t.row, t.col) for t in scene.things if described.matches(t)]
    return f"{described.singular}: {' '.join(cells) or 'none'}"


def _count(described: Described | None, scene: Scene) -> int:
    assert described is not None
    return sum(map(described.matches, scene.things))


def _chart_working(query: Query, chart: Chart) -> str:
    if query.kind == "extreme":
        return ", ".join(f"{c} {v}" for c, v in zip(chart.colours, chart.values, strict=True)) + "."
    readings = [(c, chart.value(c)) for c in query.colours]
    noted = ", ".join(f"{c} {v}" for c, v in readings)
    if query.kind in ("value", "greater"):
        return f"{noted}."
    low, high = sorted(v for _, v in readings if v is not None)
    return (
        f"{noted}, so {high} + {low} = {high + low}."
        if query.kind == "sum"
        else f"{noted}, so {high} - {low} = {high - low}."
    )


def guess(query: Query, rng: np.random.Generator) -> str:
    """An answer of the right kind by somebody who did not look."""
    options: tuple[str, ...]
    if query.kind in ("exists", "more", "relation", "greater"):
        options = ("yes", "no")
    elif query.kind == "attribute":
        options = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}[str(query.word)]
    elif query.kind == "extreme":
        options = COLOURS
    elif query.mark == MARKS["pie"]:
        options = tuple(str(v) for v in range(10, 100, 10))
    elif query.kind in ("value", "sum", "gap"):
        options = tuple(str(v) for v in range(1, 10))
    else:
        options = tuple(str(v) for v in range(1, 6))
    return str(rng.choice(options))


def _question(picture: Picture, authors: Authors, rng: np.random.Generator) -> Segment:
    user = PACK.questioner_user
    families = families_for(picture)
    for _ in range(20):
        family = str(rng.choice(families))
        if rng.random() < authors.careless_questions:
            draft = draft_any(rng, picture, family)
            if draft is not None:
                return Segment(user, say(draft, rng))
        asked = ask(picture, family, rng)
        if asked is not None:
            return Segment(user, say(asked[0], rng))
    raise RuntimeError(f"no question could be asked about {picture}")


def _judgement(picture: Picture, authors: Authors, rng: np.random.Generator) -> Segment:
    """Can this be answered from the image? As often yes as no.

    Those that cannot were asked about another picture, mostly one of the same kind, or about this one by somebody
    who did not check.
    """
    wanted = rng.random() < 0.5
    while True:
        own, sure = rng.random() < (0.8 if wanted else 0.5), rng.random() < 0.5
        other = picture if own else _other(picture, rng)
        family = str(rng.choice(families_for(other)))
        asked = ask(other, family, rng) if sure else None
        query = asked[0] if asked is not None else draft_any(rng, other, family)
        if query is not None and true_answer(query, picture).well_posed == wanted:
            break
    verdict = "yes" if wanted else "no"
    if rng.random() >= authors.careless:
        completion = f"{inspection(query, picture)} {boxed(verdict)}"
    else:
        completion = boxed("yes" if rng.random() < authors.guessing else verdict)
    return Segment(PACK.supervisor_user.replace("{question}", say(query, rng)), completion)


def _other(picture: Picture, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.2:
        return sample_picture("mixed", rng)
    return sample_chart(rng, picture.kind) if isinstance(picture, Chart) else sample_scene(rng)


def inspection(query: Query, picture: Picture) -> str:
    """What a careful author notes before saying whether a question can be answered: that which it asks about."""
    if not isinstance(picture, Chart):
        if query.a is None:
            return "no chart."
        noted = ", ".join(_noted(d, picture) for d in (query.a, query.b) if d is not None)
        counts = (
            f", so {_count(query.a, picture)} against {_count(query.b, picture)}" if query.kind == "difference" else ""
        )
        return f"{noted}{counts}."
    if query.mark != MARKS[picture.kind]:
        return f"a {picture.kind} chart."
    shown = picture.colours if query.kind == "extreme" else query.colours
    return ", ".join(f"{c} {'none' if picture.value(c) is None else picture.value(c)}" for c in shown) + "."
