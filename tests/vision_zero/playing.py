"""Scripted players: whole games without a model."""

from collections.abc import Callable, Sequence

from selfsight.images import ImageRef
from selfsight.language import GamePack, get_game_pack
from selfsight.methods.vision_zero import Completion, Game, GameSettings, Request, advance, deal, open_requests

REAL = ImageRef("f-real-image-canary", "folder/real-origin-canary.png")
SPYS = ImageRef("blank-64x48", "blank:64x48")
COMPACT = get_game_pack("compact")

Speaker = Callable[[Request, int], str]


def new_game(settings: GameSettings | None = None, *, seed: int = 0, id: str = "g-0") -> Game:
    return deal(settings or GameSettings(), seed=seed, id=id, image=REAL, spy_image=SPYS)


def by_the_book(request: Request, sample: int) -> str:
    """A clue nobody else gave, or a vote for the player that follows from the sample."""
    if "/clue/" in request.id:
        return f"I look. \\boxed{{I see thing {request.id.replace('/', ' ')}.}}"
    return f"\\boxed{{{sample % 3 + 1}}}"


def play(
    games: Sequence[Game], speak: Speaker = by_the_book, pack: GamePack = COMPACT
) -> tuple[tuple[Game, ...], list[tuple[Request, ...]]]:
    """The finished games, and the requests of every sampling call."""
    table, calls = tuple(games), []
    while requests := open_requests(table, pack):
        calls.append(requests)
        answers = {request.id: [Completion(speak(request, k)) for k in range(request.n)] for request in requests}
        table = advance(table, answers)
    return table, calls
