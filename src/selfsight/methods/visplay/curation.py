"""Curation: from candidate questions of the new questioner to the pool the reasoner learns from.

Both roles are frozen. Images are taken in pieces until the pool is full or the round's slice of the stream is used
up; every piece is written to disk when it is done, so that a stopped run loses at most one piece. Costly evidence
(votes without the image, the supervisor) is gathered only for candidates that the cheap gates let through.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from selfsight.config import EvaluationSettings, EvolveConfig, config_hash
from selfsight.errors import SelfsightError
from selfsight.evaluate.statistics import wilson_interval
from selfsight.images.source import ImageRef
from selfsight.language.similarity import NoveltyMemory
from selfsight.methods.readings import Readings, advise
from selfsight.methods.visplay import gates as g
from selfsight.methods.visplay.asking import Place, plausibility, propose, supervise, vote, vote_blind
from selfsight.methods.visplay.records import Asked, PoolItem
from selfsight.methods.visplay.roles import Roles
from selfsight.run.hashing import hash_bytes
from selfsight.run.invoked import command
from selfsight.run.seeds import derive

PIECE = 50  # images that are asked about, and written down, at a time

# From an image and a question to a label, where it has one.
Labeller = Callable[[ImageRef, str], str | None]


@dataclass(frozen=True)
class Curated:
    """The outcome: every candidate with its verdict, the counts per gate, and the pool."""

    asked: tuple[Asked, ...]
    verdicts: dict[str, g.Verdict]
    counts: tuple[g.GateCount, ...]
    pool: tuple[PoolItem, ...]

    def rejected_by(self, gate: str) -> list[tuple[str, str]]:
        """The candidates that a gate rejected, each as its reason and the questioner's completion."""
        return [
            (self.verdicts[a.question.id].reason, a.question.completion)
            for a in self.asked
            if self.verdicts[a.question.id].gate == gate
        ]


def pieces(config: EvolveConfig) -> list[tuple[int, int]]:
    """Start and count of the pieces that a round's images are asked about in; none crosses the end of an attempt."""
    size = config.visplay.pool_images
    return [
        (attempt * size + start, min(PIECE, size - start))
        for attempt in range(config.visplay.max_pool_attempts)
        for start in range(0, size, PIECE)
    ]


def candidates_hash(config: EvolveConfig, weights: str) -> str:
    """Names what candidates depend on, so that those of an interrupted run are used again only if nothing of it
    has changed: all settings, except for how many questions are wanted and how the run is measured, and the weights.
    """
    asking = config.visplay.model_copy(update={"min_pool": 1, "questions_per_step": 1, "reasoner_steps": 0})
    asked = config.model_copy(update={"visplay": asking, "evaluation": EvaluationSettings()})
    return hash_bytes(f"{config_hash(asked)} {weights}".encode())[:16]


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
    # With the seed of `decide`: what is kept there must be among what is kept here, or it would lack evidence.
    whole = g.chain(gates, memory, _gate_seed(config, place.round))
    cheap = [gate for gate in whole if gate.name not in ("blind", "supervisor", "balance")]
    through = g.curate([candidate(a) for a in asked], cheap).kept_ids
    left = [a.question for a in asked if a.question.id in through]
    blind = vote_blind(roles, config, left, place) if gates.blind else {}
    judged = supervise(roles, config, left, place) if gates.supervisor is not None else {}
    return [
        Asked(
            a.question, a.votes, a.answers, a.min_logprob,
            blind[a.question.id][0] if a.question.id in blind else None, judged.get(a.question.id),
        )
        for a in asked
    ]  # fmt: skip


def _gate_seed(config: EvolveConfig, round: int) -> int:
    """Decides who stays where only some can."""
    return derive(config.seed, round, "curation")


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


def decide(
    asked: Sequence[Asked], config: EvolveConfig, memory: NoveltyMemory, round: int, label_of: Labeller | None
) -> Curated:
    """Runs the whole chain over all candidates and makes the pool.

    `label_of` replaces the pseudo-label by another one (the labelled control); it decides nothing else, except that a
    question it has no label for leaves the pool, at a gate of its own. Permuted labels (a control, too) change nothing
    but labels.
    """
    gates = g.chain(config.visplay.gates, memory, _gate_seed(config, round))
    curation = g.curate([candidate(a) for a in asked], gates)
    verdicts = {verdict.question_id: verdict for verdict in curation.verdicts}
    counts, pool = list(curation.counts), []
    for a in asked:
        id = a.question.id
        if not verdicts[id].kept or a.votes is None or a.votes.label is None:
            continue
        label = a.votes.label if label_of is None else label_of(a.question.image, a.question.text)
        if label is None:
            verdicts[id] = g.Verdict(id, False, "truth", "the question has no true answer")
        else:
            pool.append(PoolItem(id, a.question.image, a.question.text, label, a.votes.confidence))
    if config.visplay.controls.labels == "permuted":
        pool = permuted(pool, derive(config.seed, round, "permuted labels"))
    if label_of is not None:
        seen = len(curation.kept_ids)
        counts.append(g.GateCount("truth", seen, seen - len(pool)))
    return Curated(tuple(asked), verdicts, tuple(counts), tuple(pool))


def permuted(pool: Sequence[PoolItem], seed: int) -> list[PoolItem]:
    """The pool with its labels permuted among those of one kind (control): every answer as often, about nothing.

    The kinds are those of language/keys.py, so a label still is an answer that the question could have.
    """
    kinds: dict[str, list[int]] = {}
    for place, item in enumerate(pool):
        kind = "yes or no" if item.label in ("yes", "no") else item.label.partition(":")[0]
        kinds.setdefault(kind, []).append(place)
    draw, labels = random.Random(seed), [item.label for item in pool]
    for places in kinds.values():
        for place, other in zip(places, draw.sample(places, len(places)), strict=True):
            labels[place] = pool[other].label
    return [replace(item, label=label) for item, label in zip(pool, labels, strict=True)]


def labeller(config: EvolveConfig) -> Labeller | None:
    """Exact labels for the labelled control, else None: the only door through which truth can reach a run."""
    if config.visplay.controls.labels != "truth":
        return None
    if not config.images.startswith("worlds"):
        raise SelfsightError(
            f"visplay.controls.labels=truth needs images with exact truth, and images is {config.images!r}",
            hint="set images=worlds",
        )
    from selfsight.evaluate.oracle import true_label

    return true_label


def pool_wanted(config: EvolveConfig) -> int:
    """Questions that the reasoner phase needs so that each is seen once."""
    return config.visplay.reasoner_steps * config.visplay.questions_per_step


def pool_needed(config: EvolveConfig) -> int:
    """Questions without which the reasoner phase cannot begin; 0 where it has no steps."""
    if config.visplay.reasoner_steps == 0:
        return 0
    return max(config.visplay.min_pool, config.visplay.questions_per_step)


def cannot_be_filled(curated: Curated, images_left: int, config: EvolveConfig) -> bool:
    """Whether a pool that is still empty could not be filled from the images that are left.

    A questioner whose every question is rejected would otherwise be asked about all images of all attempts. The share
    that is kept could be as high as the upper end of its 99.9 % interval (Wilson's, of 0 kept): a pool that might still
    be filled is tried.
    """
    if curated.pool or not curated.asked:
        return False
    most = wilson_interval(0, len(curated.asked), level=0.999).high
    return most * images_left * config.visplay.questions_per_image < pool_needed(config)


def check_pool(
    pool: Sequence[PoolItem],
    counts: Sequence[g.GateCount],
    config: EvolveConfig,
    round: int,
    rejected_by: Callable[[str], Sequence[tuple[str, str]]] = lambda gate: (),
) -> None:
    """Raises when the pool is too small to train on, with the gate that rejected most, its reason and what to change.

    `rejected_by` gives reason and completion of every candidate that a gate rejected.
    """
    need = pool_needed(config)
    if len(pool) >= need:
        return
    worst = max(counts, key=lambda count: count.rejected)
    rejected = Readings("questions")
    for reason, completion in rejected_by(worst.gate):
        rejected.add(completion, reason or "rejected")
    main = next(iter(rejected.reasons.most_common(1)), None)
    reasons = "" if main is None else f", most often because: {main[0]} ({main[1]})"
    shown = [f"one of them: {text}" for text in rejected.examples()[:1]]
    advice = loosen(worst.gate, main[0] if main else "", config)
    more = []
    if pool:  # without any question kept, more images bring none
        images = -(-config.visplay.pool_images * need // len(pool))
        more.append(f"raise visplay.pool_images to some {images}")
    lower = "lower visplay.min_pool and visplay.questions_per_step"
    again = f"everything up to here is kept, and `{command()} resume` goes on from it"
    raise SelfsightError(
        f"round {round}: the pool holds {len(pool)} questions, and at least {need} are needed; the gate "
        f"{worst.gate!r} rejected {worst.rejected} of {worst.seen}{reasons}",
        hint="; ".join([*shown, advice, *more, *([lower] if pool else []), again]),
    )


def loosen(gate: str, reason: str, config: EvolveConfig) -> str:
    """What lets more candidates through a gate; for one that is always on, what makes the candidates better."""
    gates = config.visplay.gates
    if gate == "format":
        return advise("questions", reason, config)
    if gate == "tie":
        return (
            "the answers to a question agree too little for a label: raise visplay.num_votes, or look at their answers "
            "in votes.parquet"
        )
    ways = {
        "plausibility": f"lower visplay.gates.plausibility_floor (now {gates.plausibility_floor}) or set it to null",
        "band": f"widen visplay.gates.band (now {list(gates.band or ())})",
        "agreement": f"widen visplay.gates.agreement_floor and agreement_ceiling (now {gates.agreement_floor} and "
        f"{gates.agreement_ceiling})",
        "duplicates": "set visplay.gates.duplicates=false",
        "novelty": f"raise visplay.gates.novelty (now {gates.novelty}) or set it to null",
        "blind": "set visplay.gates.blind=false",
        "supervisor": f"lower visplay.gates.supervisor (now {gates.supervisor}) or set it to null",
        "balance": f"raise visplay.gates.max_answer_share and max_family_share (now {gates.max_answer_share} and "
        f"{gates.max_family_share})",
        "truth": "no true answer is known to these questions: start a new run without visplay.controls.labels=truth",
    }
    return ways[gate]
