"""Held-out questions: about worlds that training never draws, in equal numbers per family, each with its exact answer.

A question follows from the seed, the world and its place alone, whatever size its picture is drawn in. No torch.
"""

from dataclasses import dataclass

import numpy as np

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.ask import ask, families_for
from selfsight.images.worlds.grammar import FAMILIES, say
from selfsight.images.worlds.source import WORLDS
from selfsight.images.worlds.truth import scene_of
from selfsight.language import answer_key
from selfsight.run.seeds import derive

# Side in pixels of the held-out pictures by prompt pack, where none is given. The compact pack is the starter's, which
# has seen nothing but 112. Other models were trained on photographs: a drawing of 112 pixels would test their eyes,
# not their answers, and 448 is a whole number of patches for those of 14 and of 16 pixels.
PICTURE_SIZES = {"compact": 112, "full": 448}
# Tokens of an answer at most, likewise.
ANSWER_LENGTHS = {"compact": 64, "full": 1024}


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question with its exact answer key."""

    id: str
    image: ImageRef
    question: str
    family: str
    key: str


def heldout_questions(
    count: int, *, seed: int, size: int = 112, world: str = "mixed", split: str = "heldout"
) -> list[HeldOutQuestion]:
    """`count` questions, the families in turn, each about its own picture of the held-out split."""
    if world not in WORLDS:
        raise SelfsightError(f"there is no world named {world!r}", hint=f"choose one of: {', '.join(WORLDS)}")
    families = families_of_world(world)
    source = WorldSource(world, seed=seed, size=size, split=split)
    questions: list[HeldOutQuestion] = []
    wanted = [families[i % len(families)] for i in range(count)]
    index = 0
    while wanted:
        (ref,) = source.take(index, 1)
        index += 1
        picture = scene_of(ref)
        family = next((f for f in wanted if f in families_for(picture)), None)
        if family is None:
            continue
        rng = np.random.default_rng(derive(seed, split, "question", ref.id))
        asked = ask(picture, family, rng)
        if asked is None:
            continue
        question = say(asked[0], rng)
        key = answer_key(asked[1], question)
        assert key is not None, f"the key reader must know the answer {asked[1]!r}"
        wanted.remove(family)
        questions.append(HeldOutQuestion(f"h-{ref.id}", ref, question, family, key))
    return questions


def families_of_world(world: str) -> tuple[str, ...]:
    """The families that a world's pictures can be asked about."""
    if world == "mixed":
        return FAMILIES
    return tuple(f for f in FAMILIES if f.startswith("chart_") == (world == "charts"))
