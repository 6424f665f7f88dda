"""What the starter reads about "Who is the spy": clues and votes by careful and careless players.

Careful citizens look at something in their picture, note it ("b2 large red circle."), and say something true of it;
careful voters check every clue against theirs before they box a player ("1 b2 yes, 2 none no, 3 a1 c3 yes."): by seat
the evidence, and whether it bears the clue out. What is said is what the starter sees well: a thing by some of its
attributes, or a chart's values. With counts and places in their clues, and nothing noted, three of five of its
citizens' clues were false, and nobody can find a spy among such citizens. A careful spy with a blank picture says
again, in less detail, what it has heard. Careless players make something up, and careless voters box a player without
looking, nearly always a random one: so the starter can play, and plays hardly better than chance until it learns which
of its own ways wins (arXiv 2509.25541 begins with models that can play, too).

Wording and hiding of information are those of the game itself (language/game_prompts.py): an author gets the same
request as a player.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfsight.images.source import ImageRef
from selfsight.images.views import SpyView
from selfsight.images.worlds.ask import ask
from selfsight.images.worlds.grammar import MARKS, Described, Query
from selfsight.images.worlds.modified import modify
from selfsight.images.worlds.scene import COLOURS, SHAPES, Chart, Picture, Scene, Thing, sample_chart, sample_scene
from selfsight.images.worlds.source import sample_picture
from selfsight.images.worlds.statements import ABSENT, Statement, assert_that, holds, read_statement
from selfsight.language.game_prompts import (
    PrivateState,
    PublicClue,
    PublicState,
    RefereeView,
    Role,
    SeatView,
    get_game_pack,
)
from selfsight.methods.vision_zero.clues import PLACEHOLDER

PACK = get_game_pack("compact")
_ANY = ImageRef("page", "")  # a page has one image, and a request's words do not depend on it
_SAYABLE = (("chart_value", 0.9), ("chart_comparison", 0.1))  # of charts
# What is named of a thing.
_NAMED = ((("size", "colour", "shape"), 0.4), (("colour", "shape"), 0.3), (("size", "colour"), 0.1),
          (("size", "shape"), 0.1), (("colour",), 0.05), (("shape",), 0.05))  # fmt: skip


@dataclass(frozen=True)
class Players:
    """Shares of the mixture: of citizens' and of spies' clues that are made up, of votes without working, and of
    those, of random ones; and of clues that the game has refused, which its voters read as it writes them.
    """

    careless_citizens: float
    careless_spies: float
    careless_votes: float
    guessing: float
    refused: float = 0.02


CAREFUL_PLAYERS = Players(careless_citizens=0.0, careless_spies=0.0, careless_votes=0.0, guessing=0.0)
CARELESS_PLAYERS = Players(careless_citizens=0.02, careless_spies=0.9, careless_votes=0.85, guessing=0.9)


@dataclass(frozen=True)
class Game:
    """A game as its author sees it: the table with all clues, and who the spy is."""

    public: PublicState
    spy: int

    def until(self, clues: int) -> PublicState:
        """The table after the first `clues` clues."""
        public = self.public
        return PublicState(public.players, public.clue_rounds, public.spy_view, public.clues[:clues])


def sample_game(
    picture: Picture, view: SpyView, players: Players, rng: np.random.Generator, *, twin: Picture | None = None
) -> Game:
    """A game about `picture` with 3 to 5 players and one or two rounds; a spy's twin is drawn unless given."""
    seats, rounds = int(rng.integers(3, 6)), int(rng.integers(1, 3))
    spy = int(rng.integers(1, seats + 1))
    if view == "modified" and twin is None:
        twin = modify(picture, rng).picture
    seen_by_spy = {"blank": None, "modified": twin, "degraded": picture}[view]
    clues: list[PublicClue] = []
    for turn in range(seats * rounds):
        seat = turn % seats + 1
        own = seen_by_spy if seat == spy else picture
        careless = rng.random() < (players.careless_spies if seat == spy else players.careless_citizens)
        text = PLACEHOLDER if rng.random() < players.refused else clue(own, clues, seat, careless, rng)
        clues.append(PublicClue(seat, turn // seats + 1, text))
    return Game(PublicState(seats, rounds, view, tuple(clues)), spy)


def clue(own: Picture | None, heard: Sequence[PublicClue], seat: int, careless: bool, rng: np.random.Generator) -> str:
    """A clue by the player in `seat`, who sees `own` (None: a blank picture); never one that was heard, and refused
    where nothing is left to say.
    """
    texts = [said.text for said in heard]
    others = [said.text for said in heard if said.seat != seat]
    for attempt in range(300):
        if own is not None and not careless:
            about = own
        elif own is None and not careless and others and rng.random() < 0.7:
            told = _vaguer(others[int(rng.integers(len(others)))], rng)
            if told is not None and (text := assert_that(told)) not in texts:
                return text
            continue
        else:
            about = _imagined(own, others, rng)
        # What is not there is said when little else is left: two equal slices can be told of in two ways only.
        said = statement(about, rng) if attempt < 50 else _absent(about, rng)
        if said is not None and (text := assert_that(said)) not in texts:
            return text
    return PLACEHOLDER


def statement(picture: Picture, rng: np.random.Generator) -> Statement | None:
    """Something true of a picture that a sentence can say; None when this draw found nothing."""
    if isinstance(picture, Scene):
        thing = picture.things[int(rng.integers(len(picture.things)))]
        kept, weights = zip(*_NAMED, strict=True)
        named = kept[int(rng.choice(len(kept), p=weights))]
        return Statement(Query("exists", Described(**{name: getattr(thing, name) for name in named})), "yes")
    families, shares = [family for family, _ in _SAYABLE], [share for _, share in _SAYABLE]
    asked = ask(picture, str(rng.choice(families, p=shares)), rng)
    if asked is None or (asked[0].kind == "greater" and asked[1] == "no"):
        return None  # what is not so tells little
    return Statement(*asked)


def _named(a: Described | None) -> list[str]:
    return [name for name in ("size", "colour", "shape") if getattr(a, name) is not None]


def _absent(picture: Picture, rng: np.random.Generator) -> Statement | None:
    """Something that is not there; None when this draw found nothing."""
    colour = str(rng.choice(COLOURS))
    if isinstance(picture, Scene):
        thing = Described(colour=colour, shape=str(rng.choice(SHAPES)))
        there = any(thing.matches(other) for other in picture.things)
        return None if there else Statement(Query("exists", thing), "no")
    if colour in picture.colours:
        return None
    return Statement(Query("value", colours=(colour,), mark=MARKS[picture.kind]), ABSENT)


def _imagined(own: Picture | None, heard: Sequence[str], rng: np.random.Generator) -> Picture:
    """A picture of the kind that is talked about: one's own, or what the clues so far tell."""
    if isinstance(own, Chart):
        return sample_chart(rng, own.kind)
    if isinstance(own, Scene):
        return sample_scene(rng)
    for text in heard:
        told = read_statement(text)
        if told is None:
            continue
        kinds = [kind for kind, mark in MARKS.items() if mark == told.query.mark]
        return sample_chart(rng, kinds[0]) if kinds else sample_scene(rng)
    return sample_picture("mixed", rng)


def _vaguer(text: str, rng: np.random.Generator) -> Statement | None:
    """That something of the kind is there, with one attribute less than was said; None where that says nothing."""
    told = read_statement(text)
    if told is None or told.query.a is None or told.claim in ("no", "0"):
        return None
    a = told.query.a
    named = _named(a)
    if told.query.kind == "exists" and len(named) < 2:
        return None
    dropped = str(rng.choice(named)) if told.query.kind == "exists" else ""
    kept = {name: None if name == dropped else getattr(a, name) for name in ("size", "colour", "shape")}
    return Statement(Query("exists", Described(**kept)), "yes")


# ---- the turns of a page --------------------------------------------------------------------------------------


def clue_turn(own: Picture | None, players: Players, rng: np.random.Generator) -> tuple[str, str]:
    """Request and completion of one clue by somebody who sees `own`: the spy if that is None, else mostly a citizen."""
    while True:
        asked, text, looked = _clue_turn(own, players, rng)
        if text != PLACEHOLDER:
            return asked, f"{looked}\\boxed{{{text}}}"


def _clue_turn(own: Picture | None, players: Players, rng: np.random.Generator) -> tuple[str, str, str]:
    """The request, the clue, and what was noted before it."""
    role: Role = "spy"
    if own is None:
        game = sample_game(sample_picture("mixed", rng), "blank", players, rng)
    elif rng.random() < 0.85:
        role, game = "citizen", sample_game(own, _any_view(rng), players, rng)
    else:
        # The picture of the page is the twin; a page with a degraded picture there is none.
        game = sample_game(modify(own, rng).picture, "modified", players, rng, twin=own)
    public = game.public
    seats = [seat for seat in range(1, public.players + 1) if (seat == game.spy) == (role == "spy")]
    seat = int(rng.choice(seats))
    turns = [turn for turn in range(len(public.clues)) if turn % public.players + 1 == seat]
    before = game.until(int(rng.choice(turns)))
    private = PrivateState(seat, role, ())
    asked = PACK.clue(before, private, SeatView(seat, _ANY)).user
    careless = rng.random() < (players.careless_spies if role == "spy" else players.careless_citizens)
    text = clue(own, before.clues, seat, careless, rng)
    return asked, text, "" if own is None or careless else _looked(text, own, rng)


def _looked(text: str, own: Picture, rng: np.random.Generator) -> str:
    """What a careful player looks at before it says something of its picture; nothing before what is not there."""
    said = read_statement(text)
    if said is None or said.claim in ("no", ABSENT):
        return ""
    if isinstance(own, Chart):
        colours = said.query.colours or own.colours
        return ", ".join(f"{colour} {own.value(colour)}" for colour in colours) + ". "
    assert said.query.a is not None
    fitting = [thing for thing in own.things if said.query.a.matches(thing)]
    thing = fitting[int(rng.integers(len(fitting)))]
    return f"{_cell(thing)} {thing.size} {thing.colour} {thing.shape}. "


def _any_view(rng: np.random.Generator) -> SpyView:
    views: tuple[SpyView, ...] = ("blank", "modified", "degraded")
    return views[int(rng.choice(3, p=(0.6, 0.25, 0.15)))]


def vote_turn(picture: Picture, players: Players, rng: np.random.Generator) -> tuple[str, str]:
    """Request and completion of one vote, by the referee or by a citizen, who never votes for itself."""
    game = sample_game(picture, _any_view(rng), players, rng)
    public, voter = game.public, None
    if rng.random() < 0.75:
        asked = PACK.referee_ballot(public, RefereeView(_ANY)).user
    else:
        voter = int(rng.choice([seat for seat in range(1, public.players + 1) if seat != game.spy]))
        asked = PACK.ballot(public, PrivateState(voter, "citizen", ()), SeatView(voter, _ANY)).user
    checked = [(said.seat, *_check(said.text, picture)) for said in public.clues]
    accused = _accused(checked, public.players, voter, rng)
    if rng.random() >= players.careless_votes:
        working = ", ".join(f"{seat} {evidence} {'yes' if true else 'no'}" for seat, evidence, true in checked)
        return asked, f"{working}. \\boxed{{{accused}}}"
    if rng.random() < players.guessing:
        others = [seat for seat in range(1, public.players + 1) if seat != voter]
        accused = f"Player {int(rng.choice(others))}"
    return asked, f"\\boxed{{{accused}}}"


def _check(text: str, picture: Picture) -> tuple[str, bool]:
    """What a careful voter sees where a clue points, and whether it bears the clue out."""
    said = read_statement(text)
    if said is None:
        assert text == PLACEHOLDER, f"authors say statements only, not {text!r}"
        return "none", False
    query = said.query
    if isinstance(picture, Chart):
        if query.mark != MARKS[picture.kind]:
            evidence = "none"
        elif query.kind == "extreme":
            best = (max if query.word == "largest" else min)(picture.values)
            evidence = " ".join(c for c, v in zip(picture.colours, picture.values, strict=True) if v == best)
        else:
            evidence = " ".join(str(picture.value(c) or "none") for c in query.colours)
    elif query.a is None:
        evidence = "none"
    else:
        evidence = " ".join(_cells(d, picture) for d in (query.a, query.b) if d is not None)
    return evidence, holds(said, picture)


def _cells(described: Described, scene: Scene) -> str:
    return " ".join(_cell(thing) for thing in scene.things if described.matches(thing)) or "none"


def _cell(thing: Thing) -> str:
    return f"{'abcdefgh'[thing.col]}{thing.row + 1}"


def _accused(checked: list[tuple[int, str, bool]], players: int, voter: int | None, rng: np.random.Generator) -> str:
    """The player with the most clues that do not hold, drawn among equals; n/a when all hold."""
    wrong = {seat: 0 for seat in range(1, players + 1) if seat != voter}
    for seat, _, true in checked:
        if seat in wrong and not true:
            wrong[seat] += 1
    most = max(wrong.values())
    if most == 0:
        return "n/a"
    return f"Player {int(rng.choice([seat for seat, count in wrong.items() if count == most]))}"
