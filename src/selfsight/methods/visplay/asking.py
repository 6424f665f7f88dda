"""Questions from the questioner, votes from the reasoner: what the questioner phase and curation both need.

Every request's seed is derived from its place (round, phase, step, image, role), so that a result depends neither on
the order nor on the size of batches, and a resumed run draws what an undisturbed one would have drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from selfsight.config import EvolveConfig
from selfsight.images.source import ImageRef
from selfsight.language.prompts import Prompt
from selfsight.language.votes import Votes, count_votes
from selfsight.methods.visplay.records import Question
from selfsight.methods.visplay.roles import Roles
from selfsight.policy import Rollout, SampleRequest, Sampling
from selfsight.run.seeds import derive


@dataclass(frozen=True)
class Place:
    """Where in the run something is drawn: seeds and ids follow from it."""

    round: int
    phase: str
    step: int

    def seed(self, seed: int, *path: str) -> int:
        """A seed that belongs to this place and path alone."""
        return derive(seed, self.round, self.phase, self.step, *path)

    def id(self, *path: object) -> str:
        """An id that belongs to this place and path alone."""
        return "/".join(map(str, (f"r{self.round}", self.phase, self.step, *path)))


def propose(
    roles: Roles, config: EvolveConfig, images: Sequence[ImageRef], n: int, place: Place
) -> dict[str, list[tuple[Question, Rollout]]]:
    """`n` completions of the questioner per image, read; by image id."""
    requests = [
        SampleRequest(image.id, roles.pack.questioner(image), n, place.seed(config.seed, "questioner", image.id))
        for image in images
    ]
    rollouts = roles.questioner.sample(requests, question_sampling(config))
    proposed: dict[str, list[tuple[Question, Rollout]]] = {}
    for image in images:
        proposed[image.id] = []
        for rollout in rollouts[image.id]:
            reading = roles.pack.read_question(rollout.text)
            ok = reading.ok and rollout.finished
            reason = reading.reason if rollout.finished else "cut off at max_question_length"
            question = Question(
                place.id(image.id, rollout.index), image, reading.text if ok else "", ok, "" if ok else reason,
                rollout.text,
            )  # fmt: skip
            proposed[image.id].append((question, rollout))
    return proposed


def question_sampling(config: EvolveConfig) -> Sampling:
    """How questions are drawn."""
    return Sampling(temperature=config.grpo.temperature, max_completion_length=config.visplay.max_question_length)


def answer_sampling(config: EvolveConfig) -> Sampling:
    """How answers are drawn."""
    return Sampling(temperature=config.grpo.temperature, max_completion_length=config.visplay.max_answer_length)


def vote(
    roles: Roles,
    config: EvolveConfig,
    questions: Sequence[Question],
    place: Place,
    seen: Callable[[Rollout], None] = lambda rollout: None,
) -> dict[str, tuple[Votes, tuple[str, ...]]]:
    """The reasoner's `num_votes` answers to each question, with their texts; by question id. `seen` gets each."""
    prompts = {q.id: roles.pack.reasoner(roles.shown(q.image), q.text) for q in questions}
    return _answers(roles, config, questions, prompts, place, "votes", seen)


def vote_blind(
    roles: Roles, config: EvolveConfig, questions: Sequence[Question], place: Place
) -> dict[str, tuple[Votes, tuple[str, ...]]]:
    """The same without the image: what can be guessed from the words alone."""
    prompts = {q.id: roles.pack.blind(q.text) for q in questions}
    return _answers(roles, config, questions, prompts, place, "blind")


def _answers(
    roles: Roles,
    config: EvolveConfig,
    questions: Sequence[Question],
    prompts: Mapping[str, Prompt],
    place: Place,
    role: str,
    seen: Callable[[Rollout], None] = lambda rollout: None,
) -> dict[str, tuple[Votes, tuple[str, ...]]]:
    requests = [
        SampleRequest(id, prompt, config.visplay.num_votes, place.seed(config.seed, role, id))
        for id, prompt in prompts.items()
    ]
    answered = roles.reasoner.sample(requests, answer_sampling(config)) if requests else {}
    for rollouts in answered.values():
        for rollout in rollouts:
            seen(rollout)
    asked = {q.id: q.text for q in questions}  # what a question names adds nothing to its answers
    return {
        id: (
            count_votes([roles.pack.read_key(rollout, asked[id]) for rollout in rollouts]),
            tuple(rollout.text for rollout in rollouts),
        )
        for id, rollouts in answered.items()
    }


def supervise(roles: Roles, config: EvolveConfig, questions: Sequence[Question], place: Place) -> dict[str, float]:
    """How often the reasoner itself says that a question can be answered, of `num_votes` times; an unreadable verdict
    is not a yes.
    """
    requests = [
        SampleRequest(
            q.id,
            roles.pack.supervisor(roles.shown(q.image), q.text),
            config.visplay.num_votes,
            place.seed(config.seed, "supervisor", q.id),
        )
        for q in questions
    ]
    verdicts = roles.reasoner.sample(requests, answer_sampling(config)) if requests else {}
    return {
        id: sum(roles.pack.read_verdict(rollout.text) is True for rollout in rollouts) / len(rollouts)
        for id, rollouts in verdicts.items()
    }


def plausibility(roles: Roles, proposed: Sequence[tuple[Question, Rollout]]) -> dict[str, float]:
    """Log-prob of the least likely token of each question under the base questioner, its end included.

    What stands before and after the question does not count: in hundreds of tokens one is always improbable.
    """
    if not proposed:
        return {}
    pairs = [(roles.pack.questioner(question.image), rollout.token_ids) for question, rollout in proposed]
    # An untrained questioner is the base itself.
    scores = roles.questioner.logprobs(pairs, reference="anchor" if roles.questioner.trainable else None)
    least = {}
    for (question, rollout), score in zip(proposed, scores, strict=True):
        start, end = roles.pack.question_span(rollout.text)
        first = roles.questioner.token_at(rollout, start) if start else 0
        # A question that ends the text keeps the token that ends the completion.
        last = roles.questioner.token_at(rollout, end - 1) + 1 if end < len(rollout.text) else len(score)
        least[question.id] = float(score[first:last].min())
    return least
