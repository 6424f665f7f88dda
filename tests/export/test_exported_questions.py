"""The data set that an export writes."""

import json
from pathlib import Path

import pytest
from PIL import Image

from made_runs import vision_zero_run
from selfsight.errors import SelfsightError
from selfsight.evaluate.oracle import verdict_if_known
from selfsight.export import export_run
from selfsight.images import ImageRef
from selfsight.recipes import parse_yaml
from selfsight.run import hash_path
from watching import lines, table

from .exportable import exportable, front_matter_and_text


@pytest.fixture(scope="module")
def questions(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    export_run(run, out, what="questions", truth=verdict_if_known)
    return out / "questions"


def test_every_kept_question_of_every_round_is_a_row_with_its_image(questions: Path, run: Path) -> None:
    rows = table(questions / "train" / "metadata.parquet")
    pools = [one for round in (1, 2) for one in table(run / "rounds" / str(round) / "pool.parquet")]
    assert [row["question_id"] for row in rows] == [one["question_id"] for one in pools]
    assert [row["label"] for row in rows] == [one["label"] for one in pools]
    assert [row["round"] for row in rows] == [1] * 18 + [2] * 18
    for row in rows:
        (name,) = row["images_file_names"]
        with Image.open(questions / "train" / name) as image:
            assert image.size == (56, 56)


def test_equal_pictures_are_one_file(questions: Path) -> None:
    rows = table(questions / "train" / "metadata.parquet")
    files = {path.relative_to(questions / "train").as_posix() for path in (questions / "train" / "images").iterdir()}
    assert files == {name for row in rows for name in row["images_file_names"]}
    assert len(files) == len({row["image_id"] for row in rows}) == 6
    assert len(rows) == 36


def test_the_truth_stands_in_columns_for_audits_and_nowhere_else(questions: Path) -> None:
    for row in table(questions / "train" / "metadata.parquet"):
        truth = verdict_if_known_of(row)
        assert (row["audit_truth"], row["audit_label_right"]) == (truth, truth == row["label"])
    for line in lines(questions / "conversations.jsonl"):
        assert set(line) == {"messages", "images", "solution"}


def verdict_if_known_of(row: dict[str, object]) -> str | None:
    found = verdict_if_known(ImageRef(str(row["image_id"]), ""), str(row["question"]))
    assert found is not None
    return found.key


def test_all_questions_are_there_with_what_became_of_them(questions: Path) -> None:
    asked = table(questions / "asked.parquet")
    assert len(asked) == 96
    assert {row["phase"] for row in asked} == {"questioner", "curation"}
    assert {row["gate"] for row in asked if row["kept"] is False} == {"agreement", "format"}
    kept = [row for row in asked if row["kept"]]
    assert len(kept) == 36
    assert all((questions / row["image_file"]).is_file() for row in kept)


def test_other_trainers_find_the_same_rows(questions: Path) -> None:
    written = lines(questions / "conversations.jsonl")
    rows = table(questions / "train" / "metadata.parquet")
    assert [line["messages"][1]["content"] for line in written] == [row["completion"][0]["content"] for row in rows]
    assert all((questions / line["images"][0]).is_file() for line in written)
    entry = json.loads((questions / "dataset_info.json").read_text())["selfsight_questions"]
    assert (questions / entry["file_name"]).is_file()


def test_the_card_counts_what_there_is(questions: Path) -> None:
    metadata, text = front_matter_and_text(questions / "README.md")
    fields = parse_yaml(metadata, where="the card")
    assert fields["configs"][0]["data_files"] == [{"split": "train", "path": "train/**"}]
    assert "license" not in fields
    assert "# license: yours to state" in metadata
    assert "36 questions about 6 images" in text
    rights = [row["audit_label_right"] for row in table(questions / "train" / "metadata.parquet")]
    assert f"{sum(not right for right in rights)} of 36 labels are wrong" in text
    assert "| 1 | 24 | 24 | 21 | 18 | 0.75 |" in text
    assert "No person and no other model has checked" in text
    assert "agreement_floor" in text


def test_the_same_run_gives_the_same_bytes(questions: Path, run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path, what="questions", truth=verdict_if_known)
    assert hash_path(tmp_path / "questions") == hash_path(questions)


def photograph(path: Path) -> None:
    """A JPEG file whose metadata say where it was taken."""
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (64, 48), "red").save(path, "JPEG", exif=exif)


def test_photographs_stay_here_unless_the_user_says_that_they_may_go(tmp_path: Path) -> None:
    path = exportable(tmp_path, photographs=True, overrides=[f"images={tmp_path}"])
    photograph(tmp_path / "red.png")
    done = export_run(path, tmp_path / "out", what="questions", truth=verdict_if_known)
    folder = tmp_path / "out" / "questions"
    assert done.questions is not None
    assert (done.questions.kept, done.questions.images) == (36, 0)
    assert not [file for file in folder.rglob("*") if file.suffix in (".png", ".jpg", ".jsonl")]
    rows = table(folder / "train" / "questions.parquet")
    assert {row["audit_label_right"] for row in rows} == {None}
    text = (folder / "README.md").read_text()
    assert "without their images" in text
    assert "Nobody knows" in text
    assert not [file for file in folder.rglob("*") if file.is_file() and str(tmp_path).encode() in file.read_bytes()]


def test_photographs_are_copied_as_pixels_without_what_they_tell_about_themselves(tmp_path: Path) -> None:
    path = exportable(tmp_path, photographs=True, overrides=[f"images={tmp_path}"])
    photograph(tmp_path / "red.png")
    export_run(path, tmp_path / "out", what="questions", photographs=True)
    folder = tmp_path / "out" / "questions"
    (file,) = (folder / "train" / "images").iterdir()  # six references, one picture
    with Image.open(file) as image:
        assert (image.format, image.size, dict(image.getexif()), image.info) == ("PNG", (64, 48), {}, {})
    assert b"Secret camera" not in file.read_bytes()
    assert not [file for file in folder.rglob("*") if file.is_file() and str(tmp_path).encode() in file.read_bytes()]


def test_questions_whose_image_is_gone_are_left_out_and_counted(tmp_path: Path) -> None:
    path = exportable(tmp_path, photographs=True, overrides=[f"images={tmp_path}"])
    with pytest.raises(SelfsightError, match="36 are left out: 6 images cannot be opened"):
        export_run(path, tmp_path / "out", what="questions", photographs=True)
    assert not (tmp_path / "out" / "questions").exists()


def test_phases_that_are_not_finished_are_left_out_and_named(tmp_path: Path) -> None:
    path = exportable(tmp_path, finished=False)
    folder = path / "rounds" / "2"
    (folder / "parts").mkdir()
    (folder / "asked.parquet").rename(folder / "parts" / "asked-00000.parquet")
    done = export_run(path, tmp_path / "out", what="questions")
    assert done.questions is not None
    assert done.questions.asked == 72
    assert [one.what for one in done.questions.left_out] == ["the questioner phase is not finished"]
    assert "the run was not finished" in (tmp_path / "out" / "questions" / "README.md").read_text()


def test_a_control_run_is_called_one(tmp_path: Path) -> None:
    path = exportable(tmp_path, overrides=["visplay.controls.labels=permuted"])
    export_run(path, tmp_path / "out")
    for card in ("questions", "model"):
        text = (tmp_path / "out" / card / "README.md").read_text()
        assert "**a control run, not the method**: ` labels=permuted `" in text


def test_a_run_of_games_has_no_questions(tmp_path: Path) -> None:
    path = vision_zero_run(tmp_path)
    with pytest.raises(SelfsightError, match="played games and asked no questions"):
        export_run(path, tmp_path / "out", what="questions")
