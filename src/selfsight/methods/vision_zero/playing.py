"""A batch of games from the deal to the last vote, with the policy that plays all seats.

All games advance together (see `lockstep`): players * rounds sampling calls for clues and one for the votes, whatever
the number of games. What was sampled is kept with the prompt it answered, token by token, for learning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from selfsight.config import EvolveConfig
from selfsight.language import GamePack
from selfsight.methods.vision_zero.game import Completion, Game
from selfsight.methods.vision_zero.lockstep import Request, advance, open_requests
from selfsight.policy import Rollout, SampleRequest, Sampling


class Player(Protocol):
    """What sits at the table: a policy, or in tests a script."""

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        """Rollouts by request id, in sample order."""


@dataclass(frozen=True)
class Answer:
    """A request with the rollouts that answered it."""

    request: Request
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True)
class Played:
    """Finished games and, by game id, the answers behind them: those of the clues in the order of the turns, those of
    the votes in the order of the ballots.
    """

    games: tuple[Game, ...]
    clues: Mapping[str, tuple[Answer, ...]]
    votes: Mapping[str, tuple[Answer, ...]]


def clue_sampling(config: EvolveConfig) -> Sampling:
    """How clues are drawn."""
    return Sampling(temperature=config.grpo.temperature, max_completion_length=config.vision_zero.max_clue_length)


def vote_sampling(config: EvolveConfig) -> Sampling:
    """How votes are drawn."""
    return Sampling(temperature=config.grpo.temperature, max_completion_length=config.vision_zero.max_vote_length)


def play(
    player: Player,
    games: Sequence[Game],
    pack: GamePack,
    *,
    clue: Sampling,
    vote: Sampling,
    pause: Callable[[], None] = lambda: None,
) -> Played:
    """Plays games that were just dealt. `pause` is called before every sampling call: it may raise."""
    clues: dict[str, tuple[Answer, ...]] = {game.id: () for game in games}
    votes: dict[str, tuple[Answer, ...]] = {game.id: () for game in games}
    table, calls = tuple(games), 0
    while requests := open_requests(table, pack):
        pause()
        giving_clues = table[0].stage == "clue"
        asked = [SampleRequest(r.id, r.prompt, r.n, r.seed) for r in requests]
        rollouts = player.sample(asked, clue if giving_clues else vote)
        calls += 1
        answers = clues if giving_clues else votes
        for request in requests:
            answers[request.game_id] += (Answer(request, tuple(rollouts[request.id])),)
        said = {id: [Completion(r.text, r.finished) for r in drawn] for id, drawn in rollouts.items()}
        table = advance(table, said)
    if games:
        expected = games[0].settings.sampling_calls
        assert calls == expected, f"{len(games)} games took {calls} sampling calls, not {expected}"
    return Played(table, clues, votes)
