"""What a round's measurement says (round.json): held-out accuracy, labels against the truth, and its games.

The truth behind the labels is known for worlds only. These alarms read what the audit has counted, after the fact; no
question or answer of theirs reaches training. A policy other than `warn` lets them decide where a run ends.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfsight.evaluate.answers import Answered
from selfsight.evaluate.statistics import mcnemar_exact
from selfsight.methods.alarms.questions import FEWEST, answer_prior
from selfsight.methods.alarms.rules import Reading

Entry = Mapping[str, Any]

FEWEST_GAMES = 8
SURE = 0.05  # a fall in accuracy that is likelier than this without any change is taken for noise


def round_readings(
    entries: Sequence[Entry],
    heldout_keys: Sequence[str | None],
    answered: Callable[[int], Sequence[Answered]],
    *,
    questions: bool,
    games: bool,
) -> tuple[Reading, ...]:
    """Readings of the last of `entries` (round 0, the base, is the first); `questions` and `games` say what the round
    was about, `heldout_keys` are the sampled answers to its held-out questions, `answered` gives a round's answers.
    """
    return (
        heldout_drop(entries, answered),
        Reading("format_failures", "held-out answers", float(entries[-1]["heldout"]["sampled_format_failures"]),
                evidence={"questions": entries[-1]["heldout"]["n"]}),
        answer_prior("held-out answers", heldout_keys),
        *(label_readings(entries) if questions else ()),
        *(game_readings(entries[-1]["games"]) if games else ()),
    )  # fmt: skip


def heldout_drop(entries: Sequence[Entry], answered: Callable[[int], Sequence[Answered]]) -> Reading:
    """How far greedy held-out accuracy lies below the best one before; 0 where it is the best, or where chance alone
    would often make such a drop.

    Both measurements are of the same questions, so the drop is judged by those that only one of the two got right
    (McNemar's exact test): it counts where that is less likely than `SURE` without any change. Two questions of 24 are
    8 points, and no sign of anything.
    """
    *before, last = entries
    accuracies = [float(entry["heldout"]["accuracy"]) for entry in before]
    best = max(range(len(before)), key=accuracies.__getitem__)
    now = float(last["heldout"]["accuracy"])
    pairs = list(zip(answered(before[best]["round"]), answered(last["round"]), strict=True))
    lost = sum(was.greedy > now.greedy for was, now in pairs)
    gained = sum(was.greedy < now.greedy for was, now in pairs)
    drop, p = max(0.0, accuracies[best] - now), mcnemar_exact(gained, lost)
    evidence = {
        "now": now, "best": accuracies[best], "best_round": before[best]["round"], "n": last["heldout"]["n"],
        "drop": drop, "lost": lost, "gained": gained, "p": p,
    }  # fmt: skip
    return Reading("heldout_drop", value=drop if p < SURE else 0.0, evidence=evidence)


def label_readings(entries: Sequence[Entry]) -> tuple[Reading, ...]:
    """The pool's labels against the truth: right ones, their fall, and their confidence above them."""
    names = ("label_accuracy", "label_accuracy_drop", "confidence_gap")
    accuracy = entries[-1].get("pseudo_label_accuracy")
    if accuracy is None:
        return tuple(Reading(name, why="what is true of these images is not known, or evaluation.audit is off")
                     for name in names)  # fmt: skip
    labels = entries[-1]["audit"]["labels"]
    if labels["labels"] < FEWEST:
        why = f"{labels['labels']} labels in the pool, and a share of fewer than {FEWEST} says nothing"
        return tuple(Reading(name, why=why) for name in names)
    confidence = sum(bin["n"] * bin["confidence"] for bin in labels["calibration"]) / labels["labels"]
    figures = {"right": accuracy, "confidence": confidence, "labels": labels["labels"]}
    before = {
        entry["round"]: entry["pseudo_label_accuracy"]
        for entry in entries[:-1]
        if entry.get("pseudo_label_accuracy") is not None
    }
    if before:
        best = max(before, key=before.__getitem__)
        evidence = {"now": accuracy, "best": before[best], "best_round": best}
        drop = Reading("label_accuracy_drop", value=max(0.0, before[best] - accuracy), evidence=evidence)
    else:
        drop = Reading("label_accuracy_drop", why="no earlier round of questions to compare with")
    return (
        Reading("label_accuracy", value=accuracy, evidence=figures),
        drop,
        Reading("confidence_gap", value=max(0.0, confidence - accuracy), evidence=figures),
    )


def game_readings(games: Entry) -> tuple[Reading, ...]:
    """Who wins a round's games, and how often votes name nobody."""
    if games["n"] < FEWEST_GAMES:
        why = f"{games['n']} games, and a share of fewer than {FEWEST_GAMES} says nothing"
        return Reading("role_wins", why=why), Reading("abstention", why=why)
    wins = {"citizens": float(games["citizens_win"]), "spy": 1.0 - float(games["citizens_win"])}
    winner = max(wins, key=wins.__getitem__)
    evidence = {"games": games["n"]}
    return (
        Reading("role_wins", winner, wins[winner], evidence=evidence),
        Reading("abstention", value=float(games["abstention"]), evidence=evidence),
    )
