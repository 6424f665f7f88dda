"""`selfsight export RUN`: what is asked for, into one folder, each in a folder of its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

from rich.text import Text

from selfsight.errors import SelfsightError
from selfsight.export.adapter import ExportedAdapter, adapter_of, export_adapter
from selfsight.export.conversion import Dtype
from selfsight.export.dataset import ExportedQuestions, export_questions
from selfsight.export.folder import refuse_occupied, remove_leftover
from selfsight.export.model import ExportedModel, choose_round, export_model, model_folder_of
from selfsight.report.figures import console
from selfsight.report.questions import TruthOf
from selfsight.report.reading import read_run
from selfsight.run import plain_text
from selfsight.run.checks import refuse_damaged

_LEFT: Final = "an export that was killed had left it"
_QUESTION_TABLES = ("asked.parquet", "asked_votes.parquet", "questions.parquet", "votes.parquet", "pool.parquet")
What = Literal["questions", "model", "all"]


@dataclass(frozen=True)
class Exported:
    """What was written; `why_no_questions` where all was asked for and the run has none.

    `removed` are folders that an earlier export had left when it was killed.
    """

    questions: ExportedQuestions | None
    model: ExportedModel | None
    adapter: ExportedAdapter | None
    why_no_questions: str
    removed: tuple[Path, ...] = ()


def export_run(
    run_path: Path,
    out: Path,
    *,
    what: What = "all",
    which: str = "final",
    truth: TruthOf | None = None,
    photographs: bool = False,
    force: bool = False,
    dtype: Dtype | None = None,
) -> Exported:
    """Writes OUT/questions, OUT/model and, if the run kept adapters, OUT/adapter.

    What would keep one of them from being written is found before the first is written.

    Args:
        run_path: The run's folder.
        out: The folder that gets them.
        what: "questions", "model" (with its adapters) or "all".
        which: Whose model: "final", "best" or a round's number.
        truth: How it is known what is exactly true of an image.
        photographs: Copy the user's own images too.
        force: Replace an earlier export.
        dtype: What the model's weights are converted to; None leaves them as the run saved them.

    Raises:
        SelfsightError: something cannot be exported, is in the way, or was not written as it should be.
    """
    run = read_run(run_path)
    wants_model = what in ("model", "all")
    wants_questions = what == "questions" or (what == "all" and run.asks)
    if dtype is not None and not wants_model:
        raise SelfsightError("--dtype is about the model, which is not exported", hint="leave out --dtype, or --what")
    paths = [
        *([out / "questions"] if wants_questions else []),
        # An older adapter folder would be taken for the new model's, so it is in the way even if there is no new one.
        *([out / "model", out / "adapter"] if wants_model else []),
    ]
    # First of all: hidden folders in there may be those of the run itself.
    if out.resolve().is_relative_to(run.path.resolve() / "rounds"):
        raise SelfsightError(f"{out}: lies inside the run's rounds", hint="choose another --out")
    removed = tuple(leftover for path in paths if (leftover := remove_leftover(path)) is not None)
    try:
        for path in paths:
            refuse_occupied(path, force=force)
    except SelfsightError as error:
        if not removed:
            raise
        named = ", ".join(map(str, removed))
        raise SelfsightError(error.message, hint=f"{error.hint} ({named}: removed, {_LEFT})") from error
    refuse_damaged(
        run.path,
        # The model's card needs no table of questions.
        lambda path: wants_questions or Path(path).name not in _QUESTION_TABLES,
        hint="restore it from a copy: a card and a data set must not be made of damaged files",
    )
    if wants_model:
        model_folder_of(run, choose_round(run, which))
    adapter = adapter_of(run, which) if wants_model else None
    questions = model = exported_adapter = None
    if wants_questions:
        questions = export_questions(run, out / "questions", truth=truth, photographs=photographs, force=force)
    if wants_model:
        model = export_model(run, out / "model", which=which, force=force, dtype=dtype)
        if adapter is not None:
            exported_adapter = export_adapter(run, adapter, out / "adapter", which=which, force=force)
        elif (out / "adapter").is_dir():
            shutil.rmtree(out / "adapter")  # empty, or an earlier export that may be replaced
    why_none = "" if run.asks else "its model played games and asked no questions"
    return Exported(questions, model, exported_adapter, why_none, removed)


def render_exported(exported: Exported, stream: TextIO) -> None:
    """Where things are and what they hold, after a line for everything that was left out."""
    out = console(stream)
    parts = [part for part in (exported.questions, exported.model) if part is not None]
    left_out = dict.fromkeys(f"{one.where}: {one.what}" for part in parts for one in part.left_out)
    for trouble in left_out:
        out.print(Text(f"left out: {plain_text(trouble)}"), soft_wrap=True)
    for leftover in exported.removed:
        out.print(Text(f"{plain_text(str(leftover))}: removed, {_LEFT}"), soft_wrap=True)
    found, model = exported.questions, exported.model
    if found is not None:
        images = f"{found.images} images" if found.images else "no images (--with-photographs, if you may publish them)"
        held = f"{found.kept} questions that were learned from, of {found.asked} asked; {images}"
        out.print(Text(f"{plain_text(str(found.path))}: {held}"), soft_wrap=True)
    elif exported.why_no_questions:
        out.print(Text(f"no questions: {exported.why_no_questions}"))
    if model is not None:
        out.print(Text(f"{plain_text(str(model.path))}: the model of round {model.round}"), soft_wrap=True)
        if model.needs:
            packages = " ".join(model.needs)
            needs = f"AutoProcessor and pipeline need `pip install {packages}` for it; the card says what does without"
            out.print(Text(f"  {needs}"), soft_wrap=True)
    if exported.adapter is not None:
        where = f"{plain_text(str(exported.adapter.path))}: its adapters alone, for peft"
        out.print(Text(where), soft_wrap=True)
    out.print(Text("Nothing was uploaded. The cards (README.md) lack a licence: state one before you publish."))
