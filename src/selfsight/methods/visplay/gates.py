"""Curation: the chain of gates between what the questioner asked and what the reasoner learns from.

A gate sees the candidates that are still in and names those it rejects, each with a reason. Gates are frozen
settings with one method; the chain runs them in order and keeps one verdict per candidate and one count per
gate. Nothing depends on the order of the candidates: where a choice must be made, a hash of the seed and the
question's id makes it.

Every gate uses the model's own output only, never the truth. Left out: a learned filter (one more model to
train, and to collapse), and gates on question difficulty beyond agreement.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from typing import Protocol

from selfsight.config import GateSettings
from selfsight.language import NoveltyMemory, Votes, family_of, normal_wording


@dataclass(frozen=True)
class Candidate:
    """A question of the pool and what is known about it.

    `min_logprob` is the log-probability of the question's least likely token under the base questioner;
    `blind` is the vote without the image; `supervisor` is the share of the reasoner's own verdicts that
    say that the image answers the question (None: not asked); `invalid_reason` is the parser's.
    """

    question_id: str
    image_id: str
    question: str
    valid: bool
    votes: Votes | None
    min_logprob: float | None = None
    blind: Votes | None = None
    supervisor: float | None = None
    invalid_reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """The fate of one candidate; `gate` and `reason` are empty when it was kept."""

    question_id: str
    kept: bool
    gate: str
    reason: str


@dataclass(frozen=True)
class GateCount:
    """How many candidates reached a gate and how many it rejected."""

    gate: str
    seen: int
    rejected: int


@dataclass(frozen=True)
class Curation:
    """One verdict per candidate, in the order given, and one count per gate, in chain order."""

    verdicts: tuple[Verdict, ...]
    counts: tuple[GateCount, ...]

    @property
    def kept_ids(self) -> frozenset[str]:
        """Ids of the questions that passed every gate."""
        return frozenset(verdict.question_id for verdict in self.verdicts if verdict.kept)


class Gate(Protocol):
    """A rule with a name. `rejects` maps the id of each candidate it turns away to the reason."""

    @property
    def name(self) -> str: ...

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]: ...


def curate(candidates: Sequence[Candidate], gates: Sequence[Gate]) -> Curation:
    """Runs the chain. Each gate sees what the gates before it let through."""
    ids = [candidate.question_id for candidate in candidates]
    if len(set(ids)) != len(ids):
        twice = next(question_id for question_id, count in Counter(ids).items() if count > 1)
        raise ValueError(f"question id {twice!r} occurs more than once in the pool")
    fate: dict[str, tuple[str, str]] = {}
    counts = []
    pool = list(candidates)
    for gate in gates:
        rejected = gate.rejects(pool)
        counts.append(GateCount(gate.name, len(pool), len(rejected)))
        fate |= {question_id: (gate.name, reason) for question_id, reason in rejected.items()}
        pool = [candidate for candidate in pool if candidate.question_id not in rejected]
    verdicts = (Verdict(i, i not in fate, *fate.get(i, ("", ""))) for i in ids)
    return Curation(tuple(verdicts), tuple(counts))


def _votes(candidate: Candidate, gate: str) -> Votes:
    if candidate.votes is None:
        raise ValueError(f"question {candidate.question_id!r} reached the {gate} gate without votes")
    return candidate.votes


def _each(pool: Sequence[Candidate], reason_of: Callable[[Candidate], str]) -> dict[str, str]:
    """Reasons of a rule that looks at one candidate at a time; an empty reason keeps it."""
    reasons = ((candidate.question_id, reason_of(candidate)) for candidate in pool)
    return {question_id: reason for question_id, reason in reasons if reason}


def _draw(seed: int, question_id: str) -> bytes:
    """A fixed lottery ticket: who stays when only some can."""
    return blake2b(f"{seed}:{question_id}".encode("utf-8", "replace"), digest_size=8).digest()


@dataclass(frozen=True)
class FormatGate:
    """The parser accepted the question."""

    name: str = "format"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        return _each(pool, lambda c: "" if c.valid else c.invalid_reason or "invalid question")


@dataclass(frozen=True)
class TieGate:
    """There is a label: a strict plurality of at least two votes."""

    name: str = "tie"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        def reason(candidate: Candidate) -> str:
            votes = _votes(candidate, self.name)
            if votes.label is not None:
                return ""
            if votes.winner_count < 2:
                return f"no answer has two votes (best {votes.winner_count} of {votes.m})"
            return f"tie at {votes.winner_count} of {votes.m} votes"

        return _each(pool, reason)


@dataclass(frozen=True)
class BandGate:
    """low <= c <= high, both inclusive, compared in integers: .25-.75 keeps 2..6 of 8 and 3..7 of 10 votes.

    The paper's band (.25-.75) and the agreement floor and ceiling (.4-.95) are this rule with other names.
    """

    low: float = 0.25
    high: float = 0.75
    name: str = "band"

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"{self.name} gate: 0 <= low <= high <= 1 does not hold for {self.low}, {self.high}")

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        low, high = _exact(self.low), _exact(self.high)

        def reason(candidate: Candidate) -> str:
            votes = _votes(candidate, self.name)
            count, m = votes.winner_count, votes.m
            if m == 0 or count * low.denominator < low.numerator * m:
                return f"{count} of {m} votes agree, below {self.low}"
            if count * high.denominator > high.numerator * m:
                return f"{count} of {m} votes agree, above {self.high}"
            return ""

        return _each(pool, reason)


@dataclass(frozen=True)
class PlausibilityGate:
    """The least likely token of the question, under the base questioner, is not less likely than `floor`.

    Nonsense ("purple ?") splits the vote and so earns the questioner's full reward; the base model, which
    never saw that reward, still finds it improbable.
    """

    floor: float = -5.0
    name: str = "plausibility"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        def reason(candidate: Candidate) -> str:
            if candidate.min_logprob is None:
                raise ValueError(f"question {candidate.question_id!r} carries no min_logprob for {self.name}")
            # A NaN is not at least the floor either.
            if candidate.min_logprob >= self.floor:
                return ""
            return f"least likely token has log-prob {candidate.min_logprob:.2f}, below {self.floor}"

        return _each(pool, reason)


@dataclass(frozen=True)
class DuplicateGate:
    """At most `per_image` questions of one wording on an image, and `per_pool` in the pool (None: no cap)."""

    per_image: int = 1
    per_pool: int | None = None
    seed: int = 0
    name: str = "duplicates"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        reasons: dict[str, str] = {}
        in_image: Counter[tuple[str, str]] = Counter()
        in_pool: Counter[str] = Counter()
        for candidate in sorted(pool, key=lambda c: (_draw(self.seed, c.question_id), c.question_id)):
            wording = normal_wording(candidate.question)
            if in_image[candidate.image_id, wording] >= self.per_image:
                reasons[candidate.question_id] = f"same wording {self.per_image} times on this image already"
            elif self.per_pool is not None and in_pool[wording] >= self.per_pool:
                reasons[candidate.question_id] = f"same wording {self.per_pool} times in the pool already"
            else:
                in_image[candidate.image_id, wording] += 1
                in_pool[wording] += 1
        return reasons


@dataclass(frozen=True)
class NoveltyGate:
    """Near-duplicates of the question are at most `max_share` of what earlier rounds kept.

    A share and not a count: the same words about another image are another question, and a small vocabulary
    repeats; what is turned away is the wording that earlier rounds have worn out.
    """

    memory: NoveltyMemory
    max_share: float = 0.02
    name: str = "novelty"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        def reason(candidate: Candidate) -> str:
            share = self.memory.share(candidate.question)
            return f"{share:.1%} of earlier questions are worded like it" if share > self.max_share else ""

        return _each(pool, reason)


@dataclass(frozen=True)
class BlindGate:
    """The majority without the image differs from the label, or is unsure (less than `confident`)."""

    confident: float = 0.75
    name: str = "blind"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        bar = _exact(self.confident)

        def reason(candidate: Candidate) -> str:
            votes, blind = _votes(candidate, self.name), candidate.blind
            if blind is None:
                raise ValueError(f"question {candidate.question_id!r} carries no blind votes for {self.name}")
            sure = blind.m > 0 and blind.winner_count * bar.denominator >= bar.numerator * blind.m
            if sure and blind.label is not None and blind.label == votes.label:
                return f"{blind.winner_count} of {blind.m} give the same answer without the image"
            return ""

        return _each(pool, reason)


@dataclass(frozen=True)
class SupervisorGate:
    """The reasoner said at least this often that the image answers the question; no clear verdict is not a yes.

    A share, because one verdict says little: greedily the starter says yes to nearly everything.
    """

    floor: float = 0.5
    name: str = "supervisor"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        def reason(candidate: Candidate) -> str:
            if candidate.supervisor is None:
                raise ValueError(f"question {candidate.question_id!r} carries no verdicts for {self.name}")
            if candidate.supervisor >= self.floor:
                return ""
            return f"{candidate.supervisor:.0%} of the verdicts say that the image answers it, below {self.floor:.0%}"

        return _each(pool, reason)


@dataclass(frozen=True)
class BalanceGate:
    """Caps the share of any answer inside a question family, and of any family inside the pool.

    Without it the pool takes over the answerer's prior (85 % "no" on existence questions made the reasoner
    say no). Each cap keeps as many questions as it can: the largest total T with sum(min(n, cap * T)) >= T.
    The first `allowance` questions of an answer or a family are free, so that small families, in which one
    answer is a large share by arithmetic alone, survive. A family with a single answer shrinks to it.
    """

    answer_cap: float = 0.5
    family_cap: float = 0.35
    allowance: int = 4
    seed: int = 0
    family: Callable[[str], str] = family_of
    name: str = "balance"

    def rejects(self, pool: Sequence[Candidate]) -> Mapping[str, str]:
        reasons: dict[str, str] = {}
        families: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for candidate in sorted(pool, key=lambda c: (_draw(self.seed, c.question_id), c.question_id)):
            votes = _votes(candidate, self.name)
            if votes.winner is None:
                reasons[candidate.question_id] = "no answer to balance"
                continue
            families[self.family(candidate.question)][votes.winner].append(candidate.question_id)
        # Trimming a family can tip its answers over their cap and the other way round; both only remove.
        while True:
            trimmed = self._trim_answers(families) | self._trim_families(families)
            if not trimmed:
                return reasons
            reasons |= trimmed

    def _trim_answers(self, families: dict[str, dict[str, list[str]]]) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for family, answers in families.items():
            limit = self._limit([len(ids) for ids in answers.values()], self.answer_cap)
            for answer, ids in answers.items():
                for question_id in ids[limit:]:
                    reasons[question_id] = f"answer {answer!r} is over {self.answer_cap:.0%} of {family!r}"
                del ids[limit:]
        return reasons

    def _trim_families(self, families: dict[str, dict[str, list[str]]]) -> dict[str, str]:
        reasons: dict[str, str] = {}
        sizes = [sum(len(ids) for ids in answers.values()) for answers in families.values()]
        limit = self._limit(sizes, self.family_cap)
        for (family, answers), size in zip(families.items(), sizes, strict=True):
            for _ in range(size - limit):
                # The most frequent answer gives way first, which evens the family out.
                fullest = max(answers, key=lambda answer: (len(answers[answer]), answer))
                reasons[answers[fullest].pop()] = f"family {family!r} is over {self.family_cap:.0%} of the pool"
        return reasons

    def _limit(self, sizes: Iterable[int], cap: float) -> int:
        """What each class may keep: floor(cap * T) for the largest feasible T, or the allowance."""
        share = _exact(cap)
        counts = list(sizes)
        total = sum(counts)
        while True:
            limit = max(self.allowance, total * share.numerator // share.denominator)
            kept = sum(min(count, limit) for count in counts)
            if kept == total:
                return limit
            total = kept


def _exact(share: float) -> Fraction:
    """The decimal that was written in the configuration, not its nearest binary float."""
    return Fraction(Decimal(repr(float(share))))


def chain(settings: GateSettings, memory: NoveltyMemory, seed: int) -> tuple[Gate, ...]:
    """The gates that the settings ask for: cheap ones first, balance last.

    `memory` holds the questions that earlier rounds kept; `seed` decides who stays where only some can.
    """
    chosen: list[Gate] = [FormatGate()]
    if settings.plausibility_floor is not None:
        chosen.append(PlausibilityGate(settings.plausibility_floor))
    if settings.band is not None:
        chosen.append(BandGate(*settings.band))
    if settings.agreement_floor is not None or settings.agreement_ceiling is not None:
        floor = 0.0 if settings.agreement_floor is None else settings.agreement_floor
        ceiling = 1.0 if settings.agreement_ceiling is None else settings.agreement_ceiling
        chosen.append(BandGate(floor, ceiling, name="agreement"))
    chosen.append(TieGate())  # without a label there is nothing to learn
    if settings.duplicates:
        chosen.append(DuplicateGate(seed=seed))
    if settings.novelty is not None:
        chosen.append(NoveltyGate(memory, settings.novelty))
    if settings.blind:
        chosen.append(BlindGate())
    if settings.supervisor is not None:
        chosen.append(SupervisorGate(settings.supervisor))
    if settings.max_answer_share is not None or settings.max_family_share is not None:
        chosen.append(BalanceGate(settings.max_answer_share or 1.0, settings.max_family_share or 1.0, seed=seed))
    return tuple(chosen)
