"""What the starter can do before any self-play, and its model card.

    python bench/starter_quality.py > starter.json               the shipped starter, 900 held-out questions
    python bench/starter_quality.py --model FOLDER               another build of it
    python bench/starter_quality.py --card starter.json          writes README.md into the model folder

Answers: greedy, sampled and majority-of-8 accuracy, overall and per family, beside what the best constant answer would
score on the same questions (the most frequent true answer of each family; whoever always says it did not look).
Questions: one sample for each of 600 held-out pictures, read and judged by exact truth. Verdicts: whether those can be
answered, as the starter itself says, once greedily and as the share of 8 samples that the supervisor gate looks at.

Held-out pictures come from a stream of their own, but a small world repeats itself: `seen_while_built` is the share
whose content (not its drawing) also occurs among the pictures that the starter was built from.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine
from selfsight.evaluate.answers import Answered, summarise
from selfsight.evaluate.audit import audit_questions
from selfsight.evaluate.heldout import answer_questions
from selfsight.evaluate.oracle import verdict
from selfsight.evaluate.questions import HeldOutQuestion, heldout_questions
from selfsight.images.source import ImageRef
from selfsight.images.worlds import WorldSource
from selfsight.images.worlds.scene import Picture
from selfsight.images.worlds.source import picture_rng, sample_picture
from selfsight.images.worlds.truth import scene_of
from selfsight.language.prompts import PromptPack, get_pack, taught_pack
from selfsight.policy import Policy, SampleRequest, Sampling
from selfsight.policy.open import model_folder
from selfsight.run.hashing import hash_path
from selfsight.run.seeds import derive
from selfsight.starter.build import STAGES
from selfsight.starter.card import write_card

QUESTIONS, ASKED, SAMPLES, BATCH = 900, 600, 8, 64
BUILD_SEED = 0  # of the shipped starter
ANSWER_TOKENS, QUESTION_TOKENS, FLOOR = 64, 40, 0.7  # as in the recipe visplay-starter


def chance_level(questions: Sequence[HeldOutQuestion]) -> dict[str, float]:
    """Per family, the score of its best constant answer on these very questions."""
    keys: dict[str, list[str]] = {}
    for question in questions:
        keys.setdefault(question.family, []).append(question.key)
    return {family: Counter(found).most_common(1)[0][1] / len(found) for family, found in sorted(keys.items())}


def answering(answered: Sequence[Answered], questions: Sequence[HeldOutQuestion]) -> dict[str, Any]:
    """Accuracies with intervals; per family with its number of questions and its chance level."""
    figures: dict[str, Any] = dict(summarise(answered))
    sizes = Counter(question.family for question in questions)
    chance = chance_level(questions)
    figures["chance"] = sum(chance[family] * sizes[family] for family in sizes) / len(questions)
    for family, entry in figures["families"].items():
        entry |= {"n": sizes[family], "chance": chance[family]}
    return figures


def ask(policy: Policy, pack: PromptPack, *, count: int, seed: int) -> list[tuple[ImageRef, str]]:
    """One sampled question for each of `count` held-out pictures; the readable ones."""
    images = WorldSource("mixed", seed=seed, split="heldout").take(0, count)
    sampling = Sampling(max_completion_length=QUESTION_TOKENS)
    read = []
    for start in range(0, count, BATCH):
        batch = images[start : start + BATCH]
        requests = [SampleRequest(i.id, pack.questioner(i), 1, derive(seed, "starter", "ask", i.id)) for i in batch]
        drawn = policy.sample(requests, sampling)
        for image in batch:
            (rollout,) = drawn[image.id]
            reading = pack.read_question(rollout.text)
            if reading.ok and rollout.finished:
                read.append((image, reading.text))
    return read


def asking(read: Sequence[tuple[ImageRef, str]], count: int) -> dict[str, Any]:
    """Of `count` sampled questions those that were `read`: how many, how many well posed, of which family."""
    audit = audit_questions(read)
    well_posed = 0.0 if audit["well_posed"] is None else float(str(audit["well_posed"])) * len(read)
    return {
        "sampled": count,
        "valid": len(read) / count,
        "well_posed_of_sampled": well_posed / count,
        "well_posed_of_valid": audit["well_posed"],
        "in_grammar_of_valid": audit["in_grammar"],
        "families_of_valid": audit["families"],
        "distinct_of_valid": len({text for _, text in read}) / len(read) if read else None,
    }


def judging(policy: Policy, pack: PromptPack, read: Sequence[tuple[ImageRef, str]], *, seed: int) -> dict[str, Any]:
    """What the model says of its own questions, apart for well-posed and ill-posed ones (shares in [0, 1]).

    `greedy_yes`: of them are called answerable greedily; `floor_yes`: by at least `FLOOR` of SAMPLES sampled verdicts.
    """
    yes: dict[bool, list[tuple[bool, float]]] = {True: [], False: []}
    for start in range(0, len(read), BATCH):
        batch = {f"{start + place}": asked for place, asked in enumerate(read[start : start + BATCH])}

        def drawn(count: int, *, greedy: bool = False, batch: dict[str, Any] = batch) -> dict[str, list[bool]]:
            """Per question whether each verdict is a yes; one that is unfinished or unclear is not."""
            requests = [
                SampleRequest(id, pack.supervisor(*asked), count, derive(seed, "starter", "judge", id))
                for id, asked in batch.items()
            ]
            found = policy.sample(requests, Sampling(max_completion_length=ANSWER_TOKENS, greedy=greedy))
            return {id: [r.finished and pack.read_verdict(r.text) is True for r in rs] for id, rs in found.items()}

        once, often = drawn(1, greedy=True), drawn(SAMPLES)
        for id, asked in batch.items():
            yes[verdict(*asked).well_posed].append((once[id][0], sum(often[id]) / SAMPLES))
    return {
        name: {
            "n": len(yes[well]),
            "greedy_yes": sum(said for said, _ in yes[well]) / max(1, len(yes[well])),
            "floor_yes": sum(share >= FLOOR for _, share in yes[well]) / max(1, len(yes[well])),
        }
        for name, well in (("well_posed", True), ("ill_posed", False))
    }


def seen_while_built(pictures: Sequence[Picture], pages: int, build_seed: int) -> float:
    """Share of pictures whose content is also on one of the first `pages` pages of the corpus."""
    wanted, seen = set(pictures), set()
    for index in range(pages):
        picture = sample_picture("mixed", picture_rng("mixed", "build", build_seed, index))
        if picture in wanted:
            seen.add(picture)
    return sum(picture in seen for picture in pictures) / len(pictures)


def measure(model: str, *, questions: int, asked: int, seed: int) -> dict[str, Any]:
    """All figures of the card."""
    folder = model_folder(model)
    pack = get_pack(taught_pack(folder))
    policy = Policy.load("starter", folder, open_image=WorldSource(seed=0).open)
    held_out = heldout_questions(questions, seed=seed)
    answered = answer_questions(
        policy, pack, held_out, num_samples=SAMPLES, seed=seed, batch_size=BATCH, max_completion_length=ANSWER_TOKENS
    )
    read = ask(policy, pack, count=asked, seed=seed)
    weights = folder / "model.safetensors"
    return {
        "weights": {"blake2b": hash_path(weights), "bytes": weights.stat().st_size},
        "parameters": sum(p.numel() for p in policy.vlm.model.parameters()),
        "seed": seed,
        "samples": SAMPLES,
        "answers": answering(answered, held_out),
        "questions": asking(read, asked),
        "verdicts": judging(policy, pack, read, seed=seed),
        "seen_while_built": seen_while_built(
            [scene_of(question.image) for question in held_out], sum(s.steps * s.pages for s in STAGES), BUILD_SEED
        ),
        "machine": describe_machine(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="starter", help="starter, or the folder of a build")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="held-out questions to answer")
    parser.add_argument("--asked", type=int, default=ASKED, help="questions to sample")
    parser.add_argument("--seed", type=int, default=1, help="which held-out set; runs are measured on 0")
    parser.add_argument("--card", type=Path, metavar="JSON", help="write the card from these figures and stop")
    options = parser.parse_args(arguments)
    if options.card is not None:
        figures = json.loads(options.card.read_text(encoding="utf-8"))
        print(write_card(figures, model_folder(options.model)), file=sys.stderr)
        return
    figures = measure(options.model, questions=options.questions, asked=options.asked, seed=options.seed)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
