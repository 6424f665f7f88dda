"""The game "Who is the spy" as an immutable value that advances by clues and then by votes (arXiv 2509.25541).

n - 1 citizens share an image, the spy has another one. In each round every player gives a clue, in the fixed order
of the seats; then each citizen votes (`seated`), or one referee without a seat who has the citizens' image
(`referee`, the authors' program). The spy never votes. Seats and rounds count from 1.

The spy's seat and the seeds of all samples follow from (seed, game id) and nothing else, so a game is the same in any
batch and on any number of workers.

Who knows what is a matter of types: `Secret` stays in the game; a request is built from `PublicState`, `PrivateState`
and a view (see `language.game_prompts`), which `public`, `private` and `view` hand out.

Left out: elimination rounds, and a random order of speaking (a seat is drawn for the spy instead).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from selfsight.errors import SelfsightError
from selfsight.images import SPY_VIEWS, ImageRef, SpyView
from selfsight.language import PrivateState, PublicClue, PublicState, RefereeView, SeatView
from selfsight.methods.vision_zero.ballots import Vote, read_vote
from selfsight.methods.vision_zero.clues import ClueReading, read_clue
from selfsight.run import derive

Voter = Literal["seated", "referee"]
Stage = Literal["clue", "vote", "over"]
FEWEST_PLAYERS: Final = 3
MOST_PLAYERS: Final = 9


@dataclass(frozen=True)
class GameSettings:
    """The rules. `votes` is G, the samples of each voter."""

    players: int = 5
    clue_rounds: int = 2
    spy_view: SpyView = "blank"
    voter: Voter = "referee"
    votes: int = 8

    def __post_init__(self) -> None:
        if not FEWEST_PLAYERS <= self.players <= MOST_PLAYERS:
            raise SelfsightError(
                f"players is {self.players}", hint=f"a game needs {FEWEST_PLAYERS} to {MOST_PLAYERS} players"
            )
        if self.clue_rounds < 1 or self.votes < 1:
            raise SelfsightError(
                f"clue_rounds is {self.clue_rounds} and votes is {self.votes}", hint="both must be 1 or more"
            )
        for key, value, known in (("spy_view", self.spy_view, SPY_VIEWS), ("voter", self.voter, get_args(Voter))):
            if value not in known:
                raise SelfsightError(f"{key} is {value!r}", hint=f"use one of: {', '.join(known)}")

    @property
    def clues(self) -> int:
        """Clues in a game, and clue calls that a batch of games takes."""
        return self.players * self.clue_rounds

    @property
    def sampling_calls(self) -> int:
        """Sampling calls that any number of games in lock-step take: one per clue and one for all votes."""
        return self.clues + 1

    @property
    def chance(self) -> float:
        """How often a voter who guesses finds the spy; a seated citizen knows that it is not the spy itself."""
        return 1 / (self.players if self.voter == "referee" else self.players - 1)


@dataclass(frozen=True)
class Secret:
    """What no player is told: where the spy sits, and which images there are."""

    spy: int
    image: ImageRef
    spy_image: ImageRef


@dataclass(frozen=True)
class Completion:
    """What a model wrote; `finished` is False when it was cut off."""

    text: str
    finished: bool = True


@dataclass(frozen=True)
class Turn:
    """A clue as it was given."""

    seat: int
    round: int
    completion: Completion
    reading: ClueReading


@dataclass(frozen=True)
class Ballot:
    """The votes of one voter, a sample each; `voter` is a citizen's seat, None for the referee."""

    voter: int | None
    completions: tuple[Completion, ...]
    votes: tuple[Vote, ...]


@dataclass(frozen=True)
class Game:
    """A game at some point of its course; `deal` starts one, `with_clue` and `with_votes` advance it."""

    id: str
    seed: int
    settings: GameSettings
    secret: Secret
    turns: tuple[Turn, ...] = ()
    ballots: tuple[Ballot, ...] = ()

    @property
    def stage(self) -> Stage:
        """What the game waits for."""
        if len(self.turns) < self.settings.clues:
            return "clue"
        return "over" if self.ballots else "vote"

    @property
    def turn(self) -> tuple[int, int]:
        """Round and seat of the clue that the game waits for."""
        if self.stage != "clue":
            raise ValueError(f"game {self.id!r} has all its clues")
        done, seat = divmod(len(self.turns), self.settings.players)
        return done + 1, seat + 1

    @property
    def voters(self) -> tuple[int | None, ...]:
        """The seats that vote, or (None,) for the referee."""
        if self.settings.voter == "referee":
            return (None,)
        return tuple(seat for seat in range(1, self.settings.players + 1) if seat != self.secret.spy)

    def public(self) -> PublicState:
        """What everybody knows by now."""
        clues = tuple(PublicClue(turn.seat, turn.round, turn.reading.text) for turn in self.turns)
        return PublicState(self.settings.players, self.settings.clue_rounds, self.settings.spy_view, clues)

    def private(self, seat: int) -> PrivateState:
        """What only the player in `seat` knows."""
        self._check_seat(seat)
        notes = tuple(turn.reading.note for turn in self.turns if turn.seat == seat)
        return PrivateState(seat, "spy" if seat == self.secret.spy else "citizen", notes)

    def view(self, seat: int) -> SeatView:
        """What the player in `seat` has before it."""
        self._check_seat(seat)
        return SeatView(seat, self.secret.spy_image if seat == self.secret.spy else self.secret.image)

    def referee_view(self) -> RefereeView:
        """What the referee has before it."""
        return RefereeView(self.secret.image)

    def with_clue(self, completion: Completion) -> "Game":
        """The game after the next player's clue, which is read here."""
        round, seat = self.turn
        heard = [turn.reading.text for turn in self.turns if turn.reading.valid]
        reading = read_clue(completion.text, heard, finished=completion.finished)
        return replace(self, turns=(*self.turns, Turn(seat, round, completion, reading)))

    def with_votes(self, completions: Mapping[int | None, Sequence[Completion]]) -> "Game":
        """The game after the vote; `completions` holds the samples of each of `voters`."""
        if self.stage != "vote":
            raise ValueError(f"game {self.id!r} waits for a clue" if self.stage == "clue" else f"{self.id!r} is over")
        if set(completions) != set(self.voters):
            raise ValueError(f"game {self.id!r}: votes of {list(completions)}, but the voters are {self.voters}")
        return replace(self, ballots=tuple(self._ballot(voter, completions[voter]) for voter in self.voters))

    def _ballot(self, voter: int | None, completions: Sequence[Completion]) -> Ballot:
        if len(completions) != self.settings.votes:
            raise ValueError(f"game {self.id!r}: {len(completions)} votes of {voter}, not {self.settings.votes}")
        players = self.settings.players
        votes = (read_vote(c.text, players=players, voter=voter, finished=c.finished) for c in completions)
        return Ballot(voter, tuple(completions), tuple(votes))

    def _check_seat(self, seat: int) -> None:
        if not 1 <= seat <= self.settings.players:
            raise ValueError(f"game {self.id!r} has no seat {seat}")


def deal(settings: GameSettings, *, seed: int, id: str, image: ImageRef, spy_image: ImageRef) -> Game:
    """A new game about `image`; the spy sees `spy_image`. Its seat is uniform and follows from (seed, id)."""
    if spy_image.id == image.id:
        raise ValueError(f"game {id!r}: the spy would see the citizens' image {image.id}")
    spy = derive(seed, "vision-zero", id, "spy") % settings.players + 1
    return Game(id, seed, settings, Secret(spy, image, spy_image))
