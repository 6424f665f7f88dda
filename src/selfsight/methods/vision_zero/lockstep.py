"""Many games at once: what all of them wait for is one sampling call.

Clues depend on the clues before them, games do not depend on each other. So all games of a batch advance together,
seat by seat, and any number of games takes players * rounds calls for clues and one for the votes. Answers are
joined to games by request id, never by position.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfsight.language import GamePack, Prompt
from selfsight.methods.vision_zero.game import Completion, Game
from selfsight.run import derive


@dataclass(frozen=True)
class Request:
    """`n` samples of one player's prompt; `seat` is None for the referee. A policy needs id, prompt, n and seed."""

    id: str
    game_id: str
    seat: int | None
    prompt: Prompt
    n: int
    seed: int


def open_requests(games: Sequence[Game], pack: GamePack) -> tuple[Request, ...]:
    """What the games wait for: one clue each, or all votes; nothing when they are over.

    Raises ValueError when the games are not at the same point, or when two have the same id.
    """
    twice = [id for id, count in Counter(game.id for game in games).items() if count > 1]
    if twice:
        raise ValueError(f"game id {twice[0]!r} occurs more than once in the batch")
    if len({(game.stage, len(game.turns)) for game in games}) > 1:
        raise ValueError("the games are not in lock-step: some have more clues than others")
    return tuple(request for game in games for request in _requests(game, pack))


def advance(games: Sequence[Game], answers: Mapping[str, Sequence[Completion]]) -> tuple[Game, ...]:
    """The games after the answers to their open requests, by request id, in the order of the games."""
    return tuple(_advanced(game, answers) for game in games)


def _requests(game: Game, pack: GamePack) -> list[Request]:
    if game.stage == "over":
        return []
    if game.stage == "clue":
        _, seat = game.turn
        return [_request(game, seat, pack.clue(game.public(), game.private(seat), game.view(seat)), 1)]
    return [_request(game, voter, _ballot_prompt(game, pack, voter), game.settings.votes) for voter in game.voters]


def _ballot_prompt(game: Game, pack: GamePack, voter: int | None) -> Prompt:
    if voter is None:
        return pack.referee_ballot(game.public(), game.referee_view())
    return pack.ballot(game.public(), game.private(voter), game.view(voter))


def _request(game: Game, seat: int | None, prompt: Prompt, n: int) -> Request:
    place = request_place(game, seat)
    seed = derive(game.seed, "vision-zero", game.id, *place)
    return Request("/".join([game.id, *map(str, place)]), game.id, seat, prompt, n, seed)


def request_place(game: Game, seat: int | None) -> tuple[str | int, ...]:
    """Where in the game an open request stands; with the game's id it names the request and its random stream."""
    if game.stage == "clue":
        round, speaker = game.turn
        return "clue", round, speaker
    return ("vote", "referee") if seat is None else ("vote", seat)


def _advanced(game: Game, answers: Mapping[str, Sequence[Completion]]) -> Game:
    if game.stage == "over":
        raise ValueError(f"game {game.id!r} is over")

    def answer(seat: int | None, n: int) -> Sequence[Completion]:
        id = "/".join([game.id, *map(str, request_place(game, seat))])
        if id not in answers:
            raise ValueError(f"request {id!r} has no answer")
        if len(answers[id]) != n:
            raise ValueError(f"request {id!r} has {len(answers[id])} answers, not {n}")
        return answers[id]

    if game.stage == "clue":
        return game.with_clue(answer(game.turn[1], 1)[0])
    return game.with_votes({voter: answer(voter, game.settings.votes) for voter in game.voters})
