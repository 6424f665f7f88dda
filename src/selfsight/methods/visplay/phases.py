"""One step of each phase: rollouts in, groups with rewards out.

questioner step   images -> questions -> votes -> rewards -> groups of questions   (VisPlay, section 3.2)
reasoner step     pool questions -> answers -> 1[key = label] -> groups of answers (section 3.3)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfsight.config import EvolveConfig
from selfsight.images.source import ImageRef
from selfsight.language.similarity import NoveltyMemory, family_of
from selfsight.methods.readings import why_no_answer
from selfsight.methods.visplay.asking import Place, answer_sampling, plausibility, propose, vote
from selfsight.methods.visplay.records import Asked, PoolItem, question_row, vote_rows
from selfsight.methods.visplay.rewards import answer_rewards, question_rewards, random_answer_rewards
from selfsight.methods.visplay.roles import Roles
from selfsight.policy import Group, SampleRequest
from selfsight.run.seeds import derive


@dataclass(frozen=True)
class QuestionerBatch:
    """Groups to learn from, rows of what was asked and of the answers that voted, and the step's own measurements.

    `questions` and `answers` are all completions, each with the reason why it could not be read, or "".
    """

    groups: list[Group]
    rows: list[dict[str, object]]
    votes: list[dict[str, object]]
    metrics: dict[str, object]
    questions: tuple[tuple[str, str], ...] = ()
    answers: tuple[tuple[str, str], ...] = ()


def questioner_batch(
    roles: Roles, config: EvolveConfig, images: Sequence[ImageRef], place: Place, memory: NoveltyMemory
) -> QuestionerBatch:
    """One batch of the questioner phase.

    With the gates `plausibility` and `novelty` a question they would reject counts as invalid here too and earns 0:
    otherwise the questioner is paid for what curation throws away. A step whose images all turned out bad is empty.
    """
    if not images:
        return QuestionerBatch([], [], [], {"images": 0})
    gates, size = config.visplay.gates, config.grpo.num_generations
    proposed = propose(roles, config, images, size, place)
    valid = [pair for pairs in proposed.values() for pair in pairs if pair[0].valid]
    scores = plausibility(roles, valid) if gates.plausibility_floor is not None else {}
    refused: dict[str, str] = {}
    for question, _ in valid:
        if gates.plausibility_floor is not None and scores[question.id] < gates.plausibility_floor:
            refused[question.id] = "plausibility"
        elif gates.novelty is not None and memory.share(question.text) > gates.novelty:
            refused[question.id] = "novelty"
    answered: list[tuple[str, str]] = []
    votes = vote(
        roles, config, [q for q, _ in valid if q.id not in refused], place,
        seen=lambda rollout: answered.append((rollout.text, why_no_answer(roles.pack, rollout))),
    )  # fmt: skip
    groups, rows, confidences, rewards_all = [], [], [], []
    answers_given: list[dict[str, object]] = []
    for image in images:
        pairs = proposed[image.id]
        rewards = question_rewards(
            [q.valid and q.id not in refused for q, _ in pairs],
            [votes[q.id][0] if q.id in votes else None for q, _ in pairs],
            [q.text for q, _ in pairs],
            config.visplay.diversity_weight,
        )
        groups.append(
            Group(
                roles.pack.questioner(image),
                tuple(rollout for _, rollout in pairs),
                np.array([r.reward for r in rewards]),
            )
        )
        for (question, _), reward in zip(pairs, rewards, strict=True):
            vote_on, answers = votes.get(question.id, (None, ()))
            asked = Asked(question, vote_on, answers, scores.get(question.id))
            rows.append(
                question_row(
                    asked, phase="questioner", step=place.step, cluster=reward.cluster, r_unc=reward.r_unc,
                    r_div=reward.r_div, reward=reward.reward, gate=refused.get(question.id),
                )
            )  # fmt: skip
            answers_given += vote_rows(asked)
            rewards_all.append(reward.reward)
            if question.id in votes:
                confidences.append(votes[question.id][0].confidence)
    families = Counter(family_of(q.text) for q, _ in valid)
    metrics: dict[str, object] = {
        "images": len(images),
        "reward": float(np.mean(rewards_all)),
        "confidence": float(np.mean(confidences)) if confidences else 0.0,
        "valid": len(valid) / len(rewards_all),
        "refused": len(refused) / len(rewards_all),
        "families": dict(families.most_common(8)),
        "sampled_tokens": sum(len(r.token_ids) for pairs in proposed.values() for _, r in pairs),
    }
    read = tuple((q.completion, q.reason) for pairs in proposed.values() for q, _ in pairs)
    return QuestionerBatch(groups, rows, answers_given, metrics, read, tuple(answered))


@dataclass(frozen=True)
class ReasonerBatch:
    """Groups to learn from and the step's own measurements; `answers` as in a `QuestionerBatch`."""

    groups: list[Group]
    metrics: dict[str, object]
    answers: tuple[tuple[str, str], ...] = ()


def reasoner_batch(roles: Roles, config: EvolveConfig, items: Sequence[PoolItem], place: Place) -> ReasonerBatch:
    """One batch of the reasoner phase: G answers to each question, rewarded by its label."""
    if not items:
        return ReasonerBatch([], {"questions": 0})
    size = config.grpo.num_generations
    requests = [
        SampleRequest(
            item.question_id,
            roles.pack.reasoner(roles.shown(item.image), item.question),
            size,
            place.seed(config.seed, "reasoner", item.question_id),
        )
        for item in items
    ]
    answered = roles.reasoner.sample(requests, answer_sampling(config))
    groups, failures, lengths, means = [], [], [], []
    read: list[tuple[str, str]] = []
    for item, request in zip(items, requests, strict=True):
        rollouts = answered[item.question_id]
        keys = [roles.pack.read_key(rollout, item.question) for rollout in rollouts]
        if config.visplay.controls.reward == "random":
            rewards = random_answer_rewards(size, derive(config.seed, place.round, place.step, item.question_id))
        else:
            rewards = answer_rewards(keys, item.label)
        groups.append(Group(request.prompt, tuple(rollouts), np.array(rewards)))
        means.append(np.mean(rewards))
        failures += [key is None for key in keys]
        read += [(rollout.text, why_no_answer(roles.pack, rollout)) for rollout in rollouts]
        lengths += [len(rollout.token_ids) for rollout in rollouts]
    metrics: dict[str, object] = {
        "questions": len(items),
        "reward": float(np.mean(means)),
        "confidence": float(np.mean([item.confidence for item in items])),
        "format_failures": float(np.mean(failures)),
        "length": float(np.mean(lengths)),
        "sampled_tokens": int(sum(lengths)),
    }
    return ReasonerBatch(groups, metrics, tuple(read))
