"""The card of an exported model: README.md with the metadata that the Hugging Face hub reads.

Whether it got better comes first, in the sentences of the run's own verdict; what did not get better stands beside it.
Figures are those of the run's files. A licence is not stated: it follows from the base model's, which a run does not
know.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfsight.export.comparison import compared, family_changes
from selfsight.export.figures import (
    about_run,
    bullets,
    family,
    front_matter,
    limits_of_images,
    markdown_table,
    settings_block,
)
from selfsight.export.generation import measured_otherwise
from selfsight.export.inert import code
from selfsight.export.watched import of_alarms, of_rollback
from selfsight.language.prompts import taught_pack
from selfsight.report.figures import DASH, change, share, with_interval
from selfsight.report.games import about_games, skill
from selfsight.report.overview import MEASURES, SEEDS
from selfsight.report.reading import Entry, RunReading, number
from selfsight.report.terminal import verdict
from selfsight.run.hashing import hash_path

LICENCE: Final = "yours to state; it depends on the base model"
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class ModelFacts:
    """What a card is made of: the round, how it was chosen, what its folder was called, and where it is now.

    `needs` are the packages that `AutoProcessor` needs for it, `dtype` what its weights were converted to.
    """

    run: RunReading
    round: int
    which: str
    name: str
    folder: Path
    needs: tuple[str, ...] = ()
    dtype: str | None = None


def model_card(facts: ModelFacts) -> str:
    """The card's text."""
    run, view = facts.run, compared(facts.run, facts.round)
    sections = [
        f"# {code(run.name)}, round {facts.round}\n\n{_opening(facts)}\n\n{_verdict(run, view)}",
        f"## Evaluation\n\n{_evaluation(facts, view)}",
        f"## Known failures and limits\n\n{bullets(known_failures(facts, view))}",
        f"## Where it comes from\n\n{bullets([*about_run(run), *_about_weights(facts)])}",
    ]
    if run.asks:
        sections.append(f"## Its own questions and labels\n\n{_rounds(view['rounds'])}")
    sections += [
        f"## Settings\n\n{settings_block(run)}",
        f"## Use\n\n{_use(facts)}",
        "## Licence\n\nNone is stated here: it follows from the base model's and is for whoever publishes this folder "
        "to write at the top of this file.",
        "Written by `selfsight export`; `provenance.json` names the run.",
    ]
    return _metadata(facts) + "\n" + "\n\n".join(sections) + "\n"


def _metadata(facts: ModelFacts) -> str:
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "image-text-to-text"}
    fields["tags"] = ["selfsight", "self-play", "grpo", *(["visplay"] if facts.run.asks else []),
                      *(["vision-zero"] if facts.run.plays else [])]  # fmt: skip
    if (base := hub_base(facts.run)) is not None:
        fields["base_model"] = base
        fields["base_model_relation"] = "adapter" if _has_adapter(facts.folder) else "finetune"
    return front_matter(fields, LICENCE)


def hub_base(run: RunReading) -> str | None:
    """The id of the base model if it is one of the hub: a folder "./owner/name" is none."""
    model = run.config.model
    return model if _HUB_ID.fullmatch(model) and not Path(model).exists() else None


def _opening(facts: ModelFacts) -> str:
    did = {
        "visplay": "asked itself",
        "vision-zero": "played with itself",
        "mixed": "asked itself and played with itself",
    }
    taught = f"A vision-language model that was trained on what it {did[facts.run.config.method]}, without labels."
    last = facts.run.rounds[-1]["round"]
    chosen = f"This is round {facts.round} of {last}"
    if facts.which == "best":
        chosen += (
            ", the one with the highest held-out accuracy. It was chosen by the very questions that are reported "
            "below, which flatters it"
        )
    elif facts.round == last:
        chosen += ", the last one"
    return f"{taught} {chosen}.{of_rollback(facts.run)}"


def _verdict(run: RunReading, view: Mapping[str, Any]) -> str:
    sentences = [verdict(view, whose="its training")]
    if run.plays and (found := skill(view)) is not None:
        sentences.insert(1 if run.asks else 0, found)
    return " ".join([*sentences, SEEDS])


def _evaluation(facts: ModelFacts, view: Mapping[str, Any]) -> str:
    base, final, delta = view["base"], view["final"], view["delta"]
    rows: list[tuple[str, str, str, str]] = []
    if facts.run.plays and view["base_decisions"] and view["rounds"][-1].get("decisions"):
        before, after = view["base_decisions"], view["rounds"][-1]["decisions"]
        rows += [_row(f"spy found, {name}", before, after, after["change"], value, bounds)
                 for name, value, bounds in MEASURES if value in before]  # fmt: skip
    rows += [_row(f"answers, {name}", base, final, delta, value, bounds) for name, value, bounds in MEASURES]
    was, now = base["format_failures"], final["format_failures"]
    rows.append(("unreadable answers", share(was), share(now), change(now - was, None)))
    measured = (facts.run.summary or {}).get("measured_on")
    where = "Held-out questions about drawn pictures that training never drew"
    if isinstance(measured, dict):
        where += f" (world {code(str(measured.get('world')))}, {code(str(measured.get('picture_size')))} pixels a side)"
    where += (
        f", {base['n']} of them, with exact answers. Changes are in points, paired by question, with 95 % intervals."
    )
    table = markdown_table(("", "base model", f"round {facts.round}", "change"), rows)
    kinds = markdown_table(("kind of question, greedy", "n", "base model", f"round {facts.round}", "change"), [
        (family(one.family), str(one.n), share(one.before), share(one.after), change(one.change, (one.low, one.high)))
        for one in family_changes(facts.run.path, facts.round)
    ])  # fmt: skip
    return f"{where}\n\n{table}\n\n{kinds}"


def _row(
    name: str, before: Entry, after: Entry, delta: Entry | None, value: str, bounds: str
) -> tuple[str, str, str, str]:
    moved = change((delta or {}).get(value), (delta or {}).get(bounds))
    return (
        name,
        with_interval(before.get(value), before.get(bounds)),
        with_interval(after.get(value), after.get(bounds)),
        moved,
    )


def known_failures(facts: ModelFacts, view: Mapping[str, Any]) -> list[str]:
    """What did not get better, what the labels were worth, and what was not measured."""
    run, delta = facts.run, view["delta"]
    decisions = view["rounds"][-1].get("decisions") if run.plays else None
    voted: Mapping[str, Any] = (decisions or {}).get("change") or {}
    found = []
    for what, moved in (("spy found", voted), ("answers", delta)):
        for name, value, bounds in MEASURES:
            if bounds in moved and moved[bounds][0] <= 0:
                found.append(f"Not shown to be better: {what}, {name} ({change(moved[value], moved[bounds])} points).")
    unmoved = [f"{code(one.family.replace('_', ' '))} {change(one.change, (one.low, one.high))}"
               for one in family_changes(run.path, facts.round) if one.low <= 0]  # fmt: skip
    if unmoved:
        found.append(f"Not shown to be better: kinds of question, greedy: {', '.join(unmoved)} points.")
    right = [(entry["round"], part) for entry in view["rounds"]
             if (part := number(entry.get("pseudo_label_accuracy"))) is not None]  # fmt: skip
    if right:
        listed = ", ".join(f"round {round} {share(1 - part)}" for round, part in right)
        found.append(f"It learned from labels of its own that were wrong: {listed}.")
    elif run.asks:
        found.append("How many of the labels that it learned from were wrong is not known.")
    if run.plays and view["chance"] is not None and any("games" in entry for entry in view["rounds"]):
        found.append(about_games(view))
    found += [*of_alarms(run), *limits_of_images(run)]
    found.append("Nothing but drawn pictures was measured: no photograph, and no public benchmark.")
    found.append("One run with one seed: another seed would have given another figure.")
    found += [f"Could not be read of the run: {code(f'{trouble.where}: {trouble.what}')}" for trouble in run.troubles]
    return found


def _about_weights(facts: ModelFacts) -> list[str]:
    lora = facts.run.config.lora
    lines = [f"weights: round {facts.round}, {code(facts.name)}"]
    if _has_adapter(facts.folder):
        lines.append("the folder holds adapters (LoRA), to be loaded over the base model")
    elif lora is not None:
        lines.append(f"trained as adapters (LoRA, rank {lora.r}), which are merged into the weights")
    if facts.dtype is not None:
        lines.append(f"converted to {facts.dtype} for this export; the figures are those of the weights before")
    hashes = [f"{code(file.name)} {code(hash_path(file))}" for file in sorted(facts.folder.glob("*.safetensors"))]
    return [*lines, f"blake2b: {', '.join(hashes)}"]


def _rounds(rounds: Sequence[Entry]) -> str:
    rows = []
    for entry in (one for one in rounds if "kept" in one):
        sure = number(entry.get("mean_confidence"))
        rows.append(
            (
                str(entry["round"]),
                _count(entry.get("candidates")),
                _count(entry.get("kept")),
                DASH if sure is None else f"{sure:.2f}",
                share(number(entry.get("well_posed"))),
                share(number(entry.get("pseudo_label_accuracy"))),
            )
        )
    return markdown_table(("round", "candidates", "kept", "mean agreement of all", "well posed", "labels right"), rows)


def _use(facts: ModelFacts) -> str:
    if _has_adapter(facts.folder):
        return "Load the adapters over the base model with peft."
    paragraphs = [
        "`AutoModelForImageTextToText.from_pretrained` of transformers loads this folder, without code from it, and so "
        f"does `selfsight eval`. Its prompts were selfsight's, of the pack {code(taught_pack(facts.folder))}; it may "
        "answer worse when it is asked in another way.",
        processor_sentence(facts.needs),
        measured_otherwise(facts.folder),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def processor_sentence(needs: Sequence[str]) -> str:
    """What `AutoProcessor` needs, and what does without; empty if it needs nothing."""
    if not needs:
        return ""
    packages = " ".join(needs)
    return (
        f"`AutoProcessor` and `pipeline` need `pip install {packages}` for this model: transformers builds the "
        "processor's part for videos with it, even if there is no video. `selfsight eval` does without, and so does\n\n"
        "```python\n"
        "from pathlib import Path\n\n"
        "from selfsight.policy.load_processor import load_processor\n"
        "from transformers import AutoConfig\n\n"
        'processor = load_processor(Path("FOLDER"), AutoConfig.from_pretrained("FOLDER"))\n'
        "```"
    )


def _has_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def _count(value: object) -> str:
    found = number(value)
    return DASH if found is None else str(int(found))
