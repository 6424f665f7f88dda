"""Golden values and laws of what a game pays."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.errors import SelfsightError
from selfsight.methods.vision_zero import (
    Game,
    GameSettings,
    Request,
    RoleBaselines,
    ScoringSettings,
    Vote,
    clue_rewards,
    decision_rewards,
    group_normalised,
    incentives,
    read_vote,
    role_advantages,
    score,
    vote_rates,
    warnings_about,
)
from selfsight.methods.vision_zero.scoring import citizens_win, tally
from selfsight.policy.loss import group_advantages

from .playing import new_game, play

PAPER = ScoringSettings()
VOTES = st.lists(st.integers(0, 8), min_size=3, max_size=9)
WEIGHTS = st.floats(0, 2)


@pytest.mark.parametrize(
    ("votes", "rewards"),
    [
        ([0, 0, 0, 8], [0.8 / 3, 0.8 / 3, 0.8 / 3, -0.8]),
        ([8, 0, 0, 0], [-0.62222222, 0.17777778, 0.17777778, 0.26666667]),
        ([1, 0, 0, 6], [0.12222222, 0.22222222, 0.22222222, -0.56666667]),  # and one n/a
        ([0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]),
        ([2, 2, 2, 2], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_clue_rewards_of_four_players_with_the_spy_in_seat_four(votes: list[int], rewards: list[float]) -> None:
    assert clue_rewards(votes, 4) == pytest.approx(rewards, abs=1e-8)


def test_the_ledger_is_zero_sum_for_every_vote_of_up_to_six_players_and_eight_votes() -> None:
    for players in range(3, 7):
        for votes in itertools.product(range(9), repeat=players):
            if sum(votes) <= 8:
                assert abs(math.fsum(clue_rewards(votes, players))) < 1e-6


@given(VOTES, WEIGHTS, WEIGHTS, st.data())
@settings(max_examples=60, deadline=None)
def test_the_ledger_is_zero_sum_and_a_vote_more_never_pays(
    votes: list[int], beta: float, lam: float, data: st.DataObject
) -> None:
    spy = data.draw(st.integers(1, len(votes)))
    rewards = clue_rewards(votes, spy, beta=beta, lam=lam)
    assert abs(math.fsum(rewards)) < 1e-6
    for seat in range(len(votes)):
        more = [count + (place == seat) for place, count in enumerate(votes)]
        assert clue_rewards(more, spy, beta=beta, lam=lam)[seat] <= rewards[seat] + 1e-9


@given(VOTES, st.data())
@settings(max_examples=60, deadline=None)
def test_rewards_do_not_depend_on_the_seats(votes: list[int], data: st.DataObject) -> None:
    spy = data.draw(st.integers(1, len(votes)))
    order = data.draw(st.permutations(range(len(votes))))
    turned = clue_rewards([votes[i] for i in order], order.index(spy - 1) + 1)
    assert turned == pytest.approx([clue_rewards(votes, spy)[i] for i in order], abs=1e-12)


def test_a_player_who_is_not_there_cannot_be_the_spy() -> None:
    for spy in (0, 5):
        with pytest.raises(ValueError, match="cannot be the spy"):
            clue_rewards([1, 2, 3, 4], spy)


# ------------------------------------------------------------------------------------------------ who wins


@pytest.mark.parametrize(
    ("votes", "won"),
    [((0, 0, 3), True), ((2, 2, 3), True), ((3, 0, 3), False), ((0, 0, 0), False), ((4, 0, 3), False)],
)
def test_the_citizens_win_by_a_strict_plurality_on_the_spy(votes: tuple[int, ...], won: bool) -> None:
    assert citizens_win(votes, 3) is won


def test_abstentions_and_invalid_votes_count_for_nobody() -> None:
    votes = [Vote("accusation", 2), Vote("abstention"), Vote("invalid", None, "prose"), Vote("accusation", 2)]
    counted = tally(votes, 4)
    assert (counted.for_seat, counted.abstentions, counted.invalid) == ((0, 2, 0, 0), 1, 1)


# ------------------------------------------------------------------------------------------------ decisions


def test_a_decision_earns_one_for_the_spy_minus_a_half_for_na_and_minus_one_for_the_rest() -> None:
    votes = [read_vote(text, players=4) for text in ("4", "n/a", "2", "1 or 2", "")]
    assert decision_rewards(votes, 4, PAPER) == (1.0, -0.5, -1.0, -1.0, -1.0)


@given(st.lists(st.sampled_from([1.0, -0.5, -1.0]), min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_decisions_are_normalised_as_the_learner_does_it(rewards: list[float]) -> None:
    ours = group_normalised(rewards)
    theirs, _ = group_advantages(torch.tensor(rewards))
    assert ours == pytest.approx(theirs.tolist(), abs=1e-9)
    assert math.fsum(ours) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("reward", [1.0, -0.5, -1.0, 0.1])
def test_equal_rewards_carry_exactly_no_signal(reward: float) -> None:
    assert group_normalised([reward] * 7) == (0.0,) * 7
    assert group_normalised([reward]) == (0.0,)


def test_the_break_even_of_na_is_a_quarter_and_is_printed_beside_chance() -> None:
    assert PAPER.break_even == 0.25
    assert incentives(GameSettings(), PAPER) == "n/a pays below a 0.25 chance of being right; guessing is right 0.2"


@pytest.mark.parametrize(
    ("players", "voter", "warned"),
    [(5, "referee", False), (4, "referee", True), (5, "seated", True), (6, "seated", False), (3, "referee", True)],
)
def test_a_game_in_which_na_can_never_pay_is_warned_about(players: int, voter: str, warned: bool) -> None:
    game = GameSettings(players=players, voter=voter)  # type: ignore[arg-type]
    assert any("n/a can never pay" in text for text in warnings_about(game, PAPER)) is warned


def test_training_without_role_advantages_is_warned_about() -> None:
    (warning,) = warnings_about(GameSettings(), ScoringSettings(baseline="off"))
    assert "44.1 to 37.4" in warning
    assert warnings_about(GameSettings(), PAPER) == ()


@pytest.mark.parametrize(
    "wrong", [{"baseline": "during"}, {"alpha": 1.0}, {"beta": -0.1}, {"abstained": 1.0}, {"wrong": 1.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SelfsightError):
        ScoringSettings(**wrong)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ role advantages

ALL_ON_SPY = (clue_rewards([0, 0, 0, 8], 4), 4)


def test_the_first_spy_reward_of_minus_0_8_by_both_orders() -> None:
    pre = role_advantages([ALL_ON_SPY], RoleBaselines(), alpha=0.95, baseline="pre")
    post = role_advantages([ALL_ON_SPY], RoleBaselines(), alpha=0.95, baseline="post")
    assert pre.by_game[0][3] == pytest.approx(-0.8)
    assert post.by_game[0][3] == pytest.approx(-0.76)
    assert pre.following == post.following == post.used
    assert pre.following.spy == pytest.approx(-0.04)
    assert pre.used == RoleBaselines()


BATCHES = st.integers(3, 9).flatmap(
    lambda players: st.lists(
        st.tuples(st.lists(st.integers(0, 8), min_size=players, max_size=players), st.integers(1, players)),
        min_size=1,
        max_size=12,
    )
)


@given(st.lists(BATCHES, min_size=1, max_size=6), st.sampled_from(["pre", "post"]), WEIGHTS, WEIGHTS)
@settings(max_examples=40, deadline=None)
def test_baselines_and_advantages_stay_zero_sum(
    steps: list[list[tuple[list[int], int]]], baseline: str, beta: float, lam: float
) -> None:
    players = len(steps[0][0][0])
    baselines = RoleBaselines()
    for step in steps:
        same = [(votes, spy) for votes, spy in step if len(votes) == players]
        batch = [(clue_rewards(votes, spy, beta=beta, lam=lam), spy) for votes, spy in same]
        found = role_advantages(batch, baselines, alpha=0.95, baseline=baseline)  # type: ignore[arg-type]
        baselines = found.following
        assert abs(baselines.spy + (players - 1) * baselines.citizen) < 1e-6
        assert all(abs(math.fsum(advantages)) < 1e-6 for advantages in found.by_game)


def test_the_result_does_not_depend_on_the_order_of_the_batch_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    batch = [(clue_rewards(rng.integers(0, 9, 5).tolist(), int(rng.integers(1, 6))), 1 + k % 5) for k in range(64)]
    once = role_advantages(batch, RoleBaselines(0.3, -0.1), alpha=0.95, baseline="post")
    turned = role_advantages(batch[::-1], RoleBaselines(0.3, -0.1), alpha=0.95, baseline="post")
    assert (turned.following, turned.by_game[::-1]) == (once.following, once.by_game)


def test_a_constant_reward_is_learned_by_the_baseline_and_its_advantage_vanishes() -> None:
    baselines = RoleBaselines()
    for _ in range(400):
        baselines = role_advantages([ALL_ON_SPY], baselines, alpha=0.95, baseline="pre").following
    assert baselines.spy == pytest.approx(-0.8, abs=1e-6)
    last = role_advantages([ALL_ON_SPY], baselines, alpha=0.95, baseline="pre")
    assert last.by_game[0] == pytest.approx([0] * 4, abs=1e-6)


def test_a_step_without_clue_training_leaves_the_baselines_and_off_subtracts_nothing() -> None:
    kept = RoleBaselines(-0.2, 0.05)
    assert role_advantages([], kept, alpha=0.95, baseline="pre").following == kept
    off = role_advantages([ALL_ON_SPY], kept, alpha=0.95, baseline="off")
    assert (off.by_game[0], off.following) == (ALL_ON_SPY[0], kept)


def test_games_of_different_sizes_share_no_baselines() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        role_advantages([ALL_ON_SPY, ((0.0,) * 5, 1)], RoleBaselines(), alpha=0.95, baseline="pre")


# ------------------------------------------------------------------------------------------------- whole games


def finished(game: Game, *votes: str, clue: str = "") -> Game:
    def speak(request: Request, sample: int) -> str:
        if "/clue/" in request.id:
            return clue or f"\\boxed{{thing {request.id.replace('/', ' ')}}}"
        return votes[sample]

    return play([game], speak)[0][0]


@given(
    players=st.integers(3, 9),
    rounds=st.integers(1, 4),
    voter=st.sampled_from(["seated", "referee"]),
    seed=st.integers(0, 10**6),
    wishes=st.lists(st.integers(0, 11), min_size=4, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_every_game_pays_a_zero_sum_whatever_its_size_seats_and_votes(
    players: int, rounds: int, voter: str, seed: int, wishes: list[int]
) -> None:
    rules = GameSettings(players=players, clue_rounds=rounds, voter=voter, votes=4)  # type: ignore[arg-type]
    game = finished(new_game(rules, seed=seed), *(str(wish) if wish < 11 else "n/a" for wish in wishes))
    paid = score(game, PAPER)
    assert abs(math.fsum(paid.clue_rewards)) < 1e-6
    assert len(paid.clue_rewards) == players and len(paid.clue_penalties) == players * rounds
    voters = players - 1 if voter == "seated" else 1
    counted = paid.tally
    assert sum(counted.for_seat) + counted.abstentions + counted.invalid == 4 * voters
    assert [len(rewards) for rewards in paid.decision_rewards] == [4] * voters
    assert paid.citizens_win == citizens_win(counted.for_seat, game.secret.spy)


def test_the_samples_of_a_seated_citizen_share_its_one_vote() -> None:
    rules = GameSettings(players=4, voter="seated", votes=8)
    game = new_game(rules)
    spy = game.secret.spy
    paid = score(finished(game, *[str(spy)] * 8), PAPER)
    assert paid.tally.for_seat[spy - 1] == 24
    assert paid.clue_rewards[spy - 1] == pytest.approx(-0.1 * 3)  # three citizens, three votes


def test_a_refused_clue_costs_its_author_outside_the_ledger() -> None:
    paid = score(finished(new_game(), *["n/a"] * 8, clue="\\boxed{a red cube}"), PAPER)
    assert paid.clue_penalties == (0.0, *[0.5] * 9)  # the first one was new, all others repeat it
    assert paid.clue_rewards == (0.0,) * 5


def test_the_penalty_exceeds_what_any_clue_can_win() -> None:
    best = max(max(clue_rewards([8, 0, 0], 3)), max(clue_rewards([0, 0, 8], 3)))
    assert best < PAPER.invalid_clue_penalty
    assert Fraction(best).limit_denominator(100) == Fraction(2, 5)


def test_a_voter_finds_the_spy_when_most_of_its_samples_name_it() -> None:
    game = new_game()
    spy, other = str(game.secret.spy), str(game.secret.spy % 5 + 1)
    shares = {
        (spy, spy, spy, other, other, "x", "x", "x"): (1, 0),
        (spy, spy, other, other, "x", "x", "x", "x"): (0, 0),
        (spy, spy, spy, "n/a", "n/a", "n/a", other, other): (0, 3 / 8),
        (spy, spy, spy, "n/a", "n/a", other, other, "x"): (1, 2 / 8),
        ("n/a",) * 8: (0, 1),
    }
    for votes, (accuracy, abstention) in shares.items():
        rates = vote_rates([finished(game, *votes)])
        assert (rates.accuracy, rates.abstention) == (accuracy, abstention)
    both = vote_rates(
        [finished(new_game(id="a"), *[str(new_game(id="a").secret.spy)] * 8), finished(game, *["n/a"] * 8)]
    )
    assert (both.accuracy, both.abstention) == (0.5, 0.5)


def test_games_that_are_not_over_are_neither_scored_nor_rated() -> None:
    with pytest.raises(ValueError, match="not over"):
        score(new_game(), PAPER)
    with pytest.raises(ValueError, match="no votes"):
        vote_rates([new_game()])
