"""What the candidates of a curation say: are they worded alike, were they asked before, does one answer fit them all?

Candidates, not the pool: the gates take from a collapsing questioner what is worst, and the pool looks well for longer.
Every figure is about readable questions. Clusters are those of the diversity reward (sentence BLEU, average linkage,
0.5), because equal strings alone do not see a template that fills a batch. They cost the cube of their number, so they
are taken of `SAMPLE` questions, evenly spread over the round.

Left out: near-duplicates of earlier rounds (`NoveltyMemory`). In worlds three quarters of a healthy second round's
questions have one; only wordings that are wholly used up are a sign.
"""

import math
from collections import Counter
from collections.abc import Sequence

from selfsight.language import diversity_clusters, family_of
from selfsight.language.similarity import normal_wording
from selfsight.methods.alarms.rules import Reading
from selfsight.methods.visplay.records import Asked

SAMPLE = 128
LONGEST = 200  # characters of an example
FEWEST = 16  # questions, or answers, below which a share says nothing


def question_readings(
    asked: Sequence[Asked], earlier: Sequence[Sequence[str]], *, blind_gate: bool
) -> tuple[Reading, ...]:
    """Readings of a round's candidates; `earlier` are the readable questions of each earlier round of questions.

    `blind_gate` says whether candidates were answered without the image at all.
    """
    texts = [one.question.text for one in asked if one.question.valid]
    return (
        unreadable_questions(asked),
        largest_cluster(texts),
        family_entropy(texts, earlier[0] if earlier else None),
        novelty(texts, earlier),
        answer_prior("answers to candidates", [key for a in asked if a.votes is not None for key in a.votes.keys]),
        blind_answers(asked, blind_gate=blind_gate),
    )


def unreadable_questions(asked: Sequence[Asked]) -> Reading:
    """The share of candidates that are no question."""
    if len(asked) < FEWEST:
        return _too_few("format_failures", len(asked), "candidates", who="questions")
    unreadable = sum(not one.question.valid for one in asked)
    return Reading("format_failures", "questions", unreadable / len(asked), evidence={"candidates": len(asked)})


def largest_cluster(texts: Sequence[str]) -> Reading:
    """The share of the largest cluster of alike questions, with one of its questions."""
    if len(texts) < FEWEST:
        return _too_few("question_cluster", len(texts), "readable questions")
    sample = spread(texts, SAMPLE)
    clusters = diversity_clusters(sample)
    largest, size = max(Counter(clusters).items(), key=lambda item: (item[1], -item[0]))
    example = sample[clusters.index(largest)]
    evidence = {"questions": len(sample), "clusters": len(set(clusters)), "example": example[:LONGEST]}
    return Reading("question_cluster", value=size / len(sample), evidence=evidence)


def family_entropy(texts: Sequence[str], first: Sequence[str] | None) -> Reading:
    """Entropy of the opening templates over that of the first round's, both of as many questions.

    The entropy of few questions is estimated too low, hence equal numbers.
    """
    if first is None:
        return Reading("family_entropy", why="no earlier round of questions to compare with")
    count = min(len(texts), len(first))
    if count < FEWEST:
        return _too_few("family_entropy", count, "readable questions")
    now, then = (Counter(family_of(text) for text in spread(own, count)) for own in (texts, first))
    before = entropy(then)
    if before == 0.0:
        return Reading("family_entropy", why="the first round of questions had one opening template only")
    most, size = max(now.items(), key=lambda item: (item[1], item[0]))
    evidence = {"entropy": entropy(now), "first": before, "templates": len(now), "largest": most, "share": size / count}
    return Reading("family_entropy", value=entropy(now) / before, evidence=evidence)


def novelty(texts: Sequence[str], earlier: Sequence[Sequence[str]]) -> Reading:
    """The share of questions whose wording, case and punctuation aside, no earlier round has asked."""
    if not earlier:
        return Reading("novelty", why="no earlier round of questions to compare with")
    if len(texts) < FEWEST:
        return _too_few("novelty", len(texts), "readable questions")
    seen = {normal_wording(text) for round in earlier for text in round}
    wordings = [normal_wording(text) for text in texts]
    evidence = {"questions": len(wordings), "different": len(set(wordings))}
    return Reading("novelty", value=sum(one not in seen for one in wordings) / len(wordings), evidence=evidence)


def answer_prior(who: str, keys: Sequence[str | None]) -> Reading:
    """The share of the most frequent answer among those that could be read."""
    counts = Counter(key for key in keys if key is not None)
    total = sum(counts.values())
    if total < FEWEST:
        return _too_few("answer_prior", total, "readable answers", who=who)
    answer, count = max(counts.items(), key=lambda item: (item[1], item[0]))
    evidence = {"answers": total, "different": len(counts), "answer": answer}
    return Reading("answer_prior", who, count / total, evidence=evidence)


def blind_answers(asked: Sequence[Asked], *, blind_gate: bool) -> Reading:
    """The share of questions whose majority is the same without the image, of those that were asked both ways."""
    if not blind_gate:
        return Reading("blind_answers", why="nobody was asked without the image (visplay.gates.blind=true does that)")
    pairs = [(a.votes.label, a.blind.label) for a in asked if a.votes is not None and a.blind is not None]
    if len(pairs) < FEWEST:
        return _too_few("blind_answers", len(pairs), "questions asked with and without the image")
    same = sum(seeing is not None and seeing == blind for seeing, blind in pairs)
    return Reading("blind_answers", value=same / len(pairs), evidence={"questions": len(pairs)})


def entropy(counts: Counter[str]) -> float:
    """In nats."""
    total = sum(counts.values())
    return -math.fsum(count / total * math.log(count / total) for count in counts.values())


def spread(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of the texts, evenly spread over them."""
    count = min(count, len(texts))
    return [texts[place * len(texts) // count] for place in range(count)]


def _too_few(alarm: str, count: int, what: str, who: str = "") -> Reading:
    return Reading(alarm, who, why=f"{count} {what}, and a share of fewer than {FEWEST} says nothing")
