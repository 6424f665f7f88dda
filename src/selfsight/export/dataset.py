"""The self-made questions of a run as a folder that `datasets` and trainers read.

    README.md             the data card
    train/                what the reasoner learned from: metadata.parquet with images/, or questions.parquet without
    asked.parquet         every question that was asked, with its votes and what became of it
    conversations.jsonl   train/ once more, as LLaMA-Factory and ms-swift read it; with images only
    dataset_info.json     names that file for LLaMA-Factory
    provenance.json       which run it is from

The same run gives the same bytes. Tables of a phase that is not finished are left out.
"""

from dataclasses import dataclass, field
from pathlib import Path

from selfsight.errors import SelfsightError
from selfsight.export.data_card import LLAMA_FACTORY, CardFacts, data_card
from selfsight.export.folder import new_folder
from selfsight.export.images import ImageFiles
from selfsight.export.rows import (
    ASKED,
    WITH_IMAGES,
    WITHOUT_IMAGES,
    Row,
    asked_row,
    conversation,
    is_kept,
    kept_row,
)
from selfsight.language.prompts import PromptPack, get_pack, taught_pack
from selfsight.report.page import picture_root
from selfsight.report.pictures import picture_source
from selfsight.report.questions import QuestionRecord, QuestionTable, TruthOf, question_tables
from selfsight.report.reading import RunReading, Trouble, round_numbers
from selfsight.run.atomic import canonical_json, pretty_json
from selfsight.run.tables import write_table
from selfsight.starter import starter_folder

_TRAIN = "train"
_MODELS = ("reasoner", "model", "questioner")  # folders of a round, any of which names the run's prompt pack


@dataclass(frozen=True)
class ExportedQuestions:
    """A written data set: tasks, all questions, image files, and what was left out and why."""

    path: Path
    kept: int
    asked: int
    images: int
    left_out: tuple[Trouble, ...]


@dataclass
class _Gathered:
    kept: list[Row] = field(default_factory=list)
    asked: list[Row] = field(default_factory=list)
    lines: list[dict[str, object]] = field(default_factory=list)
    unspeakable: int = 0
    unseen: int = 0


def export_questions(
    run: RunReading, path: Path, *, truth: TruthOf | None, photographs: bool, force: bool
) -> ExportedQuestions:
    """Writes the questions of `run` to `path`. `photographs`: image files may be copied into it."""
    if not run.asks:
        raise SelfsightError(
            f"{run.path}: its model played games and asked no questions", hint="export its model: --what model"
        )
    with_images = photographs or run.config.images.startswith("worlds")
    troubles: list[Trouble] = list(run.troubles)
    pack = run_pack(run)
    with new_folder(path, run, {"kind": "questions"}, force=force) as folder:
        train = folder / _TRAIN
        train.mkdir()
        files = ImageFiles(train, picture_source(run.config, picture_root(run)).open) if with_images else None
        found = _Gathered()
        for table in question_tables(run.path, truth, troubles):
            if table.whole:
                _gather(table, pack, files, found)
            else:
                troubles.append(Trouble(f"rounds/{table.round}", f"the {table.phase} phase is not finished"))
        troubles += _left_out(found, files)
        if not found.kept:
            why = "".join(f"; {trouble.where}: {trouble.what}" for trouble in troubles)
            raise SelfsightError(f"{run.path}: no question of it can be exported{why}", hint="finish the run first")
        schema = WITHOUT_IMAGES if files is None else WITH_IMAGES
        write_table(train / ("questions.parquet" if files is None else "metadata.parquet"), found.kept, schema)
        write_table(folder / "asked.parquet", found.asked, ASKED)
        if files is not None:
            lines = b"".join(canonical_json(line) + b"\n" for line in found.lines)
            (folder / "conversations.jsonl").write_bytes(lines)
            (folder / "dataset_info.json").write_bytes(pretty_json(_llama_factory()))
        images = None if files is None else files.count
        facts = CardFacts(run, found.kept, found.asked, images, pack.name, tuple(troubles))
        (folder / "README.md").write_text(data_card(facts), encoding="utf-8")
    return ExportedQuestions(path, len(found.kept), len(found.asked), images or 0, tuple(troubles))


def run_pack(run: RunReading) -> PromptPack:
    """How the run's model was spoken to: by its settings, or as its own model folders say."""
    chosen = run.config.visplay.prompt_pack
    if chosen != "auto":
        return get_pack(chosen)
    folders = [run.path / "rounds" / str(round) / name for round in round_numbers(run.path) for name in _MODELS]
    folders.append(starter_folder() if run.config.model == "starter" else Path(run.config.model).expanduser())
    for folder in folders:
        if (folder / "config.json").is_file():
            return get_pack(taught_pack(folder))
    raise SelfsightError(
        f"{run.path}: holds no model folder that says how the model was spoken to, nor is {run.config.model!r} one",
        hint="run the export where the model's folder lies, or finish a round first",
    )


def _gather(table: QuestionTable, pack: PromptPack, files: ImageFiles | None, found: _Gathered) -> None:
    for question in table.questions:
        image_file = None
        if is_kept(question):
            image_file = None if files is None else files.add(question.asked.question.image)
            _gather_kept(question, pack, image_file, files is not None, found)
        found.asked.append(asked_row(question, None if image_file is None else f"{_TRAIN}/{image_file}"))


def _gather_kept(
    question: QuestionRecord, pack: PromptPack, image_file: str | None, with_images: bool, found: _Gathered
) -> None:
    row = kept_row(question, pack)
    if row is None:
        found.unspeakable += 1
    elif not with_images:
        found.kept.append(row)
    elif image_file is None:
        found.unseen += 1
    else:
        found.kept.append({**row, "images_file_names": [image_file]})
        found.lines.append(conversation(row, f"{_TRAIN}/{image_file}"))


def _left_out(found: _Gathered, files: ImageFiles | None) -> list[Trouble]:
    troubles = []
    if found.unspeakable:
        what = "hold what a tokenizer may read as a special token, in question or answer, and are left out"
        troubles.append(Trouble("questions", f"{found.unspeakable} {what}"))
    if found.unseen and files is not None:
        named = ", ".join(sorted(ref.id for ref in files.missing)[:3])
        what = f"{found.unseen} are left out: {len(files.missing)} images cannot be opened any more, such as {named}"
        troubles.append(Trouble("questions", what))
    return troubles


def _llama_factory() -> dict[str, object]:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    columns = {"messages": "messages", "images": "images"}
    entry = {"file_name": "conversations.jsonl", "formatting": "sharegpt", "columns": columns, "tags": tags}
    return {LLAMA_FACTORY: entry}
