"""A round's model of a run as a model folder with a card.

The folder is the one that the run has saved (`save_pretrained`: transformers and vLLM load it), and it must still be
what the run's journal says it was; the copy is compared with it. Adapters of a LoRA run are merged in it; a folder that
holds adapter files keeps them. Default is the run's result, which its own comparison is about: the last round, or the
one that alarms rolled it back to. `best` is the round with the highest held-out accuracy, chosen by the very questions
that the card then reports, and the card says so.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.export.conversion import Dtype, convert_folder
from selfsight.export.folder import new_folder
from selfsight.export.model_card import ModelFacts, model_card
from selfsight.export.processor_needs import processor_needs
from selfsight.export.watched import rolled_back_to
from selfsight.report.reading import RunReading, Trouble
from selfsight.run import hash_path, read_journal
from selfsight.run.checks import refuse_damaged_model

_FOLDERS = ("reasoner", "model")  # of a round: what answers questions, what plays games


@dataclass(frozen=True)
class ExportedModel:
    """A written model folder and the round it is from; `needs` are the packages that its processor needs."""

    path: Path
    round: int
    left_out: tuple[Trouble, ...]
    needs: tuple[str, ...] = ()


def export_model(run: RunReading, path: Path, *, which: str, force: bool, dtype: Dtype | None = None) -> ExportedModel:
    """Writes the model of a round of `run` to `path`.

    Args:
        run: The run, read.
        path: The new folder.
        which: "final", "best" or a round's number.
        force: Replace an earlier export.
        dtype: What the weights are converted to; None leaves them as the run saved them.

    Raises:
        SelfsightError: there is no such round, `path` is taken, or what was written is not the run's model.
    """
    round = choose_round(run, which)
    source = model_folder_of(run, round)
    about = {"kind": "model", "round": round, "chosen": which, "model_hash": hash_path(source)}
    if dtype is not None:
        about |= {"dtype": dtype}
    with new_folder(path, run, about, force=force) as folder:
        for file in sorted(source.rglob("*")):
            if file.is_symlink():
                raise SelfsightError(f"{file}: is a link, which no run writes", hint="restore the run's folder")
            if file.is_file() and file.name != "README.md":
                target = folder / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_checked(file, target)
        if dtype is not None:
            convert_folder(folder, source, dtype)
        needs = processor_needs(folder)
        facts = ModelFacts(run, round, which, source.name, folder, needs=needs, dtype=dtype)
        (folder / "README.md").write_text(model_card(facts), encoding="utf-8")
    return ExportedModel(path, round, run.troubles, needs)


def copy_checked(file: Path, target: Path) -> None:
    """Copies a file and reads the copy back."""
    shutil.copyfile(file, target)
    if hash_path(target) != hash_path(file):
        raise SelfsightError(f"{target}: is not what was copied from {file}", hint="check the disk of --out")


def choose_round(run: RunReading, which: str) -> int:
    """The number of a measured round."""
    measured = [int(entry["round"]) for entry in run.rounds]
    back = rolled_back_to(run)
    if which == "final" and back == 0:
        raise SelfsightError(
            f"{run.path}: alarms rolled it back to the base model, so it has no model of its own to export",
            hint="`--round N` exports the model of a round all the same, `--what questions` its questions alone",
        )
    if which == "final" and back is not None and back not in measured:
        raise SelfsightError(
            f"{run.path}: alarms rolled it back to round {back}, which cannot be read",
            hint=f"restore rounds/{back}, or choose another round (--round)",
        )
    if not measured:
        raise SelfsightError(f"{run.path}: no round of it is finished", hint="`selfsight resume` goes on with it")
    if which == "final":
        return measured[-1] if back is None else back
    if which == "best":
        return max(measured, key=lambda number: (_accuracy(run, number), -number))
    if which.isdecimal() and int(which) in measured:
        return int(which)
    raise SelfsightError(
        f"{run.path}: there is no finished round {which!r}",
        hint=f"give final, best, or one of {', '.join(map(str, measured))}",
    )


def model_folder_of(run: RunReading, round: int) -> Path:
    """The model folder of a round, as the run wrote it."""
    for name in _FOLDERS:
        artefact = f"rounds/{round}/{name}"
        if (run.path / artefact / "config.json").is_file():
            check_journal(run, artefact)
            return run.path / artefact
    raise SelfsightError(f"{run.path}: round {round} has no model folder", hint="export another round (--round)")


def check_journal(run: RunReading, artefact: str) -> None:
    """SelfsightError, with the file, where a folder of the run is not what the run's journal says it wrote there."""
    entries = read_journal(run.path / "journal.jsonl")
    refuse_damaged_model(run.path / artefact)
    if not any(artefact in entry.outputs for entry in entries):
        raise SelfsightError(
            f"{run.path / artefact}: the run's journal has no line about it",
            hint="restore journal.jsonl, or export another round",
        )


def _accuracy(run: RunReading, round: int) -> float:
    heldout = next(entry["heldout"] for entry in run.rounds if entry["round"] == round)
    accuracy = heldout.get("accuracy")
    return float(accuracy) if isinstance(accuracy, int | float) else -1.0
