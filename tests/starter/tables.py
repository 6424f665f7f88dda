"""A player's request read back into the table it tells of, and that table played in a real game.

What an author was asked is text by now. `read_request` takes it apart without the pack that wrote it, and `in_use` asks
the game itself what a player at such a table is asked.
"""

import re
from dataclasses import dataclass

from selfsight.images.source import ImageRef
from selfsight.images.views import SpyView
from selfsight.language import get_game_pack
from selfsight.methods.vision_zero import Completion, Game, GameSettings, open_requests
from selfsight.methods.vision_zero.game import Secret

SPY_SEES: dict[str, SpyView] = {"no image": "blank", "another image": "modified", "a part of the image": "degraded"}
IMAGE, SPY_IMAGE = ImageRef("i-citizens", "test"), ImageRef("i-spy", "test")
_RULES = re.compile(r"One of (\d) players is the spy and sees ([a-z ]+)\.")
_CLUE = re.compile(r"Player (\d): (.+)")
_SEAT = re.compile(r"You are player (\d), (a citizen|the spy)\. (.+)")


@dataclass(frozen=True)
class Table:
    """What a request says: `seat` is None for the referee, `clues` are (seat, text) in order."""

    players: int
    view: SpyView
    clues: tuple[tuple[int, str], ...]
    seat: int | None
    is_spy: bool
    votes: bool

    @property
    def heard(self) -> tuple[str, ...]:
        return tuple(text for _, text in self.clues)


def is_game(request: str) -> bool:
    """Whether a turn of a page is a turn of a game."""
    return request.endswith(("Who is the spy?", "Give a clue."))


def read_request(request: str) -> Table:
    """The table that a request tells of; fails on a line that belongs to none."""
    rules, *said, asked = request.split("\n")
    found, seated = _RULES.fullmatch(rules), _SEAT.fullmatch(asked)
    assert found is not None, rules
    clues = []
    for line in said:
        clue = _CLUE.fullmatch(line)
        assert clue is not None, line
        clues.append((int(clue[1]), clue[2]))
    question = seated[3] if seated else asked
    assert question in ("Give a clue.", "Who is the spy?")
    return Table(
        players=int(found[1]),
        view=SPY_SEES[found[2]],
        clues=tuple(clues),
        seat=int(seated[1]) if seated else None,
        is_spy=seated is not None and seated[2] == "the spy",
        votes=question == "Who is the spy?",
    )


def in_use(table: Table) -> str:
    """What the game itself asks the same player at the same table, its clues having been given by players."""
    rounds = len(table.clues) // table.players + (0 if table.votes else 1)
    settings = GameSettings(
        players=table.players, clue_rounds=rounds, spy_view=table.view,
        voter="referee" if table.seat is None else "seated", votes=1,
    )  # fmt: skip
    spy = table.seat if table.is_spy and table.seat else next(s for s in (1, 2) if s != table.seat)
    game = Game("g", 0, settings, Secret(spy, IMAGE, SPY_IMAGE))
    for seat, text in table.clues:
        assert game.turn[1] == seat
        game = game.with_clue(Completion(f"\\boxed{{{text}}}"))
    (request,) = (one for one in open_requests((game,), get_game_pack("compact")) if one.seat == table.seat)
    return request.prompt.user
