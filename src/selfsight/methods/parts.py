"""What a stage has written before it is finished: one file per step or piece, in `rounds/K/parts/`.

Parts are what lets a stopped stage go on where it was; they are removed once the stage is finished and the
checkpoint behind it is on the disk.
"""

import shutil
from pathlib import Path

from selfsight.policy import Policy
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


def save_model(policy: Policy, folder: Path) -> Path:
    """A plain model folder, all of it or none."""
    with replace_folder(folder) as writing, tensor_errors(folder):
        policy.save(writing)
    return folder
