"""The adapters of a LoRA run alone, as a folder that peft loads onto the base model, with a card.

It is written beside the model, never into it: transformers loads adapters that lie in a model folder onto the model,
and here they are merged into its weights already.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.export.figures import bullets, front_matter, methods
from selfsight.export.folder import new_folder
from selfsight.export.inert import code
from selfsight.export.model import check_journal, choose_round, copy_checked, model_folder_of
from selfsight.export.model_card import LICENCE, hub_base
from selfsight.report.reading import RunReading
from selfsight.run import hash_path
from selfsight.run.adapters import adapter_folder
from selfsight.run.atomic import pretty_json
from selfsight.settings.public import without_folders

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class ExportedAdapter:
    """A written adapter folder and the round it is from."""

    path: Path
    round: int


def adapter_of(run: RunReading, which: str) -> Path | None:
    """The adapter folder of a round, as the run wrote it; None if the run kept none.

    Raises:
        SelfsightError: there is no such round, or the folder is not what the run wrote.
    """
    folder = adapter_folder(model_folder_of(run, choose_round(run, which)))
    if not folder.is_dir():
        return None
    check_journal(run, folder.relative_to(run.path).as_posix())
    return folder


def export_adapter(run: RunReading, source: Path, path: Path, *, which: str, force: bool) -> ExportedAdapter:
    """Writes the adapters of a round of `run` to `path`.

    Args:
        run: The run, read.
        source: What `adapter_of` found for `which`.
        path: The new folder.
        which: "final", "best" or a round's number.
        force: Replace an earlier export.

    Raises:
        SelfsightError: `path` is taken, or the run's folder is damaged.
    """
    round = choose_round(run, which)
    about = {"kind": "adapter", "round": round, "chosen": which, "adapter_hash": hash_path(source)}
    base = hub_base(run)
    with new_folder(path, run, about, force=force) as folder:
        copy_checked(source / _WEIGHTS, folder / _WEIGHTS)
        config = json.loads((source / _CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise SelfsightError(f"{source / _CONFIG}: is not an object", hint="restore the run's folder")
        # The run names a base model of this machine by its folder, which tells others nothing.
        config["base_model_name_or_path"] = base or without_folders(run.config.model)
        (folder / _CONFIG).write_bytes(pretty_json(config))
        (folder / "README.md").write_text(_card(run, round, base, folder), encoding="utf-8")
    return ExportedAdapter(path, round)


def _card(run: RunReading, round: int, base: str | None, folder: Path) -> str:
    fields: dict[str, object] = {
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "tags": ["selfsight", "self-play", "grpo", "lora"],
    }
    if base is not None:
        fields |= {"base_model": base, "base_model_relation": "adapter"}
    lora, config = run.config.lora, run.config
    revision = f", revision {code(config.revision)}" if config.revision else ""
    lines = [
        f"base model: {code(without_folders(config.model))}{revision}",
        f"method: {methods(run)}; recipe {code(without_folders(config.recipe))}, seed {config.seed}",
        *([f"rank {lora.r}, lora_alpha {lora.lora_alpha:g}"] if lora is not None else []),
        f"blake2b: {code(_WEIGHTS)} {code(hash_path(folder / _WEIGHTS))}",
    ]
    named = base or "BASE"
    where = "" if base is not None else "BASE is the folder of the base model, which is not part of this one. "
    sections = [
        f"# {code(run.name)}, round {round}, adapters",
        "LoRA adapters of a vision-language model that was trained by itself, without labels. What the training was "
        "worth, and what did not get better, is in the card of the merged model, which `selfsight export` writes "
        "beside this folder.",
        bullets(lines),
        f"## Use\n\n{where}With the adapters the base model gives the log-probabilities of the merged model.\n\n"
        "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForImageTextToText\n\n"
        f"base = AutoModelForImageTextToText.from_pretrained({named!r})\n"
        'model = PeftModel.from_pretrained(base, "FOLDER")\n```',
        "## Licence\n\nNone is stated here: it follows from the base model's and is for whoever publishes this folder "
        "to write at the top of this file.",
        "Written by `selfsight export`; `provenance.json` names the run.",
    ]
    return front_matter(fields, LICENCE) + "\n" + "\n\n".join(sections) + "\n"
