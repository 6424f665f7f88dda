"""How alike questions are: sentence BLEU, average-linkage clusters, opening templates, a memory of rounds.

BLEU here is exact and our own, checked against NLTK in the tests: BLEU-4, one reference, smoothing method 1
(Chen & Cherry 2014: a zero count becomes 0.1), whitespace tokens, the mean of both directions. Clusters are
average linkage (UPGMA) with an exclusive threshold, checked against scikit-learn's AgglomerativeClustering.
Both libraries are test-only: their general code costs far more than a round's whole diversity reward.

Left out: embeddings of questions. They need a second model and would see "red" and "blue" questions as alike
to a degree nobody can state.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

EPSILON = 0.1  # smoothing method 1
ORDERS = 4


def _tagged_ngrams(text: str) -> tuple[int, list[set[tuple[str, ...]]]]:
    """Token count and, per order 1..4, the multiset of n-grams written as a set of (occurrence, n-gram).

    With the k-th occurrence as part of the element, the clipped match count of two texts is the size of a
    plain set intersection, which runs in C.
    """
    tokens = text.split()
    orders: list[set[tuple[str, ...]]] = []
    for order in range(1, ORDERS + 1):
        grams = list(zip(*(tokens[shift:] for shift in range(order)), strict=False))
        unique: set[tuple[str, ...]] = set(grams)
        if len(unique) < len(grams):
            seen: dict[tuple[str, ...], int] = {}
            unique = set()
            for gram in grams:
                seen[gram] = seen.get(gram, 0) + 1
                # A longer tuple cannot collide with a first occurrence of the same order.
                unique.add(gram if seen[gram] == 1 else (*gram, str(seen[gram])))
        orders.append(unique)
    return len(tokens), orders


def bleu_distance_matrix(texts: Sequence[str]) -> np.ndarray:
    """(n, n) float64 distances 1 - BLEU-4, symmetric, zero for equal strings of any length.

    Plain BLEU gives 0.316 to two equal two-word questions, hence the rule for equal strings.
    """
    n = len(texts)
    grams = [_tagged_ngrams(text) for text in texts]
    lengths_n = np.array([count for count, _ in grams], dtype=np.float64)
    totals_n4 = np.maximum(1.0, lengths_n[:, None] - np.arange(ORDERS))
    matches_nn4 = np.zeros((n, n, ORDERS))
    for i in range(n):
        for j in range(i):
            for order in range(ORDERS):
                common = len(grams[i][1][order] & grams[j][1][order])
                if common == 0:
                    break  # without a common n-gram there is no longer one either
                matches_nn4[i, j, order] = matches_nn4[j, i, order] = common
    # Row = hypothesis, column = reference.
    precision_nn4 = np.where(matches_nn4 > 0, matches_nn4, EPSILON) / totals_n4[:, None, :]
    hypothesis_n1 = np.maximum(lengths_n, 1.0)[:, None]
    brevity_nn = np.exp(np.minimum(0.0, 1.0 - lengths_n[None, :] / hypothesis_n1))
    bleu_nn = brevity_nn * np.exp(np.log(precision_nn4).mean(axis=2))
    bleu_nn[matches_nn4[:, :, 0] == 0] = 0.0  # not one word in common
    distance_nn = 1.0 - (bleu_nn + bleu_nn.T) / 2.0
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    code_n = np.array([codes[text] for text in texts], dtype=np.int64)
    distance_nn[code_n[:, None] == code_n[None, :]] = 0.0
    return distance_nn


def cluster(distances: np.ndarray, threshold: float = 0.5) -> list[int]:
    """Average-linkage cluster of each item; clusters merge while their mean distance is below `threshold`.

    `distances` is (n, n). A distance equal to the threshold does not merge. Ties merge the first pair in
    index order. Clusters are numbered by first appearance. Cubic in n, meant for groups.
    """
    n = len(distances)
    sums = np.array(distances, dtype=np.float64)  # sums of pairwise distances between two clusters
    sizes = np.ones(n)
    members = [[index] for index in range(n)]
    means = sums.copy()
    np.fill_diagonal(means, np.inf)
    while len(members) > 1:
        first, second = sorted(divmod(int(means.argmin()), len(members)))
        if not means[first, second] < threshold:
            break
        sums[first] += sums[second]
        sums[:, first] += sums[:, second]
        sizes[first] += sizes[second]
        members[first] += members.pop(second)
        sums = np.delete(np.delete(sums, second, 0), second, 1)
        sizes = np.delete(sizes, second)
        means = sums / (sizes[:, None] * sizes[None, :])
        np.fill_diagonal(means, np.inf)
    labels = [0] * n
    for label, group in enumerate(sorted(members, key=min)):
        for index in group:
            labels[index] = label
    return labels


def diversity_clusters(texts: Sequence[str], threshold: float = 0.5) -> list[int]:
    """The cluster of each text of one group, the same partition whatever the order of the texts."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    of_sorted = cluster(bleu_distance_matrix([texts[index] for index in order]), threshold)
    raw = [0] * len(texts)
    for position, index in enumerate(order):
        raw[index] = of_sorted[position]
    names: dict[int, int] = {}
    return [names.setdefault(label, len(names)) for label in raw]


# Closed-class words: what is left of an English question once everything it is about has been masked.
_CLOSED_CLASS = (
    "a an the this that these those there here it its they them he she "
    "what which who whom whose when where why how "
    "is are was were be been being am do does did has have had can could will would should may might must "
    "not no any some all each every both either neither none one "
    "many much more most fewer fewest less least than as same different other another only exactly "
    "of in on at to from by with without for and or if but between among above below under over left right "
    "inside outside next near behind front beside into onto through along across "
    "total sum difference number count"
)
_FUNCTION_WORDS = frozenset(_CLOSED_CLASS.split())
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_FAMILY_TOKENS = 5
MASK = "_"


def family_of(question: str) -> str:
    """The opening template of a question, its family tag without labels.

    Content words become `_`, a run of them one `_`, and the first five tokens are kept: "How many red circles
    are there?" and "How many blue stars are there?" are both `how many _ are there`. The word after "what" is
    kept where it names the attribute asked for (`what color is the _`, `what shape is the _`).
    """
    words = [word.casefold() for word in _WORD.findall(question)]
    template: list[str] = []
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        names_attribute = index == 1 and words[0] == "what" and following in _FUNCTION_WORDS
        token = word if word in _FUNCTION_WORDS or names_attribute else MASK
        if token == MASK and template and template[-1] == MASK:
            continue
        template.append(token)
        if len(template) == _FAMILY_TOKENS:
            break
    return " ".join(template)


def normal_wording(question: str) -> str:
    """A question with case, punctuation and spacing folded: equal wordings are the same question."""
    return " ".join(word.casefold() for word in _WORD.findall(question))


class NoveltyMemory:
    """How often something worded like this was asked in earlier rounds, in a fixed amount of memory.

    A question's word 1- to 3-grams give a MinHash signature of 8 bands of 4 rows, and each band adds one to a
    cell of a table. A question with n-gram overlap (Jaccard) s to an earlier one meets it in a band with
    probability s^4, so the mean of its 8 cells estimates the number of near-duplicates: about 1 for each
    equal wording, 0.4 at s = 0.8, 0.06 at s = 0.5. Cells are shared (8,192 per band), which adds
    total / 8,192.
    """

    BANDS, ROWS, CELLS = 8, 4, 8192

    def __init__(self) -> None:
        self.total = 0
        self._table = np.zeros((self.BANDS, self.CELLS), dtype=np.int64)
        # Fixed odd multipliers and offsets: the state of one run must mean the same in the next.
        rng = np.random.default_rng(20251115)
        hashes = self.BANDS * self.ROWS
        self._multiply = rng.integers(0, 2**63, hashes, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._add = rng.integers(0, 2**63, hashes, dtype=np.uint64)

    def _cells(self, question: str) -> np.ndarray:
        words = normal_wording(question).split()
        grams = {" ".join(words[at : at + size]) for size in (1, 2, 3) for at in range(len(words) - size + 1)}
        hashes = np.array(
            [
                int.from_bytes(blake2b(g.encode("utf-8", "replace"), digest_size=8).digest(), "big")
                for g in sorted(grams or {""})
            ],
            dtype=np.uint64,
        )
        rows = (hashes[:, None] * self._multiply[None, :] + self._add[None, :]).min(axis=0)
        bands = rows.reshape(self.BANDS, self.ROWS)
        mixed = np.zeros(self.BANDS, dtype=np.uint64)
        for row in range(self.ROWS):
            mixed = (mixed ^ (bands[:, row] >> np.uint64(17))) * np.uint64(0x9E3779B97F4A7C15)
        return (mixed >> np.uint64(40)) % np.uint64(self.CELLS)

    def add(self, questions: Sequence[str]) -> None:
        """Remembers the questions of a finished round."""
        for question in questions:
            self._table[np.arange(self.BANDS), self._cells(question)] += 1
        self.total += len(questions)

    def near_duplicates(self, question: str) -> float:
        """Estimated number of earlier questions worded like this one."""
        return float(self._table[np.arange(self.BANDS), self._cells(question)].mean())

    def share(self, question: str) -> float:
        """Near-duplicates as a share of everything remembered, 0.0 while nothing is."""
        return self.near_duplicates(question) / self.total if self.total else 0.0

    def state(self) -> dict[str, object]:
        """JSON-ready state: only the cells in use."""
        bands, cells = np.nonzero(self._table)
        counts = self._table[bands, cells]
        rows = zip(bands.tolist(), cells.tolist(), counts.tolist(), strict=True)
        return {"total": self.total, "cells": [list(row) for row in rows]}

    @classmethod
    def from_state(cls, state: dict[str, object]) -> "NoveltyMemory":
        """The memory that `state()` described."""
        memory = cls()
        total, cells = state["total"], state["cells"]
        if not isinstance(total, int) or not isinstance(cells, list):
            raise ValueError("the state of a NoveltyMemory holds an integer 'total' and a list 'cells'")
        memory.total = total
        for band, cell, count in cells:
            memory._table[band, cell] = count
        return memory
