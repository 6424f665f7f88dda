"""`selfsight export RUN`: what is asked for, into one folder, each in a folder of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from rich.text import Text

from selfsight.errors import SelfsightError
from selfsight.export.dataset import ExportedQuestions, export_questions
from selfsight.export.folder import refuse_occupied
from selfsight.export.model import ExportedModel, choose_round, export_model, model_folder_of
from selfsight.report.figures import console
from selfsight.report.questions import TruthOf
from selfsight.report.reading import read_run
from selfsight.run import plain_text
from selfsight.run.checks import refuse_damaged

_QUESTION_TABLES = ("asked.parquet", "asked_votes.parquet", "questions.parquet", "votes.parquet", "pool.parquet")
What = Literal["questions", "model", "all"]


@dataclass(frozen=True)
class Exported:
    """What was written; `why_no_questions` where all was asked for and the run has none."""

    questions: ExportedQuestions | None
    model: ExportedModel | None
    why_no_questions: str


def export_run(
    run_path: Path,
    out: Path,
    *,
    what: What = "all",
    which: str = "final",
    truth: TruthOf | None = None,
    photographs: bool = False,
    force: bool = False,
) -> Exported:
    """Writes OUT/questions and OUT/model. What would keep the second from being written is found before the first."""
    run = read_run(run_path)
    wants_model = what in ("model", "all")
    wants_questions = what == "questions" or (what == "all" and run.asks)
    for wanted, path in ((wants_questions, out / "questions"), (wants_model, out / "model")):
        if wanted:
            refuse_occupied(path, force=force)
    if out.resolve().is_relative_to(run.path.resolve() / "rounds"):
        raise SelfsightError(f"{out}: lies inside the run's rounds", hint="choose another --out")
    refuse_damaged(
        run.path,
        # The model's card needs no table of questions.
        lambda path: wants_questions or Path(path).name not in _QUESTION_TABLES,
        hint="restore it from a copy: a card and a data set must not be made of damaged files",
    )
    if wants_model:
        model_folder_of(run, choose_round(run, which))
    questions = model = None
    if wants_questions:
        questions = export_questions(run, out / "questions", truth=truth, photographs=photographs, force=force)
    if wants_model:
        model = export_model(run, out / "model", which=which, force=force)
    return Exported(questions, model, "" if run.asks else "its model played games and asked no questions")


def render_exported(exported: Exported, stream: TextIO) -> None:
    """Where things are and what they hold, after a line for everything that was left out."""
    out = console(stream)
    parts = [part for part in (exported.questions, exported.model) if part is not None]
    left_out = dict.fromkeys(f"{one.where}: {one.what}" for part in parts for one in part.left_out)
    for trouble in left_out:
        out.print(Text(f"left out: {plain_text(trouble)}"), soft_wrap=True)
    found, model = exported.questions, exported.model
    if found is not None:
        images = f"{found.images} images" if found.images else "no images (--with-photographs, if you may publish them)"
        held = f"{found.kept} questions that were learned from, of {found.asked} asked; {images}"
        out.print(Text(f"{plain_text(str(found.path))}: {held}"), soft_wrap=True)
    elif exported.why_no_questions:
        out.print(Text(f"no questions: {exported.why_no_questions}"))
    if model is not None:
        out.print(Text(f"{plain_text(str(model.path))}: the model of round {model.round}"), soft_wrap=True)
    out.print(Text("Nothing was uploaded. The cards (README.md) lack a licence: state one before you publish."))
