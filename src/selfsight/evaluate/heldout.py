"""The built-in evaluator: a reasoner on held-out worlds, scored by exact truth with the same keys that training uses.

Greedy, sampled (T = 1) and majority-of-m accuracy, the share of answers without a readable box, and all of it per
family. Questions come in equal numbers per family from a split of the worlds that training never draws. Every
answer is kept per question, so that two models are compared pairwise.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from selfsight.errors import SelfsightError
from selfsight.evaluate.statistics import Interval, mean_interval, paired_interval
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.ask import ask, families_for
from selfsight.images.worlds.grammar import FAMILIES, say
from selfsight.images.worlds.source import WORLDS
from selfsight.images.worlds.truth import scene_of
from selfsight.language import answer_key, count_votes
from selfsight.language.prompts import PromptPack, get_pack
from selfsight.policy import ModelOptions, Policy, SampleRequest, Sampling
from selfsight.policy.open import model_folder, taught_pack
from selfsight.run.seeds import derive

# Side in pixels of the held-out pictures by prompt pack, where none is given. The compact pack is the starter's, which
# has seen nothing but 112. Other models were trained on photographs: a drawing of 112 pixels would test their eyes,
# not their answers, and 448 is a whole number of patches for those of 14 and of 16 pixels.
PICTURE_SIZES = {"compact": 112, "full": 448}


@dataclass(frozen=True)
class HeldOutQuestion:
    """A question with its exact answer key."""

    id: str
    image: ImageRef
    question: str
    family: str
    key: str


@dataclass(frozen=True)
class Answered:
    """How a model did on one question: greedy right or wrong, share of right samples, credit of the majority.

    `sampled_keys` are the answer keys of the samples, empty for an abstention, so that everything can be scored again.
    """

    id: str
    family: str
    image_id: str
    question: str
    key: str
    greedy: float
    sampled: float
    majority: float
    greedy_format_failure: float
    sampled_format_failure: float
    greedy_text: str
    sampled_keys: tuple[str, ...]


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
    """Measures `starter` or a model folder on held-out worlds: {"model", "world", "picture_size", "heldout": summary}.

    `picture_size` in pixels is that of `PICTURE_SIZES`, and `max_completion_length` 64 tokens for a model that was
    taught the compact pack and 1024 for others, where they are not given.
    """
    folder = model_folder(model)
    pack = get_pack(taught_pack(folder))
    if max_completion_length is None:
        max_completion_length = 64 if pack.name == "compact" else 1024
    if picture_size is None:
        picture_size = PICTURE_SIZES[pack.name]
    options = ModelOptions(device="cuda" if torch.cuda.is_available() else "cpu")
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
    return {"model": model, "prompt_pack": pack.name, **about, "heldout": summarise(answered)}


def heldout_questions(
    count: int, *, seed: int, size: int = 112, world: str = "mixed", split: str = "heldout"
) -> list[HeldOutQuestion]:
    """`count` questions, the families in turn, each about its own picture of the held-out split."""
    if world not in WORLDS:
        raise SelfsightError(f"there is no world named {world!r}", hint=f"choose one of: {', '.join(WORLDS)}")
    families = families_of_world(world)
    source = WorldSource(world, seed=seed, size=size, split=split)
    questions: list[HeldOutQuestion] = []
    wanted = [families[i % len(families)] for i in range(count)]
    index = 0
    while wanted:
        (ref,) = source.take(index, 1)
        index += 1
        picture = scene_of(ref)
        family = next((f for f in wanted if f in families_for(picture)), None)
        if family is None:
            continue
        rng = np.random.default_rng(derive(seed, split, "question", ref.id))
        asked = ask(picture, family, rng)
        if asked is None:
            continue
        key = answer_key(asked[1])
        assert key is not None, f"the key reader must know the answer {asked[1]!r}"
        wanted.remove(family)
        questions.append(HeldOutQuestion(f"h-{ref.id}", ref, say(asked[0], rng), family, key))
    return questions


def families_of_world(world: str) -> tuple[str, ...]:
    """The families that a world's pictures can be asked about."""
    if world == "mixed":
        return FAMILIES
    return tuple(f for f in FAMILIES if f.startswith("chart_") == (world == "charts"))


def answer_questions(
    policy: Policy,
    pack: PromptPack,
    questions: Sequence[HeldOutQuestion],
    *,
    num_samples: int,
    seed: int,
    batch_size: int,
    max_completion_length: int,
) -> list[Answered]:
    """Greedy and sampled answers to every question, scored. Sampled at temperature 1."""
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
            greedy_rollout = one[q.id][0]
            first = pack.read_key(greedy_rollout)
            keys = [pack.read_key(rollout) for rollout in many[q.id]]
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


def summarise(answered: Sequence[Answered], *, seed: int = 0) -> dict[str, object]:
    """Accuracies in [0, 1] with 95 % bootstrap intervals, format failures, and greedy accuracy per family."""

    def column(name: str) -> np.ndarray:
        return np.array([getattr(a, name) for a in answered])

    families = sorted({a.family for a in answered})
    greedy, sampled = mean_interval(column("greedy"), seed=seed), mean_interval(column("sampled"), seed=seed)
    majority = mean_interval(column("majority"), seed=seed)
    return {
        "accuracy": greedy.mean,
        "ci95": [greedy.low, greedy.high],
        "n": len(answered),
        "sampled": sampled.mean,
        "sampled_ci95": [sampled.low, sampled.high],
        "majority": majority.mean,
        "majority_ci95": [majority.low, majority.high],
        "format_failures": float(column("greedy_format_failure").mean()),
        "sampled_format_failures": float(column("sampled_format_failure").mean()),
        "families": {
            family: {"n": sum(a.family == family for a in answered)}
            | {
                name: float(np.mean([getattr(a, name) for a in answered if a.family == family]))
                for name in ("greedy", "sampled", "majority")
            }
            for family in families
        },
    }


def compare(before: Sequence[Answered], after: Sequence[Answered], *, seed: int = 0) -> dict[str, object]:
    """Paired change from one model to another on the same questions, with 95 % bootstrap intervals."""
    if [(a.id, a.question, a.key) for a in before] != [(a.id, a.question, a.key) for a in after]:
        raise SelfsightError(
            "the two evaluations are not about the same questions",
            hint="evaluate both models with the same number of questions and the same seed",
        )

    def change(name: str) -> Interval:
        return paired_interval(
            np.array([getattr(a, name) for a in before]),
            np.array([getattr(a, name) for a in after]),
            seed=seed,
        )

    greedy, sampled, majority = change("greedy"), change("sampled"), change("majority")
    return {
        "accuracy": greedy.mean,
        "ci95": [greedy.low, greedy.high],
        "sampled": sampled.mean,
        "sampled_ci95": [sampled.low, sampled.high],
        "majority": majority.mean,
        "majority_ci95": [majority.low, majority.high],
    }


def as_records(answered: Sequence[Answered]) -> list[dict[str, object]]:
    """Rows for evaluation.parquet."""
    return [asdict(a) for a in answered]
