"""Two models on the same held-out questions, question by question: wins, losses and ties, and what they amount to.

A is the model before, B the one after. A win is a question that B's greedy answer alone gets right, a loss one that
A's alone gets right; all others are ties. Whether an answer is right is decided by its key, as everywhere.

An answer without a readable box is wrong, and yet not what "it forgot how to count" means: a model can lose ten points
by its form alone. So a win or loss in which one of the two answers is unreadable counts as one of form, any other as
one of answers, and the change in accuracy is the exact sum of both parts.

Intervals are paired, over images, and right for few questions (`statistics`). McNemar's test (1947) is the exact
binomial one on wins and losses; it takes questions for independent, which they are while each is about its own picture,
as held-out questions are. There an interval of the change in greedy accuracy excludes 0 just when the test's p < 0.05.

Left out: corrections for the number of families (each is given with its own interval, and how many there are is said),
and agreement between models where no truth is known. No torch.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from selfsight.errors import SelfsightError
from selfsight.evaluate.answers import Answered, summarise
from selfsight.evaluate.statistics import METHOD, mcnemar_exact, paired_interval
from selfsight.images import ImageRef
from selfsight.language import get_pack, key_of

Outcome = Literal["right", "wrong", "unreadable"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("right", "wrong", "unreadable")
_MEASURES: Final = (("accuracy", "greedy"), ("sampled", "sampled"), ("majority", "majority"))


@dataclass(frozen=True)
class Pair:
    """One question with both models' answers."""

    a: Answered
    b: Answered

    @property
    def result(self) -> Literal["win", "loss", "tie"]:
        """Whose greedy answer alone is right: B's is a win."""
        if self.a.greedy == self.b.greedy:
            return "tie"
        return "win" if self.b.greedy > self.a.greedy else "loss"

    @property
    def by_form(self) -> bool:
        """Whether one of the greedy answers could not be read: what differs may be the form alone."""
        return "unreadable" in (outcome(self.a), outcome(self.b))

    @property
    def drop(self) -> float:
        """How much was lost from A to B, in [-1, 1]: the mean of what greedy and sampled answers lost."""
        return (self.a.greedy - self.b.greedy + self.a.sampled - self.b.sampled) / 2


def outcome(answered: Answered) -> Outcome:
    """What became of a greedy answer."""
    if answered.greedy_format_failure:
        return "unreadable"
    return "right" if answered.greedy else "wrong"


def greedy_key(answered: Answered) -> str | None:
    """The key of a greedy answer; None when it is unreadable. All packs read an answer alike."""
    found = outcome(answered)
    if found == "wrong":
        return key_of(get_pack("full").read_answer(answered.greedy_text), answered.question)
    return answered.key if found == "right" else None


def pair_up(a: Sequence[Answered], b: Sequence[Answered]) -> tuple[Pair, ...]:
    """Both models' answers, question by question; SelfsightError names the first question that is not the same."""
    hint = "ask both anew with --anew, which gives them the same questions"
    if len(a) != len(b):
        raise SelfsightError(f"A was asked {len(a)} questions and B {len(b)}", hint=hint)
    if not a:
        raise SelfsightError("there is no question to compare on", hint="ask at least one: --questions 600")
    for place, (one, other) in enumerate(zip(a, b, strict=True)):
        for name in ("id", "question", "key", "image_id", "family"):
            if getattr(one, name) != getattr(other, name):
                raise SelfsightError(
                    f"question {place} is not the same for both: its {name} is {getattr(one, name)!r} for A and "
                    f"{getattr(other, name)!r} for B",
                    hint=hint,
                )
    return tuple(Pair(one, other) for one, other in zip(a, b, strict=True))


def figures(pairs: Sequence[Pair], *, seed: int = 0) -> dict[str, object]:
    """All figures of a comparison, JSON-ready: shares in [0, 1], differences B - A, `ci95` a pair [low, high]."""
    results = Counter(pair.result for pair in pairs)
    a, b = [pair.a for pair in pairs], [pair.b for pair in pairs]
    table = Counter((outcome(pair.a), outcome(pair.b)) for pair in pairs)
    drops = np.array([pair.a.sampled - pair.b.sampled for pair in pairs])
    return {
        "n": len(pairs),
        "images": len({pair.a.image_id for pair in pairs}),
        "measured": {"a": summarise(a), "b": summarise(b)},
        "change": _changes(pairs, seed),
        "parts": {
            "answers": _part(pairs, lambda pair: not pair.by_form, seed),
            "form": _part(pairs, lambda pair: pair.by_form, seed),
        },
        "wins": _counted(pairs, "win"),
        "losses": _counted(pairs, "loss"),
        "ties": {
            "all": results["tie"],
            "both_right": table["right", "right"],
            "same_wrong_answer": sum(_same_wrong_answer(pair) for pair in pairs),
        },
        "intervals": METHOD,
        "mcnemar": {"p": mcnemar_exact(results["win"], results["loss"])},
        "outcomes": {mine: {theirs: table[mine, theirs] for theirs in OUTCOMES} for mine in OUTCOMES},
        "samples": {
            "each": len(pairs[0].a.sampled_keys),
            "more_right": int((drops < 0).sum()),
            "fewer_right": int((drops > 0).sum()),
            "as_many": int((drops == 0).sum()),
        },
        "families": {
            family: _family([pair for pair in pairs if pair.a.family == family], seed)
            for family in sorted({pair.a.family for pair in pairs})
        },
    }


def question_records(pairs: Sequence[Pair], images: Mapping[str, ImageRef]) -> list[dict[str, object]]:
    """Every question with both answers, JSON-ready, the biggest regression first; `images` by question id."""
    ordered = sorted(pairs, key=lambda pair: (-pair.drop, pair.a.family, pair.a.id))
    return [
        {
            "id": pair.a.id,
            "image_id": images[pair.a.id].id,
            "origin": images[pair.a.id].origin,
            "family": pair.a.family,
            "question": pair.a.question,
            "key": pair.a.key,
            "result": pair.result,
            "by_form": pair.by_form,
            "drop": pair.drop,
            "a": _answer(pair.a),
            "b": _answer(pair.b),
        }
        for pair in ordered
    ]


def _answer(answered: Answered) -> dict[str, object]:
    return {
        "outcome": outcome(answered),
        "key": greedy_key(answered),
        "text": answered.greedy_text,
        "sampled": answered.sampled,
        "sampled_keys": [key or None for key in answered.sampled_keys],
    }


def _changes(pairs: Sequence[Pair], seed: int) -> dict[str, object]:
    changes: dict[str, object] = {}
    for name, column in _MEASURES:
        found = paired_interval(
            [getattr(pair.a, column) for pair in pairs],
            [getattr(pair.b, column) for pair in pairs],
            seed=seed,
            clusters=[pair.a.image_id for pair in pairs],
        )
        changes[name] = found.mean
        changes["ci95" if name == "accuracy" else f"{name}_ci95"] = [found.low, found.high]
    return changes


def _part(pairs: Sequence[Pair], belongs: Callable[[Pair], bool], seed: int) -> dict[str, object]:
    """What the questions that belong to a part add to the change in accuracy; all others add 0."""
    found = paired_interval(
        [pair.a.greedy if belongs(pair) else 0.0 for pair in pairs],
        [pair.b.greedy if belongs(pair) else 0.0 for pair in pairs],
        seed=seed,
        clusters=[pair.a.image_id for pair in pairs],
    )
    return {"difference": found.mean, "ci95": [found.low, found.high]}


def _counted(pairs: Sequence[Pair], result: str) -> dict[str, int]:
    those = [pair for pair in pairs if pair.result == result]
    form = sum(pair.by_form for pair in those)
    return {"all": len(those), "answers": len(those) - form, "form": form}


def _same_wrong_answer(pair: Pair) -> bool:
    return outcome(pair.a) == outcome(pair.b) == "wrong" and greedy_key(pair.a) == greedy_key(pair.b)


def _family(pairs: Sequence[Pair], seed: int) -> dict[str, object]:
    wins, losses = _counted(pairs, "win"), _counted(pairs, "loss")
    return {
        "n": len(pairs),
        **{
            side: {
                name: float(np.mean([getattr(getattr(pair, side), column) for pair in pairs]))
                for name, column in _MEASURES
            }
            for side in ("a", "b")
        },
        "change": _changes(pairs, seed),
        "wins": wins,
        "losses": losses,
        "p": mcnemar_exact(wins["all"], losses["all"]),
    }
