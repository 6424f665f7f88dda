"""The alarms as data: which value each looks at, on which side of its threshold it goes off, and how it says so.

A `Reading` is what was measured of a stage; `check` holds it against the settings. A quantity that a run cannot measure
(exact truth, blind answers) is a reading without a value and with the reason, and its alarm is silent: nothing is
guessed. An alarm goes off beyond its threshold, not at it.

Left out: severities. One threshold and one policy can be understood; how far a value lies beyond is in the record.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from selfsight.config import AlarmSettings, EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.methods.alarms.suggestions import suggestion

State = Literal["fired", "quiet", "not measured"]
Form = Literal["share", "points", "number", "factor"]


@dataclass(frozen=True)
class Reading:
    """What was measured for an alarm of a stage. `who` is the role or text it is about, "" where there is but one.

    `value` is None where it cannot be measured, and `why` says why. `evidence` are the figures behind the value.
    """

    alarm: str
    who: str = ""
    value: float | None = None
    why: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One alarm. It goes off when the value is `above` its limit, or below it. `says` is the sentence about a `{value}`
    (and `{who}`) in the shape `form`; `method` says whose runs it watches.
    """

    name: str
    limit: Callable[[AlarmSettings], float | None]
    above: bool
    form: Form
    says: str
    method: Literal["questions", "games", "all"]


@dataclass(frozen=True)
class Record:
    """A line of alarms.jsonl: one alarm at the end of one stage.

    `steps` is how many optimiser steps the stage had, None where a stage has none. `suggestion` is a setting,
    `key=value`, that is worth trying; there is one when the alarm goes off.
    """

    stage: str
    round: int
    phase: str
    steps: int | None
    alarm: str
    who: str
    state: State
    value: float | None
    limit: float
    says: str
    why: str
    evidence: Mapping[str, object]
    suggestion: str | None

    def as_json(self) -> dict[str, object]:
        """For alarms.jsonl."""
        return asdict(self)


RULES = (
    Rule("question_cluster", lambda s: s.question_cluster, True, "share",
         "{value} of the questions are worded alike", "questions"),
    Rule("family_entropy", lambda s: s.family_entropy, False, "share",
         "{value} of the first round's entropy is left in the questions' opening templates", "questions"),
    Rule("novelty", lambda s: s.novelty, False, "share",
         "{value} of the questions are worded as none of an earlier round", "questions"),
    Rule("answer_prior", lambda s: s.answer_prior, True, "share", "{value} of the {who} are one and the same", "all"),
    Rule("blind_answers", lambda s: s.blind_answers, True, "share",
         "{value} of the questions get the same answer without the image", "questions"),
    Rule("zero_variance", lambda s: s.zero_variance, True, "share",
         "{value} of the {who}'s groups are paid all the same", "all"),
    Rule("policy_kl", lambda s: s.policy_kl, True, "number",
         "the {who} has moved {value} nats a token away from where it began", "all"),
    Rule("policy_entropy", lambda s: s.policy_entropy, False, "share",
         "{value} of the entropy of its first steps is left to the {who}", "all"),
    Rule("format_failures", lambda s: s.format_failures, True, "share", "{value} of the {who} cannot be read", "all"),
    Rule("label_accuracy", lambda s: s.label_accuracy, False, "share",
         "{value} of the pseudo-labels are right", "questions"),
    Rule("label_accuracy_drop", lambda s: s.label_accuracy_drop, True, "points",
         "the share of right pseudo-labels is {value} below the best earlier round's", "questions"),
    Rule("confidence_gap", lambda s: s.confidence_gap, True, "points",
         "the confidence of the pseudo-labels is {value} above the share that is right", "questions"),
    Rule("heldout_drop", lambda s: s.heldout_drop, True, "points",
         "held-out accuracy is {value} below the best earlier measurement's", "all"),
    Rule("role_wins", lambda s: s.role_wins, True, "share", "{value} of the games are won by the {who}", "games"),
    Rule("abstention", lambda s: s.abstention, True, "share", "{value} of the votes are n/a", "games"),
    Rule("length_drift", lambda s: s.length_drift, True, "factor",
         "the length of the {who} has changed by a factor of {value} since the first steps", "all"),
)  # fmt: skip
BY_NAME = {rule.name: rule for rule in RULES}


def watched(config: EvolveConfig) -> tuple[Rule, ...]:
    """The alarms that make sense for a run's method, those that are switched off included."""
    methods = {"visplay": {"questions"}, "vision-zero": {"games"}, "mixed": {"questions", "games"}}[config.method]
    return tuple(rule for rule in RULES if rule.method in {*methods, "all"})


def check(
    reading: Reading, config: EvolveConfig, *, stage: str, round: int, phase: str, steps: int | None
) -> Record | None:
    """A reading against its threshold; None when the alarm is switched off."""
    rule = BY_NAME[reading.alarm]
    limit = rule.limit(config.alarms)
    if limit is None:
        return None
    state: State = "not measured"
    says = suggested = None
    if reading.value is not None:
        fired = reading.value > limit if rule.above else reading.value < limit
        state = "fired" if fired else "quiet"
        says = rule.says.format(value=_figure(reading.value, rule.form), who=reading.who)
        suggested = suggestion(reading.alarm, reading.who, config) if fired else None
    return Record(
        stage=stage,
        round=round,
        phase=phase,
        steps=steps,
        alarm=reading.alarm,
        who=reading.who,
        state=state,
        value=reading.value,
        limit=limit,
        says=says or "",
        why=reading.why,
        evidence=reading.evidence,
        suggestion=suggested,
    )


def announcement(record: Record) -> str:
    """One line for the terminal about an alarm that went off."""
    rule = BY_NAME[record.alarm]
    side = "above" if rule.above else "below"
    return (
        f"ALARM {record.alarm} at the end of {place(record.round, record.phase)}: {record.says} ({side} "
        f"{_figure(record.limit, rule.form)}). Worth trying: {record.suggestion}"
    )


def place(round: int, phase: str) -> str:
    """A stage in words."""
    return f"round {round}, {'measurement' if phase == 'evaluation' else phase}"


def from_json(line: Mapping[str, Any]) -> Record:
    """The record that `as_json` wrote."""
    try:
        return Record(**line)
    except TypeError as error:
        raise SelfsightError(
            f"a line of alarms.jsonl is damaged: {error}",
            hint="restore alarms.jsonl from a copy, or delete it: a resumed run says what is lost then",
        ) from error


def _figure(value: float, form: Form) -> str:
    if form in ("share", "points"):
        return f"{value * 100:.1f} {'%' if form == 'share' else 'points'}"
    return f"{value:.2f}"
