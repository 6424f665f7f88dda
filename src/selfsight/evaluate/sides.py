"""What can stand on a side of a comparison: a model, or a run after one of its measured rounds.

    starter, FOLDER, OWNER/NAME   a model, as `selfsight eval` takes it
    RUN                           the last round of a run that is measured
    RUN@K                         its round K; RUN@0 is the model that it began with

A round of a run has answered held-out questions already; what it was asked, and how, is an `Asking`. Answers to the
same `Asking` can be compared without asking again. No torch is loaded to find that out.
"""

from dataclasses import dataclass
from pathlib import Path

from selfsight.config import EvolveConfig, load_config
from selfsight.errors import SelfsightError
from selfsight.evaluate.answers import EVALUATION
from selfsight.evaluate.named import MODELS, model_in, resolve_model, run_at_round
from selfsight.evaluate.questions import PICTURE_SIZES
from selfsight.language.prompts import taught_pack
from selfsight.run import RunDirectory
from selfsight.run.checks import refuse_damaged, refuse_damaged_model


@dataclass(frozen=True)
class Asking:
    """What is asked, and how: questions of equal askings are the same, about the same pixels, and drawn alike.

    Samples are drawn at temperature 1. `min_pixels` and `max_pixels` bound what a model sees of a picture.
    """

    questions: int
    seed: int
    world: str
    picture_size: int
    num_samples: int
    max_completion_length: int
    min_pixels: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class ModelSide:
    """A model that is asked now."""

    given: str

    @property
    def name(self) -> str:
        """For people: without the folders that it lies in; a model of a run is called by run and round."""
        path = Path(self.given)
        if path.name in (*MODELS, "questioner") and path.parent.parent.name == "rounds":
            return f"{path.parents[2].name}, round {path.parent.name}, {path.name}"
        return path.name if self.given.startswith(("/", ".", "~")) else self.given


@dataclass(frozen=True)
class RoundSide:
    """A run after a round that is measured; `asking` is how."""

    given: str
    run: Path
    round: int
    config: EvolveConfig
    pack: str
    asking: Asking

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.run.name}, round {self.round}" if self.round else f"{self.run.name}, before round 1"

    @property
    def folder(self) -> Path:
        """Where its answers are kept."""
        return self.run / "rounds" / str(self.round)

    @property
    def model(self) -> Path | None:
        """Its model's folder; None before round 1, when the model is the one that the run began with."""
        if self.round == 0:
            return None
        found = model_in(self.folder)
        if found is None:
            raise SelfsightError(
                f"{self.folder}: holds no model ({' or '.join(MODELS)})",
                hint="it was removed; without it this round can only be compared by the answers that it has given",
            )
        refuse_damaged_model(found)
        return found


Side = ModelSide | RoundSide


def find_side(given: str) -> Side:
    """What a name on the command line stands for. A folder of that very name comes before a run at a round."""
    if given == "starter":  # the packaged one, whatever lies here under that name
        return ModelSide(given)
    path = Path(given).expanduser()
    if (path / "config.yaml").is_file():
        return _side(given, path, None)
    run = run_at_round(given)
    if run is not None:
        return _side(given, *run)
    return ModelSide(resolve_model(given).given)


def _side(given: str, path: Path, round: int | None) -> RoundSide:
    directory = RunDirectory.open(path)
    config = load_config(directory.config_path)
    rounds = directory.rounds.iterdir() if directory.rounds.is_dir() else ()
    measured = sorted(
        int(folder.name) for folder in rounds if folder.name.isdecimal() and (folder / EVALUATION).is_file()
    )
    if not measured:
        raise SelfsightError(
            f"{given}: no round of this run is measured yet", hint=f"`selfsight resume {path}` goes on with it"
        )
    if round is not None and round not in measured:
        raise SelfsightError(
            f"{given}: round {round} is not measured", hint=f"measured are: {', '.join(map(str, measured))}"
        )
    chosen = measured[-1] if round is None else round
    refuse_damaged(
        directory.path,
        lambda path: path in ("config.yaml", f"rounds/{chosen}/{EVALUATION}"),
        hint="restore it from a copy, or compare the model folder itself, which is asked again then",
    )
    pack = _pack(config, directory.path)
    return RoundSide(given, directory.path, chosen, config, pack, _asked(config, pack))


def _asked(config: EvolveConfig, pack: str) -> Asking:
    """How a run measures its rounds."""
    settings = config.evaluation
    own = config.vision_zero if config.method == "vision-zero" else config.visplay
    return Asking(
        questions=settings.questions,
        seed=settings.seed,
        world=settings.world,
        picture_size=settings.picture_size or PICTURE_SIZES[pack],
        num_samples=settings.num_samples,
        max_completion_length=own.max_answer_length,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )


def _pack(config: EvolveConfig, run: Path) -> str:
    """The prompt pack in which a run's model answers: its models say which one they were taught."""
    chosen = (config.vision_zero if config.method == "vision-zero" else config.visplay).prompt_pack
    if chosen != "auto":
        return chosen
    for folder in sorted((run / "rounds").iterdir()):
        if (model := model_in(folder)) is not None:
            return taught_pack(model)
    from selfsight.policy.open import pack_name  # loads torch: only a run without a single model comes here

    return pack_name(config, chosen)
