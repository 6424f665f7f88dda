"""What a stage has written before it is finished: one file per step or piece, in `rounds/K/parts/`.

Parts are what lets a stopped stage go on where it was; they are removed once the stage is finished and the
checkpoint behind it is on the disk.
"""

import shutil
from pathlib import Path

from selfsight.config import EvolveConfig
from selfsight.policy import Policy
from selfsight.run.adapters import adapter_folder
from selfsight.run.atomic import disk_errors, replace_folder
from selfsight.run.checkpoint import tensor_errors


def part(folder: Path, name: str, number: int, suffix: str = "parquet") -> Path:
    """Path of part `number` of the table `name` of a round."""
    parts = folder / "parts"
    with disk_errors(parts):
        parts.mkdir(exist_ok=True)
    return parts / f"{name}-{number:05d}.{suffix}"


def remove_parts(folder: Path) -> None:
    """Removes all parts of a round. What cannot be removed now is removed with those of the next stage."""
    shutil.rmtree(folder / "parts", ignore_errors=True)


def save_model(policy: Policy, folder: Path, config: EvolveConfig) -> list[Path]:
    """Writes a policy's model folder, and its adapter folder beside it if the settings keep one; each whole or not.

    The adapter folder is called as the model folder with `_adapter` after it. It is not inside: transformers loads
    adapters that lie in a model folder onto the model, into which they are merged already.
    """
    with replace_folder(folder) as writing, tensor_errors(folder):
        policy.save(writing)
    if config.lora is None or not config.lora.keep_adapter:
        return [folder]
    adapter = adapter_folder(folder)
    # A model of the hub is named by its id, any other by where it lies; peft needs one of them to load the base.
    local = config.model == "starter" or Path(config.model).expanduser().is_dir()
    base = str(policy.vlm.folder.resolve()) if local else config.model
    with replace_folder(adapter) as writing, tensor_errors(adapter):
        policy.save_adapter(writing, base=base, revision=None if local else config.revision)
    return [folder, adapter]
