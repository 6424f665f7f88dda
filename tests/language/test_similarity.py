"""BLEU, clusters, families and the memory of earlier rounds."""

import itertools
import json
import random
import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from sklearn.cluster import AgglomerativeClustering

from selfsight.language import (
    NoveltyMemory,
    bleu_distance_matrix,
    cluster,
    diversity_clusters,
    family_of,
    normal_wording,
)

WORDS = ["how", "many", "red", "blue", "circles", "are", "there", "?", "is", "the", "left", "of"]
QUESTIONS = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)


def nltk_distance(one: str, other: str) -> float:
    if one == other:
        return 0.0
    smoothing = SmoothingFunction().method1
    directions = ((one.split(), other.split()), (other.split(), one.split()))
    return (
        1
        - sum(
            float(sentence_bleu([reference], hypothesis, smoothing_function=smoothing))
            for reference, hypothesis in directions
        )
        / 2
    )


@given(st.lists(QUESTIONS, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_distances_are_those_of_nltk(texts: list[str]) -> None:
    expected = [[nltk_distance(one, other) for other in texts] for one in texts]
    np.testing.assert_allclose(bleu_distance_matrix(texts), expected, atol=1e-12)


def test_a_repeated_word_is_clipped_as_in_nltk() -> None:
    one, other = "the the the cat sat on the mat", "the cat is on the mat the"
    assert bleu_distance_matrix([one, other])[0, 1] == pytest.approx(nltk_distance(one, other), abs=1e-12)


def test_equal_strings_of_any_length_have_distance_zero() -> None:
    for text in ["", "a", "how many", "how many red", "how many red circles are there ?"]:
        assert bleu_distance_matrix([text, text]).tolist() == [[0, 0], [0, 0]]
    # Plain BLEU gives two equal two-word questions 0.316.
    plain = sentence_bleu([["how", "many"]], ["how", "many"], smoothing_function=SmoothingFunction().method1)
    assert plain == pytest.approx(0.316, abs=1e-3)


@given(st.integers(2, 10), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_clusters_are_those_of_scikit_learn(n: int, seed: int) -> None:
    distances = np.random.default_rng(seed).random((n, n))
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    theirs = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5
    ).fit_predict(distances)
    names: dict[int, int] = {}
    assert cluster(distances) == [names.setdefault(int(label), len(names)) for label in theirs]


@given(st.lists(QUESTIONS, min_size=2, max_size=8, unique=True))
@settings(max_examples=150, deadline=None)
def test_clusters_of_questions_are_those_of_scikit_learn(texts: list[str]) -> None:
    distances = bleu_distance_matrix(texts)
    upper = np.sort(distances[np.triu_indices(len(texts), 1)])
    # Average linkage is not unique where two merges tie; either choice is right there.
    assume(len(upper) < 2 or np.diff(upper[upper < 1]).min(initial=1.0) > 1e-9)
    theirs = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5
    ).fit_predict(distances)
    names: dict[int, int] = {}
    assert cluster(distances) == [names.setdefault(int(label), len(names)) for label in theirs]


def test_the_threshold_is_exclusive() -> None:
    def pair(distance: float) -> np.ndarray:
        return np.array([[0, distance], [distance, 0]])

    assert cluster(pair(0.5)) == [0, 1]
    assert cluster(pair(np.nextafter(0.5, 0))) == [0, 0]


@pytest.mark.parametrize(("texts", "labels"), [([], []), (["is it red ?"], [0]), (["a b", "a b"], [0, 0])])
def test_groups_of_none_one_and_two_work(texts: list[str], labels: list[int]) -> None:
    assert diversity_clusters(texts) == labels


@given(st.lists(QUESTIONS, max_size=8), st.randoms())
@settings(max_examples=150, deadline=None)
def test_the_partition_does_not_depend_on_the_order_of_the_questions(texts: list[str], rng: random.Random) -> None:
    order = list(range(len(texts)))
    rng.shuffle(order)
    straight, shuffled = diversity_clusters(texts), diversity_clusters([texts[index] for index in order])
    together = {(i, j) for i in order for j in order if straight[i] == straight[j]}
    at = {index: position for position, index in enumerate(order)}
    assert together == {(i, j) for i in order for j in order if shuffled[at[i]] == shuffled[at[j]]}


def test_a_tie_between_two_merges_is_settled_by_the_wording_not_by_the_order() -> None:
    """The last question is equally near to the first and the second, and joins one of them for good."""
    texts = [
        "how many red circles are there in the image ?",
        "how many red circles above below in the image green",
        "how many red circles dots below in the image ?",
    ]
    partitions = set()
    for order in itertools.permutations(texts):
        labels = dict(zip(order, diversity_clusters(order), strict=True))
        partitions.add(tuple(labels[one] == labels[other] for one in texts for other in texts))
    assert len(partitions) == 1 and len({*diversity_clusters(texts)}) == 2


def test_templates_that_differ_in_one_word_share_a_cluster() -> None:
    texts = [
        "How many red circles are there in the image?",
        "How many blue circles are there in the image?",
        "Is there a star above the square?",
    ]
    assert diversity_clusters(texts) == [0, 0, 1]


def test_a_rounds_diversity_takes_under_a_second() -> None:
    rng = random.Random(0)
    colours, shapes = ["red", "blue", "green", "yellow"], ["circles", "stars", "squares", "triangles"]
    templates = [
        "How many {c} {s} are there in the image?",
        "Are there more {c} {s} than {d} {t} in the picture?",
        "What color is the largest of the {s} on the left side?",
        "How many {c} {s} and {d} {t} can be seen together?",
        "Is there a {c} shape to the right of the {d} {t}?",
    ]
    groups = [
        [
            rng.choice(templates).format(
                c=rng.choice(colours), d=rng.choice(colours), s=rng.choice(shapes), t=rng.choice(shapes)
            )
            for _ in range(8)
        ]
        for _ in range(512)
    ]
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for group in groups:
            diversity_clusters(group)
        best = min(best, time.perf_counter() - started)
    assert best < 1.0


@pytest.mark.parametrize(
    ("question", "family"),
    [
        ("How many red circles are there?", "how many _ are there"),
        ("How many blue stars are there?", "how many _ are there"),
        ("how many large green squares are there in the image?", "how many _ are there"),
        ("How many red circles and blue stars are there?", "how many _ and _"),
        ("Is there a red circle?", "is there a _"),
        ("What color is the circle?", "what color is the _"),
        ("What shape is the largest object?", "what shape is the _"),
        ("Are there more red circles than blue stars?", "are there more _ than"),
        ("Which bar is the tallest?", "which _ is the _"),
        ("purple ?", "_"),
        ("?", ""),
    ],
)
def test_a_family_is_the_opening_with_its_content_masked(question: str, family: str) -> None:
    assert family_of(question) == family


def test_wording_folds_case_and_punctuation() -> None:
    assert normal_wording("How many, RED circles?") == normal_wording("how many red circles")


def test_memory_counts_equal_and_nearly_equal_questions() -> None:
    memory = NoveltyMemory()
    assert memory.share("Is there a red circle?") == 0.0
    memory.add(["Is there a red circle in the top left corner of the image?"] * 30)
    memory.add([f"What is the value of bar number {n}?" for n in range(70)])
    assert memory.total == 100
    assert memory.near_duplicates("is there a red circle in the top left corner of the image") >= 30
    nearly = memory.near_duplicates("Is there a blue circle in the top left corner of the image?")
    assert 0 < nearly < 30
    assert memory.near_duplicates("Compare the heights of both trees?") < 2
    assert memory.share("Is there a red circle in the top left corner of the image?") == pytest.approx(0.3, abs=0.02)


def test_memory_survives_json_unchanged() -> None:
    memory = NoveltyMemory()
    memory.add(["Is there a red circle?", "What color is it?", "Is there a red circle?"])
    copy = NoveltyMemory.from_state(json.loads(json.dumps(memory.state())))
    assert copy.state() == memory.state()
    assert copy.near_duplicates("Is there a red circle?") == memory.near_duplicates("Is there a red circle?") >= 2
    with pytest.raises(ValueError, match="integer 'total'"):
        NoveltyMemory.from_state({"total": "3", "cells": []})


@given(st.lists(QUESTIONS, max_size=10), st.randoms())
@settings(max_examples=50, deadline=None)
def test_memory_does_not_depend_on_the_order_of_a_round(questions: list[str], rng: random.Random) -> None:
    shuffled = list(questions)
    rng.shuffle(shuffled)
    one, other = NoveltyMemory(), NoveltyMemory()
    one.add(questions)
    other.add(shuffled)
    assert one.state() == other.state()
