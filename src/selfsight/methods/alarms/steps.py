"""What the steps of a phase say (metrics.jsonl): signal, distance to the start, entropy, form, length.

A figure is the mean over the last quarter of the phase, four steps at least, so that one step decides nothing. What is
compared with the beginning is compared with the role's first four steps of the run, when it had hardly learned.

In games, entropy is that of the stage that trains, and so compared with the same stage's; groups of clues hold one
sample each, so only groups of votes can lack signal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from selfsight.config import EvolveConfig
from selfsight.methods.alarms.rules import Reading

Line = Mapping[str, Any]

FIRST_STEPS = 4
FEWEST_GROUPS = 8
WHO = {"questioner": "questioner", "reasoner": "reasoner", "games": "player"}
LENGTHS = {"questioner": ("questions",), "reasoner": ("answers",), "games": ("clues", "votes")}
# Unreadable questions are counted among the candidates of curation.
FORM = {"questioner": (), "reasoner": ("answers",), "games": ("clues", "votes")}
GAME_STAGES = ("clue", "decision", "both")


def step_readings(phase: str, lines: Sequence[Line], run: Sequence[Line], config: EvolveConfig) -> tuple[Reading, ...]:
    """Readings of a phase ("questioner", "reasoner" or "games") from its `lines`; `run` holds those of the same phase
    in all rounds up to here, these included.
    """
    learned = [line for line in lines if "entropy" in line]
    if not learned:
        return _nothing(phase)
    began = [line for line in run if "entropy" in line]
    return (
        _zero_variance(phase, learned),
        _kl(phase, learned, config),
        *_entropies(phase, learned, began),
        *_form(phase, learned),
        *_lengths(phase, learned, began, config),
    )


def _nothing(phase: str) -> tuple[Reading, ...]:
    why = "no step of the phase is on record: it learned in none, or report_to leaves metrics.jsonl out"
    about_role = ("zero_variance", "policy_kl", "policy_entropy")
    return (
        *(Reading(alarm, WHO[phase], why=why) for alarm in about_role),
        *(Reading("format_failures", what, why=why) for what in FORM[phase]),
        *(Reading("length_drift", what, why=why) for what in LENGTHS[phase]),
    )


def at_the_end(lines: Sequence[Line]) -> list[Line]:
    """The last quarter of the lines, four at least."""
    return list(lines[-max(FIRST_STEPS, len(lines) // 4) :])


def _zero_variance(phase: str, lines: Sequence[Line]) -> Reading:
    who = WHO[phase]
    last = at_the_end([line for line in lines if line.get("phase") != "clue"])
    flat, groups = (sum(int(line[key]) for line in last) for key in ("zero_variance_groups", "groups"))
    if groups < FEWEST_GROUPS:
        why = f"{groups} groups to look at, and a share of fewer than {FEWEST_GROUPS} says nothing"
        return Reading("zero_variance", who, why=why)
    return Reading("zero_variance", who, flat / groups, evidence={"groups": groups, "steps": len(last)})


def _kl(phase: str, lines: Sequence[Line], config: EvolveConfig) -> Reading:
    who, last = WHO[phase], at_the_end(lines)
    key = "kl_anchor" if config.grpo.beta_anchor > 0 else "kl" if config.grpo.beta > 0 else None
    if key is None:
        return Reading("policy_kl", who, why="the run keeps no weights to compare with (grpo.beta, grpo.beta_anchor)")
    since = "the base" if key == "kl_anchor" else "the start of the phase"
    evidence = {"steps": len(last), "largest": max(line[key] for line in lines), "since": since}
    return Reading("policy_kl", who, _mean(last, itemgetter(key)), evidence=evidence)


def _entropies(phase: str, lines: Sequence[Line], began: Sequence[Line]) -> list[Reading]:
    if phase != "games":
        return [_entropy(WHO[phase], lines, began)]
    return [
        _entropy(f"player ({stage} stage)", own, [line for line in began if line["phase"] == stage])
        for stage in GAME_STAGES
        if (own := [line for line in lines if line["phase"] == stage])
    ]


def _entropy(who: str, lines: Sequence[Line], began: Sequence[Line]) -> Reading:
    last = at_the_end(lines)
    first = _mean(began[:FIRST_STEPS], itemgetter("entropy"))
    now = _mean(last, itemgetter("entropy"))
    if first <= 0.0:
        return Reading("policy_entropy", who, why="the entropy of the first steps was 0")
    evidence = {"first": first, "now": now, "steps": len(last)}
    return Reading("policy_entropy", who, now / first, evidence=evidence)


def _form(phase: str, lines: Sequence[Line]) -> list[Reading]:
    keys = {"answers": "format_failures", "clues": "invalid_clues", "votes": "invalid_votes"}
    last = at_the_end(lines)
    shares = {what: _mean(last, itemgetter(keys[what])) for what in FORM[phase]}
    return [Reading("format_failures", what, share, evidence={"steps": len(last)}) for what, share in shares.items()]


def _lengths(phase: str, lines: Sequence[Line], began: Sequence[Line], config: EvolveConfig) -> list[Reading]:
    size = config.grpo.num_generations
    tokens: dict[str, Callable[[Line], float]] = {
        "questions": lambda line: line["sampled_tokens"] / (line["images"] * size),
        "answers": itemgetter("length"),
        "clues": itemgetter("clue_tokens"),
        "votes": itemgetter("vote_tokens"),
    }
    last = at_the_end(lines)
    readings = []
    for what in LENGTHS[phase]:
        first, now = _mean(began[:FIRST_STEPS], tokens[what]), _mean(last, tokens[what])
        evidence = {"first": first, "now": now, "steps": len(last)}
        # A completion has one token at least, the end of its sequence.
        readings.append(Reading("length_drift", what, max(now / first, first / now), evidence=evidence))
    return readings


def _mean(lines: Sequence[Line], read: Callable[[Line], float]) -> float:
    return math.fsum(read(line) for line in lines) / len(lines)
