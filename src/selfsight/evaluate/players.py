"""Who sits at the table: players that answer requests, and games in which seats belong to different ones.

A model that trains plays against itself, in `methods`. For measurement the seats of one game belong to several players:
the trained model's citizens against the frozen model's spy, or a person among models. All games still advance in
lock-step, and each player is asked at most once per step: players * rounds + 1 sampling rounds per player, whatever
the number of games. Every player is asked in the wording of its own prompt pack; what the others hear is the clue
alone, so players of different packs can sit at one table.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from selfsight.images.source import ImageRef
from selfsight.language import GamePack, get_game_pack
from selfsight.language.prompts import taught_pack
from selfsight.methods.vision_zero import Completion, Game, Request, advance, open_requests
from selfsight.policy import ModelOptions, Policy, SampleRequest, Sampling
from selfsight.policy.device import choose_device

# Tokens for a clue or a vote, by prompt pack: as for the answers of the built-in evaluation.
COMPLETION_LENGTHS = {"compact": 64, "full": 1024}


class Player(Protocol):
    """Answers requests: `n` completions for each, by request id."""

    @property
    def pack(self) -> GamePack:
        """The wording in which this player is asked."""

    def answer(self, requests: Sequence[Request], *, greedy: bool = False) -> Mapping[str, Sequence[Completion]]:
        """What it says to each request; one sampling round."""


Holder = Callable[[Game, int | None], Player]  # who holds a seat of a game; None is the referee's


class ModelPlayer:
    """A policy as a player; sampled at temperature 1, or greedy where that is asked."""

    def __init__(self, policy: Policy, pack: GamePack, *, max_completion_length: int | None = None) -> None:
        self.policy = policy
        self._pack = pack
        self._length = max_completion_length or COMPLETION_LENGTHS[pack.name]

    @property
    def pack(self) -> GamePack:
        return self._pack

    def answer(self, requests: Sequence[Request], *, greedy: bool = False) -> dict[str, list[Completion]]:
        rollouts = self.policy.sample(
            [SampleRequest(request.id, request.prompt, request.n, request.seed) for request in requests],
            Sampling(greedy=greedy, max_completion_length=self._length),
        )
        return {id: [Completion(one.text, one.finished) for one in drawn] for id, drawn in rollouts.items()}


def open_player(folder: Path, open_image: Callable[[ImageRef], Image.Image]) -> ModelPlayer:
    """A model's folder as a frozen player, in the wording that it was taught."""
    options = ModelOptions(device=choose_device("auto"))
    policy = Policy.load(folder.name, folder, open_image=open_image, options=options)
    return ModelPlayer(policy, get_game_pack(taught_pack(folder)))


def play_step(games: Sequence[Game], players: Sequence[Player], holder: Holder) -> tuple[Game, ...]:
    """The games after what all of them waited for; each of the players is asked at most once.

    Raises ValueError where a seat's holder is not among `players`.
    """
    by_id = {game.id: game for game in games}
    answers: dict[str, Sequence[Completion]] = {}
    for player in players:
        asked = [
            request
            for request in open_requests(games, player.pack)
            if holder(by_id[request.game_id], request.seat) is player
        ]
        if asked:
            answers.update(player.answer(asked))
    return advance(games, answers)


def play_out(
    games: Sequence[Game],
    players: Sequence[Player],
    holder: Holder,
    *,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[Game, ...]:
    """The games, finished; `on_step` is called after every clue and after the votes."""
    table = tuple(games)
    while table and table[0].stage != "over":
        table = play_step(table, players, holder)
        on_step()
    return table
