"""How often the 95 % intervals of `selfsight.evaluate.statistics` hold the truth, by simulation.

    python bench/intervals.py                      the table, as JSON and as Markdown on standard error (some minutes)
    python bench/intervals.py --trials 300         faster and coarser

Kinds of interval:

    share         right or wrong once per question (Wilson)
    sampled       the mean share of 8 samples, whose success differs from question to question
    clustered     right or wrong, 8 questions about each image, which are alike
    paired        two models that are right or wrong on the same questions, by accuracies and correlation
    paired shares the difference of two means of 8 samples
    bootstrap     the percentile bootstrap on the data of `paired`, for comparison; nothing uses it for shares

Every row is one kind at one n, over all its accuracies (and correlations): the mean share of hits, the worst, where
that was, and the mean width. Everything is seeded: the same command gives the same table.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product

import numpy as np

from machine import describe_machine
from selfsight.evaluate.statistics import Interval, mean_interval, paired_interval, share_interval
from selfsight.run.atomic import pretty_json

SIZES = (4, 6, 9, 12, 24, 66, 150, 600)
ACCURACIES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
CORRELATIONS = (0.0, 0.3, 0.6)
SPREADS = (0.3, 1.0, 5.0)  # of a beta distribution: 0.3 is questions that are nearly always right or nearly never
SAMPLES = 8

# One trial: the interval that it gave and the truth.
Trial = tuple[Interval, float]


@dataclass(frozen=True)
class Coverage:
    """One row of the table; `n` counts questions, of `clustered` images."""

    kind: str
    n: int
    mean: float
    worst: float
    worst_at: str
    width: float


def share(n: int, trials: int) -> Iterator[tuple[str, list[Trial]]]:
    """Right or wrong, once per question."""
    for p in ACCURACIES:
        rng = np.random.default_rng((n, int(1000 * p)))
        yield f"p={p}", [(_wilson(int(k), n), p) for k in rng.binomial(n, p, trials)]


def sampled(n: int, trials: int) -> Iterator[tuple[str, list[Trial]]]:
    """A mean of shares of samples."""
    for p, spread in product(ACCURACIES, SPREADS):
        rng = np.random.default_rng((n, int(1000 * p), int(10 * spread), 1))
        value_tn = rng.binomial(SAMPLES, _ability(rng, p, spread, (trials, n))) / SAMPLES
        yield f"p={p} spread={spread}", [(share_interval(value_n), p) for value_n in value_tn]


def clustered(n: int, trials: int) -> Iterator[tuple[str, list[Trial]]]:
    """Right or wrong with `SAMPLES` questions about each of `n` images."""
    clusters = [image for image in range(n) for _ in range(SAMPLES)]
    for p, spread in product(ACCURACIES, SPREADS):
        rng = np.random.default_rng((n, int(1000 * p), int(10 * spread), 2))
        ability_tn = _ability(rng, p, spread, (trials, n))
        right_tn = rng.random((trials, n, SAMPLES)) < ability_tn[:, :, None]
        yield (
            f"p={p} spread={spread}",
            [(share_interval(right_n.reshape(-1).astype(float), clusters=clusters), p) for right_n in right_tn],
        )


def paired(n: int, trials: int) -> Iterator[tuple[str, list[Trial]]]:
    """Right or wrong before and after."""
    for where, difference, drawn in _outcomes(n, trials):
        yield where, [(_paired(*map(int, counts), n), difference) for counts in drawn]


def bootstrap(n: int, trials: int) -> Iterator[tuple[str, list[Trial]]]:
    """The same data, with the percentile bootstrap."""
    for where, difference, drawn in _outcomes(n, trials):
        yield where, [(_bootstrap(*map(int, counts), n), difference) for counts in drawn]


def paired_shares(n: int, trials: int) -> Iterator[tuple[str, list[Trial]]]:
    """Shares of samples before and after."""
    for p, q, spread in product(ACCURACIES[::2], ACCURACIES[::2], SPREADS):
        rng = np.random.default_rng((n, int(1000 * p), int(1000 * q), int(10 * spread)))
        before_tn, after_tn = (
            rng.binomial(SAMPLES, _ability(rng, right, spread, (trials, n))) / SAMPLES for right in (p, q)
        )
        yield (
            f"before={p} after={q} spread={spread}",
            [
                (paired_interval(before_n, after_n, seed=0), q - p)
                for before_n, after_n in zip(before_tn, after_tn, strict=True)
            ],
        )


KINDS: dict[str, Callable[[int, int], Iterator[tuple[str, list[Trial]]]]] = {
    "share": share,
    "sampled": sampled,
    "clustered": clustered,
    "paired": paired,
    "paired shares": paired_shares,
    "bootstrap": bootstrap,
}


def coverage(kind: str, n: int, trials: int) -> Coverage:
    """One row: the share of trials whose interval holds the truth, over all settings of a kind."""
    hits, widths = {}, []
    for where, drawn in KINDS[kind](n, trials):
        # A truth on the bound counts as held; 1e-9 is for rounding.
        hits[where] = sum(found.low - 1e-9 <= truth <= found.high + 1e-9 for found, truth in drawn) / len(drawn)
        widths.append(sum(found.high - found.low for found, _ in drawn) / len(drawn))
    worst = min(hits, key=lambda where: hits[where])
    mean = sum(hits.values()) / len(hits)
    return Coverage(kind, n, mean, hits[worst], worst, sum(widths) / len(widths))


def _outcomes(n: int, trials: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """Wins and losses (trials, 2) for every pair of accuracies and correlation, with the true difference."""
    for p, q, correlation in product(ACCURACIES, ACCURACIES, CORRELATIONS):
        both = p * q + correlation * float(np.sqrt(p * (1 - p) * q * (1 - q)))
        both = min(both, p, q)  # a correlation that these accuracies cannot have is cut to the largest that they can
        rng = np.random.default_rng((n, int(1000 * p), int(1000 * q), int(10 * correlation), 3))
        win, loss = max(0.0, q - both), max(0.0, p - both)
        drawn = rng.multinomial(n, [win, loss, max(0.0, 1 - win - loss)], trials)
        yield f"before={p} after={q} correlation={correlation}", q - p, drawn[:, :2]


def _ability(rng: np.random.Generator, p: float, spread: float, shape: tuple[int, int]) -> np.ndarray:
    return rng.beta(p * spread, (1 - p) * spread, shape)


# The same counts come again and again.
@cache
def _wilson(right: int, n: int) -> Interval:
    return share_interval([1.0] * right + [0.0] * (n - right))


@cache
def _paired(wins: int, losses: int, n: int) -> Interval:
    ties = n - wins - losses
    return paired_interval([0.0] * wins + [1.0] * losses + [0.0] * ties, [1.0] * wins + [0.0] * (losses + ties), seed=0)


@cache
def _bootstrap(wins: int, losses: int, n: int) -> Interval:
    return mean_interval([1.0] * wins + [-1.0] * losses + [0.0] * (n - wins - losses), seed=0, resamples=2_000)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000, help="trials of every setting (default 1,000)")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of questions or images")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds of interval")
    chosen = parser.parse_args()
    rows = []
    print("| kind | n | mean coverage | worst | where | mean width |\n|---|---:|---:|---:|---|---:|", file=sys.stderr)
    for kind in chosen.kinds:
        for n in chosen.sizes:
            row = coverage(kind, n, chosen.trials)
            rows.append(row)
            figures = f"{row.mean:.3f} | {row.worst:.3f} | {row.worst_at} | {row.width:.3f}"
            print(f"| {kind} | {n} | {figures} |", file=sys.stderr, flush=True)
    found = {"machine": describe_machine(), "trials": chosen.trials, "rows": [asdict(row) for row in rows]}
    print(pretty_json(found).decode(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
