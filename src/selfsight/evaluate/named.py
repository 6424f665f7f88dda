"""What a name on the command line stands for: one reading for every command that takes a model.

    starter, FOLDER, OWNER/NAME   a model: the packaged one, a folder, an id of the Hugging Face hub
    RUN                           the model after the run's last finished round
    RUN@K                         the model after its round K; RUN@0 is the model that it began with

Of VisPlay's two roles the model is the one that answers, `reasoner`; the other one is named by its folder,
`RUN/rounds/K/questioner`. Anything else is refused with what it is and what to give instead. No torch is loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfsight.config import load_config
from selfsight.errors import SelfsightError
from selfsight.run import RunDirectory

# Where a round keeps the model that answers its held-out questions: VisPlay's, Vision-Zero's.
MODELS: Final = ("reasoner", "model")

# What a folder that is not a model probably is, by the files in it.
_IMAGES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
_WAYS: Final = "give runs/NAME, runs/NAME@ROUND, a folder saved with save_pretrained, an id of the hub, or starter"


@dataclass(frozen=True)
class NamedModel:
    """A model to be opened.

    `model` is `starter`, a folder or an id of the hub, as the setting `model` takes it, and `revision` is that of an
    id. `run` and `round` say which run's it is, if it is one's.
    """

    given: str
    model: str
    revision: str | None = None
    run: Path | None = None
    round: int | None = None


def resolve_model(given: str) -> NamedModel:
    """The model that a name stands for.

    Args:
        given: a name as it stands above. A folder of that very name comes before a run at a round.

    Raises:
        SelfsightError: something else lies there, the run has no finished round, or no such round. Whether a folder can
            be loaded, and whether an id exists, is found when it is opened.

    Example:
        >>> resolve_model("runs/mine@2").model
        'runs/mine/rounds/2/reasoner'
    """
    if given == "starter":  # the packaged one, whatever lies here under that name
        return NamedModel(given, given)
    path = Path(given).expanduser()
    if (path / "config.yaml").is_file():
        return _of_run(given, path, None)
    if path.exists():
        check_model_folder(given)
        return NamedModel(given, given)
    run = run_at_round(given)
    if run is not None:
        return _of_run(given, *run)
    _refuse_a_run_that_is_not_there(given, path)
    return NamedModel(given, given)


def run_at_round(given: str) -> tuple[Path, int] | None:
    """The run and the round of RUN@K; None when it is something else."""
    name, at, round = given.rpartition("@")
    run = Path(name).expanduser()
    if not at or not name or not run.is_dir() or Path(given).expanduser().exists():
        return None
    if not round.isdecimal():
        raise SelfsightError(f"{given}: {round!r} is not a round", hint=f"give a number, such as {name}@1")
    return run, int(round)


def check_model_folder(given: str) -> None:
    """SelfsightError says what lies there unless it is a folder with a config.json."""
    path = Path(given).expanduser()
    if path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise SelfsightError(f"{given}: is a file of settings, not a model", hint=f"--recipe {given} reads it")
        what = "is an image, not a model" if path.suffix.lower() in _IMAGES else "is a file, not a model folder"
        raise SelfsightError(f"{given}: {what}", hint="give the folder that holds config.json and *.safetensors")
    if (path / "config.json").is_file():
        return
    own = path.resolve()
    if own.parent.name == "rounds" and own.name.isdecimal():
        run = path.parent.parent if len(path.parts) > 2 else own.parent.parent
        raise SelfsightError(f"{given}: is a round of a run, not a model", hint=f"give {run}@{own.name}")
    if own.name == "rounds" and (own.parent / "config.yaml").is_file():
        raise SelfsightError(f"{given}: holds the rounds of a run", hint=f"give the run, {path.parent}, or a round, @1")
    inside = sorted(path.iterdir())
    if any((entry / "config.yaml").is_file() for entry in inside):
        runs = [str(entry) for entry in inside if (entry / "config.yaml").is_file()]
        raise SelfsightError(f"{given}: is a folder of runs, not a model", hint=f"give one of them, such as {runs[0]}")
    if any(entry.suffix.lower() in _IMAGES for entry in inside):
        raise SelfsightError(
            f"{given}: holds images, neither a run (config.yaml) nor a model (config.json)",
            hint=f"images={given} trains on them; {_WAYS}",
        )
    raise SelfsightError(f"{given}: holds neither a run (config.yaml) nor a model (config.json)", hint=_WAYS)


def model_in(round: Path) -> Path | None:
    """The model folder of a round that answers questions or plays; None when there is none."""
    return next((round / name for name in MODELS if (round / name / "config.json").is_file()), None)


def _of_run(given: str, run: Path, round: int | None) -> NamedModel:
    directory = RunDirectory.open(run)
    config = load_config(directory.config_path)
    if round == 0:
        return NamedModel(given, config.model, config.revision, run, 0)
    folders = directory.rounds.iterdir() if directory.rounds.is_dir() else ()
    # A round is finished when round.json, its measurement, is written; the model is on the disk before that.
    found = {
        int(folder.name): model
        for folder in folders
        if folder.name.isdecimal() and (folder / "round.json").is_file() and (model := model_in(folder)) is not None
    }
    if not found:
        raise SelfsightError(
            f"{given}: this run has no finished round, so it has no model yet",
            hint=f"`selfsight resume {run}` goes on with it; {run}@0 is the model that it began with",
        )
    if round is not None and round not in found:
        rounds = ", ".join(map(str, sorted(found)))
        raise SelfsightError(
            f"{given}: round {round} has no model, or is not finished",
            hint=f"rounds with a model: {rounds}; {run}@0 is the model that the run began with",
        )
    chosen = max(found) if round is None else round
    # As it was given, so that what is printed and recorded is what was typed, a `~` aside.
    return NamedModel(given, str(run / "rounds" / str(chosen) / found[chosen].name), None, run, chosen)


def _refuse_a_run_that_is_not_there(given: str, path: Path) -> None:
    """`runs/typo` looks like an id of the hub; where runs lie beside it, nothing is asked of the hub."""
    beside = path.parent
    if len(path.parts) < 2 or not beside.is_dir():
        return
    runs = sorted(str(entry) for entry in beside.iterdir() if (entry / "config.yaml").is_file())
    if runs:
        shown = ", ".join(runs[:8]) + (", ..." if len(runs) > 8 else "")
        raise SelfsightError(f"{given}: there is no such run", hint=f"runs there: {shown}")
