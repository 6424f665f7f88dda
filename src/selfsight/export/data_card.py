"""The card of an exported data set: README.md with the metadata that the Hugging Face hub reads.

It says first what is easily forgotten: nobody has checked these answers. Where the truth about the images is exact, it
says how many are right, with an interval over images, by round and by agreement; elsewhere that nobody knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from selfsight.export.figures import (
    about_run,
    bullets,
    family,
    front_matter,
    limits_of_images,
    markdown_table,
    settings_block,
    share_right,
)
from selfsight.export.inert import block, code
from selfsight.export.rows import Row
from selfsight.export.watched import of_alarms, of_rollback
from selfsight.report.figures import DASH, share
from selfsight.report.reading import Entry, RunReading, Trouble, number

_SIZES: Final = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
)  # fmt: skip
_AGREEMENTS: Final = (0.0, 0.55, 0.7, 0.85, 1.0)
_EXAMPLES: Final = 4
LLAMA_FACTORY: Final = "selfsight_questions"  # the name in dataset_info.json
_FEW: Final = 20  # labels of a kind, below which its share says little
LICENCE: Final = "yours to state; it depends on the images and on the base model"


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of; `images` is None where no image files are exported."""

    run: RunReading
    kept: Sequence[Row]
    asked: Sequence[Row]
    images: int | None
    pack: str
    left_out: Sequence[Trouble]


def data_card(facts: CardFacts) -> str:
    """The card's text."""
    sections = [
        _title(facts),
        _contents(facts),
        f"## Where it comes from\n\n{bullets(about_run(facts.run))}\n\n{_rounds(facts)}",
        _gates(facts),
        _answers(facts),
        f"## Known failures\n\n{bullets(known_failures(facts))}",
        _examples(facts),
        _use(facts),
        "## Licence\n\nNone is stated here. A model wrote the questions and answers. What may be done with them, and "
        "with the images, is for whoever publishes this folder to find out, and to write at the top of this file.",
        "Written by `selfsight export`; `provenance.json` names the run.",
    ]
    return _metadata(facts) + "\n" + "\n\n".join(sections) + "\n"


def _metadata(facts: CardFacts) -> str:
    train: dict[str, Any] = {
        "config_name": "default",
        "data_files": [{"split": "train", "path": "train/**"}],  # asked.parquet has other columns
    }
    if facts.images is not None:
        train["drop_labels"] = True  # a folder named "images" is no label
    size = next((name for most, name in _SIZES if len(facts.kept) < most), "n>1M")
    fields = {
        "pretty_name": f"Questions that a model asked itself ({facts.run.name})",
        "task_categories": ["visual-question-answering"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "size_categories": [size],
        "tags": ["selfsight", "visplay", "self-generated", "pseudo-labels"],
        "configs": [train],
    }
    return front_matter(fields, LICENCE)


def _title(facts: CardFacts) -> str:
    about = len({row["image_id"] for row in facts.kept})
    right, images = _judged(facts.kept)
    known = "How many of the labels are right is not known."
    later = " The questions of every round are here, also of those after it." if of_rollback(facts.run) else ""
    if right:
        known = (
            f"The images are drawn, so the truth is known: {share_right(right, images)} of the labels are right (95 % "
            "interval over images)."
        )
    return (
        f"# Questions that a model asked itself\n\n{len(facts.kept)} questions about {about} images. One "
        "vision-language model asked them, a copy of it answered each of them several times, and the answer that most "
        "of its samples agreed on is the label. **No person and no other model has checked a question or an answer.** "
        f"{known}{of_rollback(facts.run)}{later}"
    )


def _contents(facts: CardFacts) -> str:
    if facts.images is None:
        images = (
            "`train/` holds the questions that the model learned from, without their images, which are not passed on "
            "here. The `image_id` of a file in a folder is `f-` and 16 hex digits of a hash of its content."
        )
    else:
        images = (
            f"`train/` holds the questions that the model learned from, with {facts.images} image files; equal "
            "pictures are one file. They hold the pixels that the model saw, and no metadata of the originals."
        )
    lines = [
        "`prompt`, `completion`: the conversation, as TRL reads it; `images` are the prompt's",
        "`solution`: the answer in words, `label`: its canonical key; both are the majority of the model's own votes",
        "`confidence`, `votes`: the share of votes behind the winner, and how many each key got (null: unreadable)",
        "`question`, `round`, `phase`, `question_id`, `image_id`: where it stands in the run",
        "`audit_truth`, `audit_label_right`, `audit_note`: **for audits, never for training**: what is exactly true of "
        "drawn images, which the model was not told; null where nobody knows",
    ]
    asked = (
        f"`asked.parquet` is a table of all {len(facts.asked)} questions that were asked, unreadable and refused ones "
        "too, with the gate that turned each away."
    )
    return f"## What is in it\n\n{images}\n\n{bullets(lines)}\n\n{asked}"


def _rounds(facts: CardFacts) -> str:
    rows = []
    for round in sorted({_integer(row["round"]) for row in facts.asked}):
        candidates = [row for row in facts.asked if row["round"] == round and row["phase"] == "curation"]
        kept = [row for row in facts.kept if row["round"] == round]
        sure = [float(str(row["confidence"])) for row in kept if row["confidence"] is not None]
        rows.append(
            (
                str(round),
                str(sum(row["round"] == round and row["phase"] == "questioner" for row in facts.asked)),
                str(len(candidates)),
                str(sum(bool(row["readable"]) for row in candidates)),
                str(len(kept)),
                f"{sum(sure) / len(sure):.2f}" if sure else DASH,
                share_right(*_judged(kept)),
            )
        )
    headers = ("round", "asked in training", "candidates", "readable", "kept", "mean agreement", "labels right")
    return markdown_table(headers, rows)


def _gates(facts: CardFacts) -> str:
    refused: dict[str, int] = {}
    for row in facts.asked:
        if row["gate"]:
            refused[str(row["gate"])] = refused.get(str(row["gate"]), 0) + 1
    counted = markdown_table(
        ("gate", "questions turned away"),
        [(family(gate), str(count)) for gate, count in sorted(refused.items(), key=lambda item: -item[1])],
    )
    settings = settings_block(facts.run, ("visplay", "gates"))
    why = "A gate sees the model's own output, never the truth. Candidates that passed all gates were kept."
    return f"## How questions were chosen\n\n{why}\n\n{counted}\n\n{settings}"


def _answers(facts: CardFacts) -> str:
    heading = "## How right the answers are\n\n"
    if not _judged(facts.kept)[0]:
        return heading + "Nobody knows: there is no truth about these images to compare with."
    rows = []
    for low, high in pairwise(_AGREEMENTS):
        inside = [row for row in facts.kept if row["confidence"] is not None
                  and low < float(str(row["confidence"])) <= high]  # fmt: skip
        if inside:
            right, images = _judged(inside)
            rows.append((f"above {low:g} to {high:g}", str(len(inside)), share_right(right, images)))
    posed = [row["audit_truth"] is not None for row in facts.kept if row["audit_label_right"] is not None]
    images = [str(row["image_id"]) for row in facts.kept if row["audit_label_right"] is not None]
    about = f"{share_right(posed, images)} of the questions have exactly one right answer; any other label is wrong."
    return f"{heading}{about}\n\n{markdown_table(('agreement of the votes', 'labels', 'right'), rows)}"


def known_failures(facts: CardFacts) -> list[str]:
    """What is wrong with the questions, as far as the run's own files show it."""
    found = ["Agreement is not truth: a model that is wrong in the same way every time agrees with itself."]
    right, _ = _judged(facts.kept)
    if right:
        wrong = len(right) - sum(right)
        found.append(f"{wrong} of {len(right)} labels are wrong ({share(wrong / len(right))}).")
        found += _surer_than_right(facts.kept)
        found += _falling(facts.run.rounds, "pseudo_label_accuracy", "the share of right labels")
        found += _falling(facts.run.rounds, "well_posed", "the share of questions that can be answered at all")
        found += _weak_kinds(facts.run.rounds)
    else:
        found.append("How many labels are wrong is not known.")
    found += [*of_alarms(facts.run), *limits_of_images(facts.run)]
    found += [f"Left out of this export: {code(f'{one.where}: {one.what}' if one.where else one.what)}"
              for one in facts.left_out]  # fmt: skip
    return found


def _surer_than_right(rows: Sequence[Row]) -> list[str]:
    known = [row for row in rows if row["audit_label_right"] is not None and row["confidence"] is not None]
    sure = sum(float(str(row["confidence"])) for row in known) / max(1, len(known))
    right = sum(bool(row["audit_label_right"]) for row in known) / max(1, len(known))
    if sure <= right:
        return []
    return [f"The votes are surer than they are right: mean agreement {share(sure)}, labels right {share(right)}."]


def _falling(rounds: Sequence[Entry], name: str, what: str) -> list[str]:
    known = [(entry["round"], value) for entry in rounds if (value := number(entry.get(name))) is not None]
    if len(known) < 2 or known[-1][1] >= known[0][1]:
        return []
    (first, before), (last, after) = known[0], known[-1]
    return [f"From round {first} to round {last} {what} fell from {share(before)} to {share(after)}."]


def _weak_kinds(rounds: Sequence[Entry]) -> list[str]:
    """Kinds of question of the last audit of whose labels less than half are right."""
    audits = [entry["audit"] for entry in rounds if isinstance(entry.get("audit"), dict)]
    labels = audits[-1].get("labels") if audits else None
    families = labels.get("families") if isinstance(labels, dict) else None
    total = number(labels.get("labels")) if isinstance(labels, dict) else None
    if not isinstance(families, dict) or total is None:
        return []
    weak = []
    for name, one in sorted(families.items()):
        accuracy, part = (
            number(one.get(key)) if isinstance(one, dict) else None for key in ("label_accuracy", "share")
        )
        if accuracy is not None and part is not None and accuracy < 0.5 and part * total >= _FEW:
            weak.append(f"{code(name.replace('_', ' '))} {share(accuracy)}")
    return [f"In the last round less than half of the labels are right of: {', '.join(weak)}."] if weak else []


def _examples(facts: CardFacts) -> str:
    step = max(1, len(facts.kept) // _EXAMPLES)
    lines = []
    for row in facts.kept[::step][:_EXAMPLES]:
        right = {None: "", True: " (right)", False: " (wrong)"}[_verdict(row)]
        agreed = "" if row["confidence"] is None else f", agreement {float(str(row['confidence'])):.2f}"
        answer = f"{code(str(row['solution']))}{right}{agreed}"
        lines.append(f"{code(str(row['question']))}: {answer}, round {_integer(row['round'])}")
    return f"## Examples\n\nEvenly from the whole:\n\n{bullets(lines)}"


def _use(facts: CardFacts) -> str:
    python = 'from datasets import load_dataset\n\ndata = load_dataset("path/to/this/folder", split="train")'
    lines = ["The images have to be added by `image_id` before a trainer can use it."]
    if facts.images is not None:
        lines = [
            "TRL reads it as it is: GRPO takes `prompt` and `images` and hands `solution` to the reward, SFT takes "
            "`prompt`, `completion` and `images`.",
            f"LLaMA-Factory: this folder as `dataset_dir`, `{LLAMA_FACTORY}` as `dataset`.",
            "ms-swift: `conversations.jsonl` as `--dataset`, with this folder as the working directory.",
        ]
    prompts = f"Prompts are those of selfsight's pack {code(facts.pack)}."
    return f"## Use\n\n{block(python, 'python')}\n\n{bullets(lines)}\n\n{prompts}"


def _judged(rows: Sequence[Row]) -> tuple[list[bool], list[str]]:
    """Whether each label is right, where that is known, and the image it is about."""
    known = [row for row in rows if row["audit_label_right"] is not None]
    return [bool(row["audit_label_right"]) for row in known], [str(row["image_id"]) for row in known]


def _verdict(row: Row) -> bool | None:
    return None if row["audit_label_right"] is None else bool(row["audit_label_right"])


def _integer(value: object) -> int:
    return int(str(value))
