"""Intervals and tests against closed forms and published values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.evaluate.statistics import mcnemar_exact, mean_interval, paired_interval, wilson_interval


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


def test_no_change_has_an_interval_of_zero_width_at_zero() -> None:
    interval = paired_interval([1, 0, 1], [1, 0, 1], seed=0)
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)


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
