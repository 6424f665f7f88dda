"""How long the diversity reward takes for one questioner step of full size: 512 images with 8 questions each.

    python bench/diversity.py            seconds, median of 5, as JSON

Two kinds of question: those of the worlds (5 to 15 words), and drawn words of the length that an instruction-tuned
model writes (30 words). What is timed is `diversity_clusters` for every image: BLEU distances and average linkage.
"""

import json
import statistics
import time
from collections.abc import Sequence

import numpy as np

from machine import describe_machine
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.ask import ask, families_for
from selfsight.images.worlds.grammar import PHRASINGS, say
from selfsight.images.worlds.truth import scene_of
from selfsight.language.similarity import diversity_clusters

IMAGES, QUESTIONS, REPEATS = 512, 8, 5


def world_questions(images: int, each: int, seed: int = 0) -> list[list[str]]:
    """Groups of questions about pictures of the worlds."""
    rng = np.random.default_rng(seed)
    groups = []
    for ref in WorldSource(seed=seed).take(0, images):
        picture = scene_of(ref)
        group: list[str] = []
        while len(group) < each:
            asked = ask(picture, str(rng.choice(families_for(picture))), rng)
            if asked is not None:
                group.append(say(asked[0], rng))
        groups.append(group)
    return groups


def long_questions(images: int, each: int, words: int = 30, seed: int = 0) -> list[list[str]]:
    """Groups of `words` words drawn from the phrasings' own vocabulary, so that n-grams do meet."""
    vocabulary = sorted({word for patterns in PHRASINGS.values() for pattern in patterns for word in pattern.split()})
    rng = np.random.default_rng(seed)
    return [[" ".join(rng.choice(vocabulary, size=words)) for _ in range(each)] for _ in range(images)]


def seconds(groups: Sequence[Sequence[str]], repeats: int = REPEATS) -> dict[str, object]:
    """Wall time to cluster every group, and how many clusters that gave."""
    taken, clusters = [], 0
    for _ in range(repeats):
        began = time.perf_counter()
        clusters = sum(len(set(diversity_clusters(group))) for group in groups)
        taken.append(time.perf_counter() - began)
    return {"median_seconds": statistics.median(taken), "seconds": taken, "clusters": clusters}


def main() -> None:
    figures = {
        "images": IMAGES,
        "questions_per_image": QUESTIONS,
        "worlds": seconds(world_questions(IMAGES, QUESTIONS)),
        "thirty_words": seconds(long_questions(IMAGES, QUESTIONS)),
        "machine": describe_machine(),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
