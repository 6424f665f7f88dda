"""Votes and rewards read an answer with its question: "3 circles" is 3 where circles are counted."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from selfsight.config import EvolveConfig
from selfsight.images import ImageRef
from selfsight.language.prompts import COMPACT
from selfsight.methods.visplay.asking import Place, vote, vote_blind
from selfsight.methods.visplay.phases import reasoner_batch
from selfsight.methods.visplay.records import PoolItem, Question

IMAGE = ImageRef("w-1", "w")
ASKED = "How many circles are there?"


@dataclass
class Said:
    text: str
    finished: bool = True
    token_ids: tuple[int, ...] = (1,)


class Reasoner:
    """Answers every request with the same three writings of one answer and one other."""

    def sample(self, requests, sampling):  # type: ignore[no-untyped-def]
        writings = ["3", "3 circles", "There are three circles", "3 squares"]
        return {request.id: [Said(f"\\boxed{{{text}}}") for text in writings] for request in requests}


def roles() -> SimpleNamespace:
    return SimpleNamespace(pack=COMPACT, reasoner=Reasoner(), shown=lambda image: image)


@pytest.mark.parametrize("ask", [vote, vote_blind])
def test_votes_are_read_with_their_question(ask) -> None:  # type: ignore[no-untyped-def]
    question = Question("q", IMAGE, ASKED, True, "", ASKED)
    other = Question("r", IMAGE, "What do you see?", True, "", "What do you see?")
    answered = ask(roles(), EvolveConfig(), [question, other], Place(1, "votes", 0))
    assert answered["q"][0].counts == {"num:3": 3, "count:3 square": 1}
    assert answered["r"][0].counts == {"count:3 circle": 2, "count:3 square": 1, "num:3": 1}


def test_the_reasoner_is_rewarded_for_the_label_in_any_writing() -> None:
    config = EvolveConfig()
    batch = reasoner_batch(roles(), config, [PoolItem("q", IMAGE, ASKED, "num:3", 0.75)], Place(1, "reasoner", 0))
    rewards = batch.groups[0].rewards.tolist()
    assert rewards[0] == rewards[1] == rewards[2] > rewards[3]
