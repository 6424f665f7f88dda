"""The starter's model card: README.md in its folder, written from measured figures and from the build's own stages.

Nothing in it is typed by hand: accuracies come from `bench/starter_quality.py`, the recipe from build.py, the shares of
the mixture from corpus.py. The card names the hash of the weights it is about, and is refused for any other file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.run.hashing import hash_path
from selfsight.starter.build import STAGES
from selfsight.starter.corpus import CAREFUL, MIXTURE, Authors

Figures = Mapping[str, Any]


def write_card(figures: Figures, folder: Path) -> Path:
    """Writes `folder`/README.md; raises SelfsightError when the figures are about other weights."""
    weights = folder / "model.safetensors"
    if not weights.is_file() or hash_path(weights) != figures["weights"]["blake2b"]:
        raise SelfsightError(
            f"{weights}: these are not the weights that the figures were measured on",
            hint="measure them first: python bench/starter_quality.py",
        )
    path = folder / "README.md"
    path.write_text(card(figures), encoding="utf-8")
    return path


def card(figures: Figures) -> str:
    """The card's text."""
    answers, questions, weights = figures["answers"], figures["questions"], figures["weights"]
    millions, mebibytes = figures["parameters"] / 1e6, weights["bytes"] / 2**20
    lead = (answers["majority"] - answers["accuracy"]) * 100
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
tags: [qwen2_5_vl, self-play, procedural-images]
---

# The selfsight starter

A vision-language model of {millions:.1f} million parameters in the architecture of Qwen2.5-VL, trained from nothing on
*worlds*: procedural pictures of coloured shapes and of charts. It answers questions about such pictures, asks some
itself, describes them, judges whether a question can be answered, and gives clues and votes in "Who is the spy". It
exists so that self-play (VisPlay, arXiv 2511.15661, and Vision-Zero, arXiv 2509.25541) can be run, read and tested on a
laptop, on the code path of a large model.

It is a **base model**, and on purpose an uneven one. It was last trained on a mixture of careful authors, who look and
note what they see before they box an answer or a clue, and careless ones, who box one at once and often guess. Such a
model's majority can know more than its greedy answer, and that difference is what learning without labels can win.
Here the majority is {abs(lead):.1f} points {"above" if lead >= 0 else "below"} the greedy answer.

## What it can do

Measured on {answers["n"]} held-out questions (seed {figures["seed"]}), each about its own picture, families in turn.
"Majority" is the vote of {figures["samples"]} samples at temperature 1. "Chance" is the best constant answer: the score
of always giving the family's most frequent answer.

{_answers(answers)}

- answers without a readable box: {_percent(answers["format_failures"])} greedy,
  {_percent(answers["sampled_format_failures"])} sampled
- questions it asks ({questions["sampled"]} samples, one per held-out picture): {_percent(questions["valid"])} readable,
  {_percent(questions["well_posed_of_sampled"])} with exactly one right answer
- families of its readable questions: {_families(questions["families_of_valid"])}
- {_percent(figures["seen_while_built"])} of the held-out pictures have the same content as one it was built from, drawn
  anew: a small world repeats itself

## How it was made

`selfsight starter build` makes it again from a seed, in about two hours on one CPU core. Every step draws new pictures.

{_stages()}

{_mixture()}

Every text is made from a picture's own data by the package's grammar. No human text, no photograph, and no other model
had a part in it.

## Intended use and limits

- For trying, teaching and testing self-play methods; `selfsight evolve` starts from it.
- It has seen nothing but worlds of 112 x 112 pixels and a few dozen English sentence patterns. It is of no use on
  photographs or for free conversation, and its figures say nothing about models of other sizes.
- The prompts it was taught are those of the pack `compact`, which its config.json names.
- Weights: bfloat16, {mebibytes:.1f} MiB, blake2b `{weights["blake2b"]}`.

Apache-2.0. Figures by `python bench/starter_quality.py`.
"""


def _answers(answers: Figures) -> str:
    lines = [
        "| family | questions | chance | greedy | sampled | majority |",
        "|---|---:|---:|---:|---:|---:|",
        _line("**all**", answers["n"], answers["chance"], answers["accuracy"], answers["sampled"], answers["majority"]),
        f"| 95 % interval | | | {_range(answers['ci95'])} | {_range(answers['sampled_ci95'])} | "
        f"{_range(answers['majority_ci95'])} |",
    ]
    lines += [
        _line(name.replace("_", " "), e["n"], e["chance"], e["greedy"], e["sampled"], e["majority"])
        for name, e in sorted(answers["families"].items())
    ]
    return "\n".join(lines)


def _line(name: str, count: int, *shares: float) -> str:
    return f"| {name} | {count} | {' | '.join(map(_percent, shares))} |"


def _stages() -> str:
    lines = [
        "| stage | steps | pictures per step | texts per picture | authors | learning rate |",
        "|---|---:|---:|---:|---|---|",
    ]
    lines += [
        f"| {s.name} | {s.steps} | {s.pages} | {s.segments} | {_name(s.authors)} | {s.lr:g} to {s.final_lr:g} |"
        for s in STAGES
    ]
    return "\n".join(lines)


def _name(authors: Authors) -> str:
    return {CAREFUL: "careful", MIXTURE: "mixture"}[authors]


def _mixture() -> str:
    guessed = MIXTURE.careless * MIXTURE.guessing
    return (
        f"Answers of the mixture: {1 - MIXTURE.careless:.0%} with working, {MIXTURE.careless - guessed:.0%} right but "
        f"without working, {guessed:.0%} guessed.\n{MIXTURE.careless_questions:.0%} of its questions were written "
        "without checking that they can be answered. Careful authors do none of this."
    )


def _families(shares: Mapping[str, float]) -> str:
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name.replace('_', ' ')} {_percent(share)}" for name, share in ranked) or "none"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0] * 100:.1f}–{interval[1] * 100:.1f}"
