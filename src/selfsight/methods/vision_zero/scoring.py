"""What a finished game pays: clue rewards, role advantages, decision rewards, and who has won. Pure functions.

Clue stage (arXiv 2509.25541, eq. 1), zero-sum over the players; v_s, v_j are the votes for the spy and for citizen j,
vbar is the mean of the v_j, n_c the number of citizens:

    r_s = -beta (v_s - vbar)            r_j = beta / n_c (v_s - vbar) - lambda (v_j - vbar)

Every clue of a player gets that player's reward. A referee's G samples are G votes, as in the authors' program; a
seated citizen has one vote, which its G samples share, as in the paper. A refused clue costs its author
`invalid_clue_penalty` on top, on that clue alone and outside the ledger, so the ledger stays zero-sum; the default
exceeds what a clue can win at the table (0.4 with two citizens and 8 votes).

Role advantage estimation (eq. 2; `pre` as in SPIRAL, arXiv 2506.24119, `post` as in the paper's algorithm 1):

    b <- alpha b + (1 - alpha) mean role reward        A = r - b     b before (pre) or after (post) the update

One update per optimiser step from the whole batch. Since the ledger is zero-sum, b_s + n_c b_c = 0, and the
advantages of a game's players add up to 0.

Decision stage (eq. 4): +1 correct, -0.5 n/a, -1 wrong or invalid, normalised over the samples of one prompt.
A voter who is right with probability p gains by naming somebody rather than n/a if p > break-even.

The citizens win by a strict plurality on the spy; a tie lets the spy survive.

Left out: the authors' format and length bonuses, and their made-up votes for games without any.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from selfsight.errors import SelfsightError
from selfsight.methods.vision_zero.ballots import Vote
from selfsight.methods.vision_zero.game import Game, GameSettings

Baseline = Literal["pre", "post", "off"]
_EPS: Final = 1e-6  # as in the policy's loss


@dataclass(frozen=True)
class ScoringSettings:
    """Weights of both stages; `lam` is lambda, `alpha` the decay of the baselines."""

    beta: float = 0.1
    lam: float = 0.1
    baseline: Baseline = "pre"
    alpha: float = 0.95
    invalid_clue_penalty: float = 0.5
    correct: float = 1.0
    abstained: float = -0.5
    wrong: float = -1.0

    def __post_init__(self) -> None:
        if self.baseline not in get_args(Baseline):
            raise SelfsightError(f"baseline is {self.baseline!r}", hint=f"use one of: {', '.join(get_args(Baseline))}")
        if min(self.beta, self.lam, self.invalid_clue_penalty) < 0 or not 0 <= self.alpha < 1:
            raise SelfsightError(
                "beta, lam and invalid_clue_penalty must be 0 or more, and alpha at least 0 and below 1",
                hint="the paper's values are beta .1, lambda .1 and alpha .95",
            )
        if not (self.wrong < self.correct and self.abstained < self.correct):
            raise SelfsightError(
                f"decision rewards: correct is {self.correct}, abstained {self.abstained}, wrong {self.wrong}",
                hint="a correct vote must earn more than n/a and more than a wrong one",
            )

    @property
    def break_even(self) -> float:
        """The chance of being right above which naming somebody pays more than n/a."""
        return (self.abstained - self.wrong) / (self.correct - self.wrong)


@dataclass(frozen=True)
class Tally:
    """Where the votes of a game went; `for_seat[k - 1]` are those for player k, whole samples."""

    for_seat: tuple[int, ...]
    abstentions: int
    invalid: int


@dataclass(frozen=True)
class Score:
    """What a game pays.

    `clue_rewards[k - 1]` is player k's, `clue_penalties` are by turn (0 for a valid clue); a clue's whole reward is
    the difference. `decision_rewards` are by ballot and sample, before normalisation.
    """

    tally: Tally
    citizens_win: bool
    clue_rewards: tuple[float, ...]
    clue_penalties: tuple[float, ...]
    decision_rewards: tuple[tuple[float, ...], ...]


def score(game: Game, settings: ScoringSettings) -> Score:
    """The score of a finished game."""
    if game.stage != "over":
        raise ValueError(f"game {game.id!r} is not over")
    counted = tally([vote for ballot in game.ballots for vote in ballot.votes], game.settings.players)
    samples_per_vote = 1 if game.settings.voter == "referee" else game.settings.votes
    votes = [count / samples_per_vote for count in counted.for_seat]
    return Score(
        tally=counted,
        citizens_win=citizens_win(counted.for_seat, game.secret.spy),
        clue_rewards=clue_rewards(votes, game.secret.spy, beta=settings.beta, lam=settings.lam),
        clue_penalties=tuple(0.0 if turn.reading.valid else settings.invalid_clue_penalty for turn in game.turns),
        decision_rewards=tuple(decision_rewards(b.votes, game.secret.spy, settings) for b in game.ballots),
    )


def tally(votes: Sequence[Vote], players: int) -> Tally:
    """Counts votes; an abstention and an invalid vote count for nobody."""
    named = Counter(vote.seat for vote in votes if vote.kind == "accusation")
    kinds = Counter(vote.kind for vote in votes)
    return Tally(tuple(named[seat] for seat in range(1, players + 1)), kinds["abstention"], kinds["invalid"])


def citizens_win(votes: Sequence[float], spy: int) -> bool:
    """Whether the spy, in seat `spy`, has more votes than every citizen. `votes[k - 1]` are player k's."""
    return all(votes[spy - 1] > count for seat, count in enumerate(votes, start=1) if seat != spy)


def clue_rewards(votes: Sequence[float], spy: int, *, beta: float = 0.1, lam: float = 0.1) -> tuple[float, ...]:
    """The zero-sum rewards by seat (eq. 1). `votes[k - 1]` are player k's."""
    if len(votes) < 2 or not 1 <= spy <= len(votes):
        raise ValueError(f"seat {spy} cannot be the spy among {len(votes)} players")
    citizens = [count for seat, count in enumerate(votes, start=1) if seat != spy]
    mean = math.fsum(citizens) / len(citizens)
    lead = votes[spy - 1] - mean
    return tuple(
        -beta * lead if seat == spy else beta / len(citizens) * lead - lam * (count - mean)
        for seat, count in enumerate(votes, start=1)
    )


def decision_rewards(votes: Sequence[Vote], spy: int, settings: ScoringSettings) -> tuple[float, ...]:
    """+1 for the spy's seat, -0.5 for n/a, -1 for anybody else and for an invalid vote."""
    return tuple(
        settings.correct if vote.seat == spy else settings.abstained if vote.kind == "abstention" else settings.wrong
        for vote in votes
    )


def group_normalised(rewards: Sequence[float]) -> tuple[float, ...]:
    """(r - mean) / (std + 1e-6) over the samples of one prompt, as the learner does it; exactly 0 if all are equal."""
    if len(set(rewards)) < 2:
        return (0.0,) * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    deviation = math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1))
    return tuple((reward - mean) / (deviation + _EPS) for reward in rewards)


@dataclass(frozen=True)
class VoteRates:
    """What decides when to switch stages: how often voters find the spy, and the share of n/a among the samples."""

    accuracy: float
    abstention: float


def vote_rates(games: Sequence[Game]) -> VoteRates:
    """The rates of finished games. A voter finds the spy when most of its samples say so: more than name any other
    player, and more than say n/a.
    """
    ballots = [(ballot, game) for game in games for ballot in game.ballots]
    if not ballots:
        raise ValueError("no votes to rate")
    found = samples = abstentions = 0
    for ballot, game in ballots:
        counted = tally(ballot.votes, game.settings.players)
        for_spy = counted.for_seat[game.secret.spy - 1]
        found += citizens_win(counted.for_seat, game.secret.spy) and for_spy > counted.abstentions
        samples += len(ballot.votes)
        abstentions += counted.abstentions
    return VoteRates(found / len(ballots), abstentions / samples)


# --------------------------------------------------------------------------------- role advantage estimation


@dataclass(frozen=True)
class RoleBaselines:
    """What a role has earned on average so far; part of a checkpoint."""

    spy: float = 0.0
    citizen: float = 0.0

    def advantages(self, rewards: Sequence[float], spy: int) -> tuple[float, ...]:
        """A = r - b by seat."""
        return tuple(
            reward - (self.spy if seat == spy else self.citizen) for seat, reward in enumerate(rewards, start=1)
        )


@dataclass(frozen=True)
class RoleAdvantages:
    """The advantages of a batch by game and seat, the baselines that were subtracted, and those of the next step."""

    by_game: tuple[tuple[float, ...], ...]
    used: RoleBaselines
    following: RoleBaselines


def role_advantages(
    batch: Sequence[tuple[Sequence[float], int]], baselines: RoleBaselines, *, alpha: float, baseline: Baseline
) -> RoleAdvantages:
    """Advantages of one optimiser step; `batch` holds each game's clue rewards and its spy's seat.

    Give it all games whose clues train in this step, and no others, once. The result does not depend on how the batch
    was split or ordered. `off` subtracts nothing and keeps the baselines.
    """
    if len({len(rewards) for rewards, _ in batch}) > 1:
        raise ValueError("games with different numbers of players share no baselines")
    following = baselines
    if batch and baseline != "off":
        spies = [rewards[spy - 1] for rewards, spy in batch]
        citizens = [r for rewards, spy in batch for seat, r in enumerate(rewards, start=1) if seat != spy]
        following = RoleBaselines(
            spy=alpha * baselines.spy + (1 - alpha) * (math.fsum(spies) / len(spies)),
            citizen=alpha * baselines.citizen + (1 - alpha) * (math.fsum(citizens) / len(citizens)),
        )
    used = {"pre": baselines, "post": following, "off": RoleBaselines()}[baseline]
    return RoleAdvantages(tuple(used.advantages(rewards, spy) for rewards, spy in batch), used, following)


# ------------------------------------------------------------------------------------------ before a run starts


def incentives(game: GameSettings, scoring: ScoringSettings) -> str:
    """The economics of n/a in one line, to be printed when a run starts."""
    return f"n/a pays below a {scoring.break_even:.3g} chance of being right; guessing is right {game.chance:.3g}"


def warnings_about(game: GameSettings, scoring: ScoringSettings) -> tuple[str, ...]:
    """What a user should know before a run with these settings."""
    found = []
    if scoring.baseline == "off":
        found.append(
            "role advantage estimation is off: without it the published average falls from 44.1 to 37.4, "
            "below the untrained model's 41.1"
        )
    if scoring.break_even <= game.chance:
        found.append(
            f"n/a can never pay: guessing is right {game.chance:.3g} of the time and pays from "
            f"{scoring.break_even:.3g}; the share of n/a will fall to 0, and its thresholds for switching mean nothing"
        )
    return tuple(found)
