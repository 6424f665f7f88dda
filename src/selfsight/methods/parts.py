"""What a stage has written before it is finished: one table per step or piece, in `rounds/K/parts/`.

Parts are what lets a stopped stage go on where it was; they are removed once the stage is finished and the
checkpoint behind it is on the disk.
"""

import shutil
from pathlib import Path

from selfsight.methods.visplay.records import QUESTIONS
from selfsight.policy import Policy
from selfsight.run.atomic import disk_errors, replace_folder
from selfsight.run.checkpoint import tensor_errors
from selfsight.run.tables import read_table


def part(folder: Path, name: str, number: int) -> Path:
    """Path of part `number` of the table `name` of a round."""
    parts = folder / "parts"
    with disk_errors(parts):
        parts.mkdir(exist_ok=True)
    return parts / f"{name}-{number:05d}.parquet"


def remove_parts(folder: Path) -> None:
    """Removes all parts of a round. What cannot be removed now is removed with those of the next stage."""
    shutil.rmtree(folder / "parts", ignore_errors=True)


def all_asked(folder: Path, steps: int) -> list[dict[str, object]]:
    """The rows of all steps of a questioner phase.

    The parts of a finished phase are gone. When a damaged checkpoint sends the run back into one, the steps before
    that place are still in the phase's table.
    """
    rows: list[dict[str, object]] = []
    for step in range(steps):
        path = part(folder, "asked", step)
        whole = path if path.exists() else folder / "asked.parquet"
        rows += [row for row in read_table(whole, QUESTIONS) if row["step"] == step]
    return rows


def save_model(policy: Policy, folder: Path) -> Path:
    """A plain model folder, all of it or none."""
    with replace_folder(folder) as writing, tensor_errors(folder):
        policy.save(writing)
    return folder
