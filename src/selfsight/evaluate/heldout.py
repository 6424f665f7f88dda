"""The built-in evaluator: a reasoner on held-out worlds, scored by exact truth with the same keys that training uses.

Greedy, sampled (T = 1) and majority-of-m accuracy, the share of answers without a readable box, and all of it per
family. The questions are in questions.py, what is kept of the answers in answers.py.
"""

from collections.abc import Callable, Sequence

import numpy as np

from selfsight.evaluate.answers import Answered, summarise
from selfsight.evaluate.named import resolve_model
from selfsight.evaluate.questions import ANSWER_LENGTHS, PICTURE_SIZES, HeldOutQuestion, heldout_questions
from selfsight.evaluate.statistics import METHOD
from selfsight.images.worlds import WorldSource
from selfsight.language import count_votes
from selfsight.language.prompts import PromptPack, get_pack, taught_pack
from selfsight.policy import ModelOptions, Policy, Rollout, SampleRequest, Sampling
from selfsight.policy.device import choose_device
from selfsight.policy.open import model_folder
from selfsight.run.seeds import derive


def evaluate_model(
    model: str,
    *,
    questions: int,
    seed: int,
    world: str = "mixed",
    picture_size: int | None = None,
    num_samples: int = 8,
    batch_size: int = 64,
    max_completion_length: int | None = None,
) -> dict[str, object]:
    """Measures a model (see `named`) on held-out worlds: {"model", "world", "picture_size", "heldout": summary}.

    `picture_size` in pixels and `max_completion_length` in tokens are those of `PICTURE_SIZES` and `ANSWER_LENGTHS` for
    the pack that the model was taught, where they are not given.
    """
    named = resolve_model(model)
    folder = model_folder(named.model, named.revision)
    pack = get_pack(taught_pack(folder))
    if max_completion_length is None:
        max_completion_length = ANSWER_LENGTHS[pack.name]
    if picture_size is None:
        picture_size = PICTURE_SIZES[pack.name]
    options = ModelOptions(device=choose_device("auto"))
    answered = answer_questions(
        Policy.load("model", folder, open_image=WorldSource.open_any, options=options),
        pack,
        heldout_questions(questions, seed=seed, size=picture_size, world=world),
        num_samples=num_samples,
        seed=seed,
        batch_size=batch_size,
        max_completion_length=max_completion_length,
    )
    about: dict[str, object] = {"seed": seed, "world": world, "picture_size": picture_size}
    return {
        "model": model,
        "opened": named.model,
        "prompt_pack": pack.name,
        **about,
        "intervals": METHOD,
        "heldout": summarise(answered),
    }


def answer_questions(
    policy: Policy,
    pack: PromptPack,
    questions: Sequence[HeldOutQuestion],
    *,
    num_samples: int,
    seed: int,
    batch_size: int,
    max_completion_length: int,
    seen: Callable[[Rollout], None] = lambda rollout: None,
) -> list[Answered]:
    """Greedy and sampled answers to every question, scored. Sampled at temperature 1; `seen` gets every sample."""
    results: list[Answered] = []
    greedy = Sampling(greedy=True, max_completion_length=max_completion_length)
    sampled = Sampling(max_completion_length=max_completion_length)
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        prompts = {q.id: pack.reasoner(q.image, q.question) for q in batch}
        seeds = {q.id: derive(seed, "evaluate", q.id) for q in batch}
        one = policy.sample([SampleRequest(q.id, prompts[q.id], 1, seeds[q.id]) for q in batch], greedy)
        many = policy.sample([SampleRequest(q.id, prompts[q.id], num_samples, seeds[q.id]) for q in batch], sampled)
        for q in batch:
            for rollout in many[q.id]:
                seen(rollout)
            greedy_rollout = one[q.id][0]
            first = pack.read_key(greedy_rollout, q.question)
            keys = [pack.read_key(rollout, q.question) for rollout in many[q.id]]
            results.append(
                Answered(
                    id=q.id,
                    family=q.family,
                    image_id=q.image.id,
                    question=q.question,
                    key=q.key,
                    greedy=float(first == q.key),
                    sampled=float(np.mean([key == q.key for key in keys])),
                    majority=majority_credit(keys, q.key),
                    greedy_format_failure=float(first is None),
                    sampled_format_failure=float(np.mean([key is None for key in keys])),
                    greedy_text=greedy_rollout.text,
                    sampled_keys=tuple(key or "" for key in keys),
                )
            )
    return results


def majority_credit(keys: Sequence[str | None], truth: str) -> float:
    """1 when the most frequent answer is right; a tie that holds the right answer is shared, as a random pick would."""
    counts = count_votes(keys).counts
    most = max(counts.values(), default=0)
    tied = [key for key, count in counts.items() if count == most]
    return float(truth in tied) / len(tied) if tied else 0.0
