"""Intervals and tests against closed forms and published values."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import intervals
from selfsight.evaluate.statistics import (
    Interval,
    mcnemar_exact,
    mean_interval,
    paired_interval,
    share_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_gives_newcombes_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert interval.low <= interval.mean <= interval.high


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_where_the_score_test_changes_its_mind(counts: tuple[int, int]) -> None:
    successes, n = counts
    interval = wilson_interval(successes, n)
    for bound in (interval.low, interval.high):
        if 0 < bound < 1:
            score = abs(successes / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert score == pytest.approx(1.959964, rel=1e-5)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 1, 1.0),
        (5, 0, 2 / 32),
        (1, 8, 2 * 10 / 512),
        (6, 16, 0.052478790283203125),
    ],
)
def test_mcnemar_is_the_binomial_tail(wins: int, losses: int, p: float) -> None:
    assert mcnemar_exact(wins, losses) == pytest.approx(p, rel=1e-12)
    assert mcnemar_exact(losses, wins) == mcnemar_exact(wins, losses)


def test_mcnemar_survives_counts_that_overflow_a_float() -> None:
    normal = math.erfc(399 / math.sqrt(2 * 10_000))  # 400 less the continuity correction
    assert mcnemar_exact(5_200, 4_800) == pytest.approx(normal, rel=0.01)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_interval_for_large_samples() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2_000)
    interval = mean_interval(values, seed=1)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_pairing_removes_what_both_sides_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 500)
    before, after = hard + rng.normal(0, 0.1, 500), hard + 1.0 + rng.normal(0, 0.1, 500)
    interval = paired_interval(before, after, seed=0)
    assert 0.97 < interval.low < interval.mean < interval.high < 1.03
    assert interval.n == 500


def test_the_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        before, after = rng.random(120) < 0.5, rng.random(120) < 0.6
        interval = paired_interval(before, after, seed=trial, resamples=1_000)
        covered += interval.low <= 0.1 <= interval.high
    assert 0.91 <= covered / 300 <= 0.98


def test_questions_of_one_image_widen_the_interval_by_the_design_effect() -> None:
    """Eight equal answers per image are one observation: the interval is sqrt(8) times as wide."""
    per_image = (np.random.default_rng(3).random(200) < 0.5).astype(float)
    values, images = np.repeat(per_image, 8), np.repeat(np.arange(200), 8).tolist()
    alone, clustered = mean_interval(values, seed=0), mean_interval(values, seed=0, clusters=images)
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(8), rel=0.08)
    assert clustered.n == alone.n == 1600


def test_clusters_of_one_are_no_clusters() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    assert mean_interval(values, seed=5, clusters=["a", "b", "c", "d"]) == mean_interval(values, seed=5)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30), st.randoms())
def test_the_interval_depends_on_the_seed_and_the_sample_but_not_on_its_order(values: list[float], rng) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(values)
    rng.shuffle(shuffled)
    first, second = (
        mean_interval(values, seed=2, resamples=200),
        mean_interval(shuffled, seed=2, resamples=200),
    )
    assert (first.low, first.high) == (second.low, second.high)


def bonett_and_price(wins: int, losses: int, n: int) -> tuple[float, float]:
    """Bonett and Price 2012, equation for the adjusted Wald interval of paired proportions."""
    p12, p21 = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    half = 1.959963984540054 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    return max(-1.0, p12 - p21 - half), min(1.0, p12 - p21 + half)


def paired(wins: int, losses: int, n: int) -> Interval:
    ties = n - wins - losses
    before = [0.0] * wins + [1.0] * losses + [1.0] * ties
    return paired_interval(before, [1.0] * wins + [0.0] * losses + [1.0] * ties, seed=0)


@pytest.mark.parametrize(("wins", "losses", "n"), [(20, 5, 100), (6, 0, 12), (330, 42, 600), (0, 7, 7)])
def test_a_paired_difference_has_bonett_and_prices_interval(wins: int, losses: int, n: int) -> None:
    interval = paired(wins, losses, n)
    assert (interval.low, interval.high) == pytest.approx(bonett_and_price(wins, losses, n))
    assert interval.mean == pytest.approx((wins - losses) / n)


@pytest.mark.parametrize(("wins", "n"), [(4, 4), (3, 3), (1, 1), (5, 5), (0, 9), (0, 1)])
def test_a_difference_that_mcnemar_does_not_find_is_not_found_by_its_interval(wins: int, n: int) -> None:
    interval = paired(wins, 0, n)
    assert mcnemar_exact(wins, 0) >= 0.05
    assert interval.low <= 0 <= interval.mean <= interval.high
    assert interval.high - interval.low > 0.3


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_the_interval_of_a_paired_difference_excludes_0_just_when_mcnemar_rejects(
    wins: int, losses: int, ties: int
) -> None:
    if wins + losses + ties:
        interval = paired(wins, losses, wins + losses + ties)
        assert (interval.low > 0 or interval.high < 0) == (mcnemar_exact(wins, losses) < 0.05)
        assert -1 <= interval.low <= interval.mean <= interval.high <= 1


def test_the_interval_of_many_questions_is_the_bootstraps() -> None:
    """600 questions, 330 won and 42 lost: the two differ by less than half a point."""
    values = [1.0] * 330 + [-1.0] * 42 + [0.0] * 228
    resampled, closed = mean_interval(values, seed=0), paired(330, 42, 600)
    assert (closed.low, closed.high) == pytest.approx((resampled.low, resampled.high), abs=0.005)


def test_a_share_of_samples_and_questions_about_one_image_keep_a_width_when_all_are_alike() -> None:
    """By hand for four values of 1/2: (2 + 1) / 6 +- z sqrt(2 (1/2)^2) / 6."""
    half = 1.959963984540054 * math.sqrt(0.5) / 6
    found = share_interval([0.5] * 4)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    # 24 right answers about 3 images say less than 24 about 24.
    alone, alike = share_interval([1.0] * 24), share_interval([1.0] * 24, clusters=[i // 8 for i in range(24)])
    assert alike.low < alone.low - 0.2 and alike.high == alone.high == 1.0
    assert alone == wilson_interval(24, 24)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.125, 0.5, 1.0]), min_size=1, max_size=30), st.randoms())
def test_a_share_lies_inside_its_interval_whatever_its_order(values: list[float], rng) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(values)
    rng.shuffle(shuffled)
    first, second = share_interval(values), share_interval(shuffled)
    assert 0 <= first.low <= first.mean <= first.high <= 1
    assert (first.low, first.high) == pytest.approx((second.low, second.high))
    if first.mean < 1:
        assert first.high > first.mean
    if first.mean > 0:
        assert first.low < first.mean


@pytest.mark.parametrize("kind", ["sampled", "clustered", "paired", "paired shares"])
@pytest.mark.parametrize("n", [4, 9, 24])
def test_intervals_hold_the_truth_for_few_questions(kind: str, n: int) -> None:
    """The bounds leave 3 standard errors of a simulation (150 trials a setting), over dozens of settings."""
    row = intervals.coverage(kind, n, 150)
    assert row.mean >= 0.94
    assert row.worst >= 0.87  # 0.92 or more with many trials


def test_a_single_share_holds_the_truth_by_exact_sums() -> None:
    """Wilson's interval over accuracies from 0.02 to 0.98; below 9 questions its worst is 0.83, near 0.97."""
    for n, worst in ((4, 0.84), (6, 0.83), (9, 0.90), (24, 0.91), (66, 0.93)):
        intervals = [share_interval([1.0] * k + [0.0] * (n - k)) for k in range(n + 1)]
        held = []
        for p in np.arange(0.02, 0.981, 0.01):
            held.append(
                sum(
                    math.comb(n, k) * p**k * (1 - p) ** (n - k)
                    for k, found in enumerate(intervals)
                    if found.low <= p <= found.high
                )
            )
        assert min(held) >= worst
        assert np.mean(held) >= 0.95


def test_the_bootstrap_that_these_intervals_replace_fails_the_same_simulation() -> None:
    assert intervals.coverage("bootstrap", 4, 40).worst < 0.3


def test_samples_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        paired_interval([1.0], [1.0, 0.0], seed=0)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([], seed=0)
    with pytest.raises(ValueError, match=r"value 1 .* not a finite"):
        mean_interval([0.0, math.nan], seed=0)
    with pytest.raises(ValueError, match="cluster names"):
        mean_interval([0.0, 1.0], seed=0, clusters=["a"])
    with pytest.raises(ValueError):
        wilson_interval(3, 2)
    with pytest.raises(ValueError):
        mcnemar_exact(-1, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_interval([0.5, 1.5])
