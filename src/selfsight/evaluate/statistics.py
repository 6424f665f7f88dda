"""Intervals and tests for shares and for paired before/after comparisons. numpy only.

What is compared is always paired (the same questions before and after), and questions about one image are not
independent, so every interval can take images as clusters.

A percentile bootstrap over few questions is too narrow, and over questions that all came out alike it has no width at
all. So shares and their differences have closed forms that stay right for few questions:

    a share, right or wrong once per question    Wilson's score interval
    a share of another kind                      Wald's after adding one cluster of zeros and one of ones
    a paired difference                          Wald's after adding one cluster of +1 and one of -1; for right or
                                                 wrong this is Bonett and Price (2012): one win and one loss more

`bench/intervals.py` measures how often each holds the truth (nominal 95 %). An interval of a paired difference in right
or wrong excludes 0 only if McNemar's exact test finds the difference too, so the two never contradict each other.

Left out: scipy, and corrections for many comparisons (a report lists every comparison it made).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
# What the JSON results say about their intervals.
METHOD = (
    "95 %. Shares: Wilson's score interval for one right or wrong answer per image, else a Wald interval with one "
    "cluster of zeros and one of ones added. Paired differences: Bonett and Price (2012), which adds one win and one "
    "loss; 0 is outside only if McNemar's exact test gives p < 0.05."
)
_CHUNK_CELLS = 20_000_000  # keeps the table of resampling weights under about 160 MB


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; `n` is the number of observations, not of clusters."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(
    values: Sequence[float] | np.ndarray,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean with a percentile bootstrap interval.

    `clusters` gives each value's cluster (its image): whole clusters are resampled, and a resample's mean
    is its sum over its count. The seed alone decides the resamples. Raises ValueError on an empty sample, a
    value that is not finite, or a cluster list of another length.
    """
    value_n = np.asarray(values, dtype=np.float64)
    sum_c, count_c = _clustered(value_n, clusters)
    # Equal clusters are drawn together: for 0/1 outcomes this is a handful of cells, not thousands. np.unique
    # sorts, so the interval does not depend on the order of the observations.
    cell_u2, multiplicity_u = np.unique(np.stack([sum_c, count_c], axis=1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // len(cell_u2))
    means = []
    for start in range(0, resamples, chunk):
        weight_ru = rng.multinomial(len(sum_c), multiplicity_u / len(sum_c), size=min(chunk, resamples - start))
        total_r2 = weight_ru @ cell_u2
        means.append(total_r2[:, 0] / total_r2[:, 1])
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value_n.mean()), float(low), float(high), len(value_n))


def share_interval(
    values: Sequence[float] | np.ndarray, *, clusters: Sequence[Hashable] | None = None, level: float = 0.95
) -> Interval:
    """The mean of values in [0, 1] with an interval that keeps a width when all of them are equal.

    Wilson's interval for values of 0 and 1 that are each a cluster of their own. Otherwise (shares such as 5 of 8
    samples, several questions about one image) a Wald interval over clusters to which one cluster of zeros and one of
    ones, each of the mean size, are added.

    Args:
        values: each in [0, 1], at least one.
        clusters: each value's cluster (its image); None: every value is its own.
        level: confidence level.

    Raises:
        ValueError: an empty sample, a value outside [0, 1], or a cluster list of another length.

    Example:
        >>> share_interval([1.0, 1.0, 1.0, 1.0]).low  # four of four
        0.5101...
    """
    value_n = np.asarray(values, dtype=np.float64)
    sum_c, count_c = _clustered(value_n, clusters)
    if not ((value_n >= 0) & (value_n <= 1)).all():
        raise ValueError("a share must lie between 0 and 1")
    if len(sum_c) == len(value_n) and set(value_n.tolist()) <= {0.0, 1.0}:
        return wilson_interval(int(value_n.sum()), len(value_n), level=level)
    return _with_made_up_clusters(value_n, sum_c, count_c, 0.0, 1.0, level)


def paired_interval(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """mean(after) - mean(before) with a paired interval; item i of both is the same question.

    For values in [0, 1] this is the interval of Bonett and Price (2012), extended to shares and to clusters: one
    cluster of differences +1 and one of -1, each of the mean size, are added before the Wald interval is taken. Its
    share of hits at n = 4 is above 92 % for any two accuracies, where a bootstrap's falls to 0. For right or wrong once
    per cluster the interval is widened to touch 0 where McNemar's exact test does not reject equality.

    For other values, which have no bounds to add clusters at, it is the percentile bootstrap of `mean_interval`; only
    then `seed` and `resamples` matter.

    Args:
        before: one value per question.
        after: the same questions, in the same order.
        seed: seed of the bootstrap.
        clusters: each question's cluster (its image); None: every question is its own.
        level: confidence level.
        resamples: of the bootstrap.

    Raises:
        ValueError: lengths that differ, an empty sample, or a value that is not finite.

    Example:
        >>> found = paired_interval([0, 0, 0, 0], [1, 1, 1, 1], seed=0)  # p = 0.125 by McNemar's exact test
        >>> (found.mean, found.low, found.high)
        (1.0, 0.0, 1.0)
    """
    before_n, after_n = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if before_n.shape != after_n.shape:
        raise ValueError(f"a paired comparison needs equal lengths, got {before_n.shape} and {after_n.shape}")
    difference_n = after_n - before_n
    both = np.concatenate([before_n, after_n]) if before_n.ndim == 1 else np.empty(0)
    if not ((both >= 0) & (both <= 1)).all():
        return mean_interval(difference_n, seed=seed, clusters=clusters, level=level, resamples=resamples)
    sum_c, count_c = _clustered(difference_n, clusters)
    found = _with_made_up_clusters(difference_n, sum_c, count_c, -1.0, 1.0, level)
    if len(sum_c) == len(difference_n) and set(both.tolist()) <= {0.0, 1.0}:
        p = mcnemar_exact(int((difference_n > 0).sum()), int((difference_n < 0).sum()))
        if p >= 1 - level:
            found = Interval(found.mean, min(found.low, 0.0), max(found.high, 0.0), found.n)
    return found


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927): sensible at 0, at n and for small n."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"0 <= successes <= n and n > 0 does not hold for {successes} of {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bound is exactly 0 or 1; rounding must not put the proportion outside its interval.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n)


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact p-value of McNemar's test on the discordant pairs.

    `wins` questions only the second model got right, `losses` only the first. The binomial tail is summed in
    integers. No discordant pair: 1.0.
    """
    if wins < 0 or losses < 0:
        raise ValueError(f"counts of discordant pairs cannot be negative: {wins}, {losses}")
    n = wins + losses
    ways, tail = 1, 0
    for k in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / 2**n)


def _clustered(value_n: np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """The sum and the number of values of every cluster (C,); a sample that gives no interval is refused."""
    if value_n.ndim != 1 or len(value_n) == 0:
        raise ValueError("an interval needs at least one value")
    if not np.isfinite(value_n).all():
        raise ValueError(f"value {int(np.argmin(np.isfinite(value_n)))} of the sample is not a finite number")
    if clusters is None:
        return value_n, np.ones(len(value_n))
    if len(clusters) != len(value_n):
        raise ValueError(f"{len(value_n)} values but {len(clusters)} cluster names")
    index_of: dict[Hashable, int] = {}
    index_n = np.array([index_of.setdefault(name, len(index_of)) for name in clusters])
    return np.bincount(index_n, weights=value_n), np.bincount(index_n).astype(np.float64)


def _with_made_up_clusters(
    value_n: np.ndarray, sum_c: np.ndarray, count_c: np.ndarray, least: float, most: float, level: float
) -> Interval:
    """Wald's interval of a ratio mean after adding a cluster of `least` and one of `most`, each of the mean size.

    With C clusters of size n_c and sums s_c, mean size b, N = sum n_c + 2 b and m = (sum s_c + b least + b most) / N:

        m +- z sqrt(sum (s_c - m n_c)^2 + b^2 (least - m)^2 + b^2 (most - m)^2) / N, cut to [least, most]

    The estimate is the plain mean of the values, which never lies outside the interval.
    """
    size = float(count_c.mean())
    total = float(count_c.sum()) + 2 * size
    shifted = (float(np.sort(sum_c).sum()) + size * (least + most)) / total  # sorted: the order must not matter
    squares = float(np.sort((sum_c - shifted * count_c) ** 2).sum())
    squares += size**2 * ((least - shifted) ** 2 + (most - shifted) ** 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(squares) / total
    mean = float(value_n.mean())
    low, high = max(least, min(mean, shifted - half)), min(most, max(mean, shifted + half))
    return Interval(mean, low, high, len(value_n))
