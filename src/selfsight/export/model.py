"""A round's model of a run as a model folder with a card.

The folder is the one that the run has saved (`save_pretrained`: transformers and vLLM load it), and it must still be
what the run's journal says it was. Adapters of a LoRA run lie merged in it; a folder that holds adapter files keeps
them. Default is the run's result, which its own comparison is about: the last round, or the one that alarms rolled it
back to. `best` is the round with the highest held-out accuracy, chosen by the very questions that the card then
reports, and the card says so.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.export.folder import new_folder
from selfsight.export.model_card import ModelFacts, model_card
from selfsight.export.watched import rolled_back_to
from selfsight.report.reading import RunReading, Trouble
from selfsight.run import hash_path, read_journal
from selfsight.run.checks import refuse_damaged_model

_FOLDERS = ("reasoner", "model")  # of a round: what answers questions, what plays games


@dataclass(frozen=True)
class ExportedModel:
    """A written model folder and the round it is from."""

    path: Path
    round: int
    left_out: tuple[Trouble, ...]


def export_model(run: RunReading, path: Path, *, which: str, force: bool) -> ExportedModel:
    """Writes the model of a round of `run` to `path`; `which` is "final", "best" or a round's number."""
    round = choose_round(run, which)
    source = model_folder_of(run, round)
    about = {"kind": "model", "round": round, "chosen": which, "model_hash": hash_path(source)}
    with new_folder(path, run, about, force=force) as folder:
        for file in sorted(source.rglob("*")):
            if file.is_symlink():
                raise SelfsightError(f"{file}: is a link, which no run writes", hint="restore the run's folder")
            if file.is_file() and file.name != "README.md":
                target = folder / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        (folder / "README.md").write_text(
            model_card(ModelFacts(run, round, which, source.name, folder)), encoding="utf-8"
        )
    return ExportedModel(path, round, run.troubles)


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
            recorded = [entry.outputs[artefact] for entry in read_journal(run.path / "journal.jsonl")
                        if artefact in entry.outputs]  # fmt: skip
            refuse_damaged_model(run.path / artefact)  # names the file
            if not recorded:
                raise SelfsightError(
                    f"{run.path / artefact}: the run's journal has no line about it",
                    hint="restore journal.jsonl, or export another round",
                )
            return run.path / artefact
    raise SelfsightError(f"{run.path}: round {round} has no model folder", hint="export another round (--round)")


def _accuracy(run: RunReading, round: int) -> float:
    heldout = next(entry["heldout"] for entry in run.rounds if entry["round"] == round)
    accuracy = heldout.get("accuracy")
    return float(accuracy) if isinstance(accuracy, int | float) else -1.0
