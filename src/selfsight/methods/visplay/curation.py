"""Curation: from candidate questions of the new questioner to the pool the reasoner learns from.

Both roles are frozen. Images are taken in pieces until the pool is full or the round's slice of the stream is used
up; every piece is written to disk when it is done, so that a stopped run loses at most one piece. Costly evidence
(votes without the image, the supervisor) is gathered only for candidates that the cheap gates let through.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selfsight.config import EvolveConfig, GateSettings
from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language.similarity import NoveltyMemory
from selfsight.methods.visplay import gates as g
from selfsight.methods.visplay.asking import Place, Roles, plausibility, propose, supervise, vote, vote_blind
from selfsight.methods.visplay.records import Asked, PoolItem
from selfsight.run.seeds import derive

Labeller = Callable[[ImageRef, str], str | None]


@dataclass(frozen=True)
class Curated:
    """The outcome: every candidate with its verdict, the counts per gate, and the pool."""

    asked: tuple[Asked, ...]
    verdicts: dict[str, g.Verdict]
    counts: tuple[g.GateCount, ...]
    pool: tuple[PoolItem, ...]


def ask_candidates(
    roles: Roles, config: EvolveConfig, images: Sequence[ImageRef], place: Place, memory: NoveltyMemory
) -> list[Asked]:
    """Candidates about some images with votes and all the evidence that the gates will ask for."""
    gates = config.visplay.gates
    proposed = [
        pair
        for pairs in propose(roles, config, images, config.visplay.questions_per_image, place).values()
        for pair in pairs
    ]
    valid = [(question, rollout) for question, rollout in proposed if question.valid]
    scores = plausibility(roles, valid) if gates.plausibility_floor is not None else {}
    # Nothing is asked about a question that the base model finds implausible.
    floor = gates.plausibility_floor
    worth = [q for q, _ in valid if floor is None or scores[q.id] >= floor]
    votes = vote(roles, config, worth, place)
    asked = []
    for q, _ in proposed:
        found, answers = votes.get(q.id, (None, ()))
        asked.append(Asked(q, found, answers, scores.get(q.id)))
    cheap = [gate for gate in chain(gates, memory, 0) if gate.name not in ("blind", "supervisor", "balance")]
    through = g.curate([candidate(a) for a in asked], cheap).kept_ids
    left = [a.question for a in asked if a.question.id in through]
    blind = vote_blind(roles, config, left, place) if gates.blind else {}
    judged = supervise(roles, config, left, place) if gates.supervisor else {}
    return [
        Asked(
            a.question, a.votes, a.answers, a.min_logprob,
            blind[a.question.id][0] if a.question.id in blind else None, judged.get(a.question.id),
        )
        for a in asked
    ]  # fmt: skip


def candidate(asked: Asked) -> g.Candidate:
    """What the gates see of a question: the model's own output, never the truth."""
    question = asked.question
    return g.Candidate(
        question_id=question.id,
        image_id=question.image.id,
        question=question.text,
        valid=question.valid,
        votes=asked.votes,
        min_logprob=asked.min_logprob,
        blind=asked.blind,
        supervisor=asked.supervisor,
        invalid_reason=question.reason,
    )


def chain(gates: GateSettings, memory: NoveltyMemory, seed: int) -> tuple[g.Gate, ...]:
    """The gates that the settings ask for, cheap ones first, balance last."""
    chosen: list[g.Gate] = [g.FormatGate()]
    if gates.plausibility_floor is not None:
        chosen.append(g.PlausibilityGate(gates.plausibility_floor))
    if gates.band is not None:
        chosen.append(g.BandGate(*gates.band))
    if gates.agreement_floor is not None or gates.agreement_ceiling is not None:
        floor = 0.0 if gates.agreement_floor is None else gates.agreement_floor
        ceiling = 1.0 if gates.agreement_ceiling is None else gates.agreement_ceiling
        chosen.append(g.BandGate(floor, ceiling, name="agreement"))
    chosen.append(g.TieGate())
    if gates.duplicates:
        chosen.append(g.DuplicateGate(seed=seed))
    if gates.novelty is not None:
        chosen.append(g.NoveltyGate(memory, gates.novelty))
    if gates.blind:
        chosen.append(g.BlindGate())
    if gates.supervisor:
        chosen.append(g.SupervisorGate())
    if gates.max_answer_share is not None or gates.max_family_share is not None:
        chosen.append(g.BalanceGate(gates.max_answer_share or 1.0, gates.max_family_share or 1.0, seed=seed))
    return tuple(chosen)


def decide(
    asked: Sequence[Asked], config: EvolveConfig, memory: NoveltyMemory, round: int, labeller: Labeller | None
) -> Curated:
    """Runs the whole chain over all candidates and makes the pool.

    `labeller` replaces the pseudo-label by another one (the labelled control); it decides nothing else, except that a
    question it has no label for leaves the pool.
    """
    gates = chain(config.visplay.gates, memory, derive(config.seed, round, "curation"))
    curation = g.curate([candidate(a) for a in asked], gates)
    verdicts = {verdict.question_id: verdict for verdict in curation.verdicts}
    pool = []
    for a in asked:
        if not verdicts[a.question.id].kept or a.votes is None or a.votes.label is None:
            continue
        label = a.votes.label if labeller is None else labeller(a.question.image, a.question.text)
        if label is not None:
            pool.append(PoolItem(a.question.id, a.question.image, a.question.text, label, a.votes.confidence))
    return Curated(tuple(asked), verdicts, curation.counts, tuple(pool))


def pool_wanted(config: EvolveConfig) -> int:
    """Questions that the reasoner phase needs so that each is seen once."""
    return config.visplay.reasoner_steps * config.visplay.questions_per_step


def check_pool(pool: Sequence[PoolItem], counts: Sequence[g.GateCount], config: EvolveConfig, round: int) -> None:
    """Raises when the pool is too small to train on, with the gate that emptied it."""
    need = max(config.visplay.min_pool, config.visplay.questions_per_step)
    if len(pool) >= need:
        return
    worst = max(counts, key=lambda count: count.rejected)
    raise SelfsightError(
        f"round {round}: the pool holds {len(pool)} questions, and at least {need} are needed; the gate "
        f"{worst.gate!r} rejected {worst.rejected} of {worst.seen}",
        hint="raise visplay.pool_images, loosen that gate (visplay.gates), or lower visplay.min_pool and "
        "visplay.questions_per_step; everything up to here is kept, and `selfsight resume` goes on from it",
    )
