"""A run is read whatever state it is in, and what cannot be read is named and never guessed."""

import json
import shutil
from pathlib import Path

import pytest

from made_runs import visplay_run
from selfsight.config import VisplaySettings
from selfsight.errors import SelfsightError
from selfsight.evaluate.oracle import verdict_if_known
from selfsight.images import ImageRef
from selfsight.report.explain import explanation
from selfsight.report.questions import find_question, question_tables
from selfsight.report.reading import Trouble, interval, number, read_run


@pytest.fixture
def copy(visplay: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(visplay, tmp_path / "copy"))


def test_a_finished_run_is_read_without_troubles(visplay: Path) -> None:
    run = read_run(visplay)
    assert run.troubles == ()
    assert run.summary is not None
    assert run.base is not None
    assert [entry["round"] for entry in run.rounds] == [1, 2]
    assert [stage.name for stage in run.stages] == [f"round-{k}/evaluation" for k in range(3)]
    assert len(run.metrics) == 16


def test_a_run_without_a_summary_is_one_that_goes_on(tmp_path: Path) -> None:
    run = read_run(visplay_run(tmp_path, rounds=1, finished=False, overrides=["visplay.rounds=3"]))
    assert run.summary is None
    assert (len(run.rounds), run.rounds_planned) == (1, 3)
    assert run.troubles == ()


def test_a_folder_that_holds_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="holds no run"):
        read_run(tmp_path)


def test_damaged_lines_are_named_and_the_others_are_read(copy: Path) -> None:
    lines = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = b'{"reward": NaN}\n'
    lines[5] = b"\xff\xfe not json\n"
    lines[7] = b"[1, 2]\n"
    (copy / "metrics.jsonl").write_bytes(b"".join(lines))
    run = read_run(copy)
    assert [t.where for t in run.troubles] == [f"metrics.jsonl, line {n}" for n in (4, 6, 8)]
    assert len(run.metrics) == 13


def test_a_last_line_that_is_being_written_is_no_trouble(copy: Path) -> None:
    with (copy / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"stage": "round-2/rea')
    run = read_run(copy)
    assert run.troubles == ()
    assert len(run.metrics) == 16


def test_damaged_files_are_named(copy: Path) -> None:
    (copy / "summary.json").write_text("{")
    (copy / "rounds/1/round.json").write_text('{"round": 1}')
    (copy / "rounds/2/round.json").write_text("[]")
    (copy / "journal.jsonl").write_text('{"stage": 5}\n' + "[" * 100_000 + "\n")
    run = read_run(copy)
    assert {t.where for t in run.troubles} == {
        "summary.json", "rounds/1/round.json", "rounds/2/round.json", "journal.jsonl, line 1", "journal.jsonl, line 2"
    }  # fmt: skip
    assert run.rounds == ()
    assert run.base is not None


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), [1]])
def test_what_is_no_figure_is_none(value: object) -> None:
    assert number(value) is None
    assert interval([0.1, value]) is None


def test_questions_carry_votes_terms_and_fates(visplay: Path) -> None:
    troubles: list[Trouble] = []
    tables = list(question_tables(visplay, None, troubles))
    assert troubles == []
    assert [(t.round, t.phase, t.whole, len(t.questions)) for t in tables] == [
        (1, "questioner", True, 24), (1, "curation", True, 24), (2, "questioner", True, 24), (2, "curation", True, 24)
    ]  # fmt: skip
    asked, curated = tables[0].questions[2], tables[1].questions[2]
    assert asked.terms is not None
    assert (asked.terms.cluster_size, asked.terms.group_size) == (7, 8)
    assert asked.votes is not None
    assert (asked.votes.counts, asked.votes.abstentions) == ({"num:3": 6, "num:2": 1}, 1)
    assert (asked.confidence, asked.label, asked.kept) == (0.75, "num:3", None)
    assert curated.votes is not None
    assert curated.votes.counts == {"num:3": 6, "num:2": 1}
    assert (curated.kept, curated.taught, curated.terms) == (True, "num:3", None)
    assert (tables[1].questions[1].gate, tables[1].questions[1].taught) == ("agreement", None)


def test_truth_is_asked_about_readable_questions_only(visplay: Path) -> None:
    asked: list[tuple[ImageRef, str]] = []
    list(question_tables(visplay, lambda image, text: asked.append((image, text)), []))  # type: ignore[func-returns-value]
    assert len(asked) == 4 * 21
    assert all(text for _, text in asked)


def test_a_table_that_cannot_be_read_is_named_and_left_out(copy: Path) -> None:
    (copy / "rounds/1/questions.parquet").write_bytes(b"PAR1 not really")
    shutil.copy(copy / "rounds/2/pool.parquet", copy / "rounds/2/asked.parquet")
    troubles: list[Trouble] = []
    tables = list(question_tables(copy, None, troubles))
    assert [(t.round, t.phase) for t in tables] == [(1, "questioner"), (2, "curation")]
    assert [t.where for t in troubles] == ["rounds/1/questions.parquet", "rounds/2/asked.parquet"]
    assert "is damaged" in troubles[0].what


def test_the_parts_of_a_phase_under_way_are_read(copy: Path) -> None:
    folder = copy / "rounds/2"
    (folder / "parts").mkdir()
    (folder / "asked.parquet").rename(folder / "parts/asked-00000.parquet")
    (folder / "asked_votes.parquet").rename(folder / "parts/asked_votes-00000.parquet")
    (folder / "questions.parquet").rename(folder / "parts/candidates-1234abcd-00000.parquet")
    (folder / "votes.parquet").rename(folder / "parts/votes-1234abcd-00000.parquet")
    tables = [t for t in question_tables(copy, None, []) if t.round == 2]
    assert [(t.phase, t.whole, len(t.questions)) for t in tables] == [
        ("questioner", False, 24),
        ("curation", False, 24),
    ]
    assert all(table.questions[2].votes is not None for table in tables)


def test_of_a_run_that_kept_no_answers_of_its_questioner_phase_is_known_how_many_agreed(copy: Path) -> None:
    (copy / "rounds/1/asked_votes.parquet").unlink()
    troubles: list[Trouble] = []
    asked = next(question_tables(copy, None, troubles)).questions[2]
    assert troubles == []
    assert (asked.votes, asked.confidence, asked.label) == (None, 0.75, "num:3")
    assert "Votes: 75.0 % agree; this run did not keep the answers" in explanation(asked, VisplaySettings())


def test_a_part_that_vanishes_while_it_is_looked_for_is_named(copy: Path) -> None:
    parts = copy / "rounds/3/parts"
    parts.mkdir(parents=True)
    (parts / "votes-1234abcd-00000.parquet").symlink_to("gone")
    troubles: list[Trouble] = []
    assert [t.round for t in question_tables(copy, None, troubles)] == [1, 1, 2, 2]
    assert {t.where for t in troubles} == {
        "rounds/3/parts/candidates-1234abcd-00000.parquet", "rounds/3/parts/votes-1234abcd-00000.parquet"
    }  # fmt: skip


def test_an_id_that_names_no_picture_has_no_truth() -> None:
    assert verdict_if_known(ImageRef("w-nowhere", "x"), "How many?") is None
    assert verdict_if_known(ImageRef("f-0011", "x"), "How many?") is None
    known = verdict_if_known(ImageRef("w-mixed-train-7-0", "x"), "How many red circles are there?")
    assert known is not None


def test_a_question_is_found_by_its_id(visplay: Path) -> None:
    id = next(question_tables(visplay, None, [], only_round=2)).questions[5].id
    assert find_question(visplay, id, None).id == id
    with pytest.raises(SelfsightError, match="holds no question 'r2/nothing'"):
        find_question(visplay, "r2/nothing", None)


def test_a_question_in_a_damaged_table_is_missed_with_the_reason(copy: Path) -> None:
    id = list(question_tables(copy, None, [], only_round=1))[1].questions[0].id
    (copy / "rounds/1/questions.parquet").write_bytes(b"")
    with pytest.raises(SelfsightError, match=r"rounds/1/questions\.parquet could not be read"):
        find_question(copy, id, None)


def test_round_folders_are_known_by_their_numbers(copy: Path) -> None:
    (copy / "rounds/notes").mkdir()
    (copy / "rounds/7").write_text("a file")
    assert len(read_run(copy).rounds) == 2
    assert json.loads((copy / "rounds/2/round.json").read_text())["round"] == 2
