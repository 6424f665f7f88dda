"""Why a question earned what it earned, and which gates it passed, as arithmetic a person can check.

Terminal and page show the same lines. The reward is computed again from its terms (VisPlay, arXiv 2511.15661):

    r_unc = 1 - |2c - 1|      r_div = lambda |C| / G      r = max(0, r_unc - r_div), and 0 if it cannot be read

A recorded reward that does not follow from its terms is said to be so. Left out: the reasoner's rewards, which a run
does not record answer by answer; they are 1 for the label and 0 for all else.
"""

from dataclasses import dataclass
from typing import Literal

from selfsight.config import VisplaySettings
from selfsight.language import NoveltyMemory
from selfsight.methods.visplay.gates import chain
from selfsight.report.questions import QuestionRecord

_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_LAMBDA = "\N{GREEK SMALL LETTER LAMDA}"
_TOLERANCE = 1e-6
_NO_MEMORY = NoveltyMemory()  # of a chain that is only asked for its gates' names; to make one takes long

Outcome = Literal["passed", "rejected", "not reached"]


@dataclass(frozen=True)
class GateStep:
    """A gate of the chain and what it made of a question."""

    gate: str
    outcome: Outcome
    detail: str


def reward_lines(question: QuestionRecord, settings: VisplaySettings) -> list[str]:
    """The reward of a question of the questioner phase; nothing for a candidate of curation, which is paid nothing."""
    terms = question.terms
    if terms is None:
        return []
    if not question.asked.question.valid:
        return [f"r = 0: it could not be read as a question ({question.asked.question.reason})"]
    if question.gate:
        return [f"r = 0: {_refusal(question, settings)}"]
    if question.confidence is None:
        return [f"r = {_number(terms.reward)}: nobody was asked"]
    m, c = settings.num_votes, question.confidence
    r_unc = 1 - abs(2 * c - 1)
    r_div = settings.diversity_weight * terms.cluster_size / terms.group_size
    reward = max(0.0, r_unc - r_div)
    lines = [
        f"c = {round(c * m)} / {m} = {_number(c)}   (votes of the winning answer / answers)",
        f"r_unc = 1 {_MINUS} |2 {_TIMES} {_number(c)} {_MINUS} 1| = {_number(r_unc)}",
        f"r_div = {_LAMBDA} {_TIMES} |C| / G = {_number(settings.diversity_weight)} {_TIMES} {terms.cluster_size} / "
        f"{terms.group_size} = {_number(r_div)}   (questions worded like it, of those about this image)",
        f"r = max(0, {_number(r_unc)} {_MINUS} {_number(r_div)}) = {_number(reward)}",
    ]
    if abs(reward - terms.reward) > _TOLERANCE:
        lines.append(f"The run recorded {_number(terms.reward)}, which does not follow from these settings.")
    return lines


def gate_steps(question: QuestionRecord, settings: VisplaySettings) -> list[GateStep]:
    """The chain of gates in its order, for a candidate that curation has decided on."""
    if question.kept is None:
        return []
    names = [gate.name for gate in chain(settings.gates, _NO_MEMORY, 0)]
    if settings.controls.labels == "truth":
        names.append("truth")
    steps: list[GateStep] = []
    rejected = False
    for name in names:
        if rejected:
            steps.append(GateStep(name, "not reached", ""))
        elif not question.kept and question.gate == name:
            rejected = True
            steps.append(GateStep(name, "rejected", question.gate_reason))
        else:
            steps.append(GateStep(name, "passed", _evidence(name, question, settings)))
    if not question.kept and not rejected:  # the run was resumed with other gates
        steps = [GateStep(question.gate, "rejected", question.gate_reason)]
    return steps


def lesson(question: QuestionRecord, settings: VisplaySettings) -> str:
    """What the reasoner learned from a question of the pool; empty for all others."""
    if question.taught is None:
        return ""
    if settings.controls.reward == "random":
        return "The reasoner's answers to it were paid by coin flips (control reward=random)."
    found = f"The reasoner earns 1 for the answer {answer_text(question.taught)!r} and 0 for any other."
    if question.taught != question.label:
        found += f" The vote said {answer_text(question.label)!r} (control labels={settings.controls.labels})."
    return found


def answer_text(key: str | None) -> str:
    """An answer's key without its kind: "num:2" as 2."""
    if key is None:
        return "unreadable"
    kind, colon, rest = key.partition(":")
    return rest if colon else kind


def _refusal(question: QuestionRecord, settings: VisplaySettings) -> str:
    if question.gate == "plausibility" and question.asked.min_logprob is not None:
        return (
            f"refused, its least likely token has log-prob {question.asked.min_logprob:.2f}, below "
            f"{settings.gates.plausibility_floor} (plausibility)"
        )
    if question.gate == "novelty":
        return f"refused, earlier rounds have worn out its wording (novelty, above {settings.gates.novelty})"
    return f"refused ({question.gate})"


def _evidence(gate: str, question: QuestionRecord, settings: VisplaySettings) -> str:
    """What a gate saw of a question that it let through."""
    asked, votes, gates = question.asked, question.votes, settings.gates
    if gate == "plausibility" and asked.min_logprob is not None:
        return f"least likely token has log-prob {asked.min_logprob:.2f}, at least {gates.plausibility_floor}"
    if gate in ("band", "agreement") and votes is not None:
        low, high = gates.band if gate == "band" and gates.band else (gates.agreement_floor, gates.agreement_ceiling)
        within = f"within {low or 0:g} to {1 if high is None else high:g}"
        return f"{votes.winner_count} of {votes.m} votes agree, {within}"
    if gate == "tie" and votes is not None:
        counts = sorted(votes.counts.values(), reverse=True)
        return f"{votes.winner_count} votes, {counts[1] if len(counts) > 1 else 0} for the next answer"
    if gate == "blind" and asked.blind is not None:
        return f"{asked.blind.winner_count} of {asked.blind.m} agree without the image"
    if gate == "supervisor" and asked.supervisor is not None and gates.supervisor is not None:
        return f"{asked.supervisor:.0%} of the verdicts say that the image answers it, at least {gates.supervisor:.0%}"
    return ""


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", _MINUS)
