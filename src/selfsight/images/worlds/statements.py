"""Statements about worlds: what a player of "Who is the spy" can say of a picture in one sentence.

A statement is a question with a claimed answer ("There are 3 red objects." claims 3 for "How many red objects are
there?"), so what can be said and whether it holds follow from grammar.py and truth.py. For evaluation and for
building the starter only: no training path imports this module.

Left out: several phrasings of one statement. A clue that repeats an earlier one word for word is refused by the
rules of the game, and another wording of the same fact should not be a way round that.
"""

import re
from dataclasses import dataclass

from selfsight.images.worlds.grammar import MARKS, Query, read
from selfsight.images.worlds.scene import COLOURS, Chart, Picture
from selfsight.images.worlds.truth import answer as true_answer

ABSENT = "none"  # what is claimed of a value that a chart does not have


@dataclass(frozen=True)
class Statement:
    """`claim` is what the statement says the answer to `query` is, as truth.py writes answers, or `ABSENT`."""

    query: Query
    claim: str


# How a statement is read: a pattern, the question it answers (from the pattern's groups), and the claim: a word, or
# the number of the group that holds it.
_READERS: tuple[tuple[re.Pattern[str], str, str | int], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.ASCII), question, claim)
    for pattern, question, claim in (
        (r"There is no ([a-z ]+)\.", "Is there a {0}?", "no"),
        (r"There is no ([a-z]+ [a-z]+)\.", "What is the value of the {0}?", ABSENT),
        (r"There is (an? [a-z ]+)\.", "Is there {0}?", "yes"),
        (r"There are ([0-9]{1,2}) ([a-z ]+)\.", "How many {1} are there?", 0),
        (r"The ([a-z]+ [a-z]+) is ([0-9]{1,3})\.", "What is the value of the {0}?", 1),
        (r"The (largest|smallest) ([a-z]+) is ([a-z]+)\.", "Which {1} is the {0}?", 2),
        (r"The ([a-z ]+) is larger than the ([a-z ]+)\.", "Is the {0} larger than the {1}?", "yes"),
        (r"The ([a-z ]+) is (left of|right of|above|below) the ([a-z ]+)\.", "Is the {0} {1} the {2}?", "yes"),
    )
)


def assert_that(statement: Statement) -> str:
    """The statement as an English sentence. Raises ValueError for a claim that no sentence makes."""
    query, claim = statement.query, statement.claim
    a, b = query.a, query.b
    if query.kind == "exists" and a is not None:
        return f"There is {a.indefinite}." if claim == "yes" else f"There is no {a.singular}."
    if query.kind == "count" and a is not None:
        return f"There are {claim} {a.plural}."
    if query.kind == "value" and claim == ABSENT:
        return f"There is no {query.colours[0]} {query.mark}."
    if query.kind == "value":
        return f"The {query.colours[0]} {query.mark} is {claim}."
    if query.kind == "extreme":
        return f"The {query.word} {query.mark} is {claim}."
    if query.kind == "greater" and claim == "yes":
        return f"The {query.colours[0]} {query.mark} is larger than the {query.colours[1]} {query.mark}."
    if query.kind == "relation" and claim == "yes" and a is not None and b is not None:
        return f"The {a.singular} is {query.word} the {b.singular}."
    raise ValueError(f"no sentence claims {claim!r} for {query}")


def read_statement(sentence: str) -> Statement | None:
    """The statement that a sentence makes, or None when it is not one of this language."""
    text = " ".join(sentence.split())
    if len(text) > 200:
        return None
    for pattern, question, claim in _READERS:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        query = read(question.format(*found.groups()))
        if query is None:
            continue
        claimed = claim if isinstance(claim, str) else found[claim + 1].lower()
        if query.kind == "extreme" and claimed not in COLOURS:
            return None
        return Statement(query, str(int(claimed)) if claimed.isdigit() else claimed)
    return None


def holds(statement: Statement, picture: Picture) -> bool:
    """Whether a picture is as the statement says. What speaks of things that are not there, or not once, does not."""
    if statement.claim == ABSENT:
        query = statement.query
        if not isinstance(picture, Chart) or MARKS[picture.kind] != query.mark:
            return False
        return query.colours[0] not in picture.colours
    return true_answer(statement.query, picture).answer == statement.claim
