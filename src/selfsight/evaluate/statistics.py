"""Intervals and tests for paired before/after comparisons. numpy only.

What is compared is always paired (the same questions before and after), and questions about one image are not
independent, so the bootstrap can resample images instead of questions. Left out: scipy, and corrections for
many comparisons (a report lists every comparison it made).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
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
    if value_n.ndim != 1 or len(value_n) == 0:
        raise ValueError("an interval needs at least one value")
    if not np.isfinite(value_n).all():
        raise ValueError(f"value {int(np.argmin(np.isfinite(value_n)))} of the sample is not a finite number")
    if clusters is None:
        sum_c: np.ndarray = value_n
        count_c: np.ndarray = np.ones(len(value_n))
    else:
        if len(clusters) != len(value_n):
            raise ValueError(f"{len(value_n)} values but {len(clusters)} cluster names")
        index_of: dict[Hashable, int] = {}
        index_n = np.array([index_of.setdefault(name, len(index_of)) for name in clusters])
        sum_c, count_c = np.bincount(index_n, weights=value_n), np.bincount(index_n)
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


def paired_interval(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """mean(after) - mean(before) with a paired bootstrap interval; item i of both is the same question."""
    before_n, after_n = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if before_n.shape != after_n.shape:
        raise ValueError(f"a paired comparison needs equal lengths, got {before_n.shape} and {after_n.shape}")
    return mean_interval(after_n - before_n, seed=seed, clusters=clusters, level=level, resamples=resamples)


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
