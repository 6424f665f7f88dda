"""Leak probes: what a voter can find out from less than it is given. Each is a number beside chance.

    position_only   always the same seat: what is to be had when the spy's seat is not uniform
    clue_only       the same voter without the image: what the wording of clues gives away by itself
    image_only      the same voter without any clue: must be chance, or the image or the request leaks the seat

A voter whose accuracy is hardly above its clue-only accuracy does not look at the image: it has learned how a frozen
spy talks. A probe takes away the voter's private notes as well, since a note tells what its image shows and what the
clues said. Left out: probes trained for the purpose, which could find more than the voter does.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from selfsight.evaluate.games import SAMPLES, Decision, PromptOf, decide, summarise
from selfsight.evaluate.players import Player
from selfsight.language import GamePack, Prompt, PublicState
from selfsight.methods.vision_zero import Game, Request


def position_only(games: Sequence[Game]) -> dict[str, object]:
    """How often each seat is the spy's: the accuracy of a voter that always names it."""
    players = max(game.settings.players for game in games)
    shares = {seat: sum(game.secret.spy == seat for game in games) / len(games) for seat in range(1, players + 1)}
    best = max(shares, key=lambda seat: shares[seat])
    return {
        "chance": 1 / players,
        "n": len(games),
        "accuracy": shares[best],
        "seat": best,
        "by_seat": {str(seat): share for seat, share in shares.items()},
    }


def without_image(game: Game, request: Request, pack: GamePack) -> Prompt:
    """The request for a vote without the image, and without notes of what it shows."""
    return replace(_ballot(game, request, pack, game.public()), image=None)


def without_clues(game: Game, request: Request, pack: GamePack) -> Prompt:
    """The request for a vote without any clue, and without notes of what was said."""
    return _ballot(game, request, pack, replace(game.public(), clues=()))


def _ballot(game: Game, request: Request, pack: GamePack, public: PublicState) -> Prompt:
    if request.seat is None:
        return pack.referee_ballot(public, game.referee_view())
    return pack.ballot(public, replace(game.private(request.seat), notes=()), game.view(request.seat))


PROBES: Final[dict[str, PromptOf]] = {"clue_only": without_image, "image_only": without_clues}


def probe(player: Player, games: Sequence[Game], *, samples: int = SAMPLES) -> dict[str, list[Decision]]:
    """The decisions of a voter under each probe that asks it."""
    return {name: decide(player, games, samples=samples, prompt_of=prompt) for name, prompt in PROBES.items()}


def leak_probes(player: Player, games: Sequence[Game], *, samples: int = SAMPLES) -> dict[str, object]:
    """All three probes, summarised; `accuracy` of each stands beside its `chance`."""
    asked = {name: summarise(decisions) for name, decisions in probe(player, games, samples=samples).items()}
    return {"position_only": position_only(games), **asked}
