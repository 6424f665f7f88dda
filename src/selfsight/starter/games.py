"""What the starter reads about "Who is the spy": clues and votes by careful and careless players.

Careful citizens say something true of their picture, and careful voters check every clue against theirs before they
box a player ("1 b2 yes, 2 none no, 3 a1 c3 yes."): by seat the evidence, and whether it bears the clue out. A careful
spy with a blank picture says again, in less detail, what it has heard. Careless players make something up, and
careless voters box a player without looking, nearly always a random one: so the starter can play, and plays hardly
better than chance until it learns which of its own ways wins (arXiv 2509.25541 begins with models that can play, too).

Wording and hiding of information are those of the game itself (language/game_prompts.py): an author gets the same
request as a player.
"""

from dataclasses import dataclass

import numpy as np

from selfsight.images.source import ImageRef
from selfsight.images.views import SpyView
from selfsight.images.worlds.ask import ask
from selfsight.images.worlds.grammar import MARKS, Described, Query
from selfsight.images.worlds.modified import modify
from selfsight.images.worlds.scene import Chart, Picture, Scene, sample_chart, sample_scene
from selfsight.images.worlds.source import sample_picture
from selfsight.images.worlds.statements import Statement, assert_that, holds, read_statement
from selfsight.language.game_prompts import PrivateState, PublicClue, PublicState, RefereeView, SeatView, get_game_pack

PACK = get_game_pack("compact")
_ANY = ImageRef("page", "")  # a page has one image, and a request's words do not depend on it
_SAYABLE = {
    "scene": (("existence", 0.65), ("counting", 0.2), ("relation", 0.15)),
    "chart": (("chart_value", 0.6), ("chart_comparison", 0.4)),
}


@dataclass(frozen=True)
class Players:
    """Shares of the mixture: of citizens' and of spies' clues that are made up, of votes without working, and of
    those, of random ones.
    """

    careless_citizens: float
    careless_spies: float
    careless_votes: float
    guessing: float


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


def sample_game(picture: Picture, view: SpyView, players: Players, rng: np.random.Generator) -> Game:
    """A game about `picture` with 3 to 5 players and one or two rounds; the spy's twin, if any, is drawn here."""
    seats, rounds = int(rng.integers(3, 6)), int(rng.integers(1, 3))
    spy = int(rng.integers(1, seats + 1))
    seen_by_spy = {"blank": None, "modified": modify(picture, rng).picture, "degraded": picture}[view]
    clues: list[PublicClue] = []
    for turn in range(seats * rounds):
        seat = turn % seats + 1
        own, heard = (seen_by_spy if seat == spy else picture), tuple(said.text for said in clues)
        careless = rng.random() < (players.careless_spies if seat == spy else players.careless_citizens)
        clues.append(PublicClue(seat, turn // seats + 1, clue(own, heard, careless, rng)))
    return Game(PublicState(seats, rounds, view, tuple(clues)), spy)


def clue(own: Picture | None, heard: tuple[str, ...], careless: bool, rng: np.random.Generator) -> str:
    """A clue by a player who sees `own` (None: a blank picture); never one that was heard."""
    for _ in range(50):
        if own is not None and not careless:
            said = statement(own, rng)
        elif own is None and not careless and heard and rng.random() < 0.7:
            said = _vaguer(heard[int(rng.integers(len(heard)))], rng)
        else:
            said = statement(_imagined(own, heard, rng), rng)
        if said is not None and (text := assert_that(said)) not in heard:
            return text
    return assert_that(Statement(Query("exists", Described()), "yes"))


def statement(picture: Picture, rng: np.random.Generator) -> Statement | None:
    """Something true of a picture that a sentence can say; None when this draw found nothing."""
    families, weights = zip(*_SAYABLE["chart" if isinstance(picture, Chart) else "scene"], strict=True)
    asked = ask(picture, str(rng.choice(families, p=weights)), rng)
    if asked is None:
        return None
    query, answer = asked
    if query.kind == "count" and answer in ("0", "1"):
        return None
    if query.kind in ("exists", "relation", "greater") and answer == "no":
        return None  # what is not there tells little
    if query.kind == "exists" and len(_named(query.a)) < 2:
        return None  # and so does what is in nearly every picture
    return Statement(query, answer)


def _named(a: Described | None) -> list[str]:
    return [name for name in ("size", "colour", "shape") if getattr(a, name) is not None]


def _imagined(own: Picture | None, heard: tuple[str, ...], rng: np.random.Generator) -> Picture:
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
    if own is None:
        view, role, about = "blank", "spy", sample_picture("mixed", rng)
    elif rng.random() < 0.75:
        view, role, about = str(rng.choice(("blank", "modified", "degraded"), p=(0.6, 0.25, 0.15))), "citizen", own
    elif rng.random() < 0.6:
        view, role, about = "modified", "spy", modify(own, rng).picture  # a twin's twin is the citizens' picture
    else:
        view, role, about = "degraded", "spy", own
    game = sample_game(about, view, players, rng)
    public = game.public
    seats = [seat for seat in range(1, public.players + 1) if (seat == game.spy) == (role == "spy")]
    seat = int(rng.choice(seats))
    turns = [turn for turn in range(len(public.clues)) if turn % public.players + 1 == seat]
    before = game.until(int(rng.choice(turns)))
    private = PrivateState(seat, role, ())
    asked = PACK.clue(before, private, SeatView(seat, _ANY)).user
    careless = rng.random() < (players.careless_spies if role == "spy" else players.careless_citizens)
    return asked, f"\\boxed{{{clue(own, tuple(said.text for said in before.clues), careless, rng)}}}"


def vote_turn(picture: Picture, players: Players, rng: np.random.Generator) -> tuple[str, str]:
    """Request and completion of one vote, by the referee or by a citizen, who never votes for itself."""
    view = str(rng.choice(("blank", "modified", "degraded"), p=(0.6, 0.25, 0.15)))
    game = sample_game(picture, view, players, rng)
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
    assert said is not None, f"authors say statements only, not {text!r}"
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
    return " ".join(f"{'abcdefgh'[t.col]}{t.row + 1}" for t in scene.things if described.matches(t)) or "none"


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
