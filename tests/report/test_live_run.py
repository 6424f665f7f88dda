"""A run that a live page follows: read while it is written, seldom enough, whatever becomes of its files."""

import json
import os
import shutil
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_runs import visplay_run
from selfsight.errors import SelfsightError
from selfsight.report import live
from selfsight.report.live import LiveRun, look, newest_run
from selfsight.report.page import write_report
from selfsight.report.reading import read_run
from selfsight.run import RunDirectory


class Day:
    """A clock that is put forward by hand, and work that costs what it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spent = 0.0
        self.work = 0.0  # what each asking for the cost adds

    def clock(self) -> float:
        return self.now

    def cost(self) -> float:
        self.spent += self.work
        return self.spent

    def spend(self, seconds: float) -> float:
        self.spent += seconds
        return self.spent


def opened(run: Path, day: Day, **options: Any) -> LiveRun:
    return LiveRun(run, clock=day.clock, cost=day.cost, **options)


def state(run: LiveRun) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.state().body)
    return found


def data(run: LiveRun, name: str) -> Any:
    body = run.block(state(run)["blocks"][name])
    assert body is not None
    return json.loads(body)


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


LINE = json.dumps({"stage": "round-2/reasoner", "step": 4, "reward": 0.5})


def test_a_live_page_has_the_data_of_the_report(visplay: Path, tmp_path: Path) -> None:
    day = Day()
    run = opened(visplay, day)
    written = write_report(visplay, tmp_path / "report.html").path.read_text()
    names = state(run)["blocks"]
    assert set(names) == {"overview", "questions", "details-0", "album"}
    for name in ("overview", "questions", "details-0"):
        body = run.block(names[name])
        assert body is not None
        assert f'id="data-{name}">{body.decode()}</script>' in written
    assert run.block("0" * 32) is None


def test_nothing_new_is_the_same_state_and_nothing_is_read(visplay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = Day()
    run = opened(visplay, day)
    before = run.state()
    monkeypatch.setattr(live, "read_run", lambda path: pytest.fail("the run was read again"))
    day.now = 10_000
    assert run.state() == before


def test_a_line_that_is_being_written_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = visplay_run(tmp_path, images=1)
    day = Day()
    run = opened(path, day)
    assert data(run, "overview")["curves"]["steps"] == 16
    append(path / "metrics.jsonl", LINE[:30])
    day.now += 60
    assert data(run, "overview")["curves"]["steps"] == 16
    assert data(run, "overview")["troubles"] == []
    append(path / "metrics.jsonl", LINE[30:] + "\n")
    day.now += 60
    assert data(run, "overview")["curves"]["steps"] == 17


def test_questions_appear_with_the_part_that_holds_them(tmp_path: Path) -> None:
    path = visplay_run(tmp_path / "a", images=1, finished=False)
    (tmp_path / "later").mkdir()
    shutil.move(path / "rounds/2", tmp_path / "later/2")
    day = Day()
    run = opened(path, day)
    assert data(run, "questions")["shown"] == 16
    before = state(run)["blocks"]
    parts = path / "rounds/2/parts"
    parts.mkdir(parents=True)
    shutil.copy(tmp_path / "later/2/asked.parquet", parts / "asked-00000.parquet")
    day.now += 60
    assert data(run, "questions")["shown"] == 24
    # Only what changed has another name, so a page fetches nothing else.
    assert {name for name, hash in state(run)["blocks"].items() if before.get(name) != hash} == {
        "questions", "details-0", "album"
    }  # fmt: skip


def test_a_part_that_became_a_table_while_it_was_read_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1)
    whole = path / "rounds/1/asked.parquet"
    part = path / "rounds/1/parts/asked-00000.parquet"
    part.parent.mkdir()
    shutil.move(whole, part)
    make = live.table_blocks

    def table_blocks(run: Any, album: Any, truth: Any, troubles: list[Any], *most: int) -> Any:
        if part.exists():  # the stage ends between the listing and the reading
            troubles.append(live.Trouble("rounds/1/parts/asked-00000.parquet", "does not exist"))
            shutil.move(part, whole)
        return make(run, album, truth, troubles, *most)

    monkeypatch.setattr(live, "table_blocks", table_blocks)
    run = opened(path, Day())
    assert data(run, "overview")["troubles"] == []
    assert data(run, "questions")["shown"] == 16


def test_a_trouble_in_a_table_stands_on_the_first_page_and_goes_when_it_is_mended(tmp_path: Path) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1)
    table = path / "rounds/1/asked.parquet"
    sound = table.read_bytes()
    table.write_bytes(b"PAR1 not")
    day = Day()
    run = opened(path, day)
    assert [where for where, _ in data(run, "overview")["troubles"]] == ["rounds/1/asked.parquet"]
    table.write_bytes(sound)
    day.now += 60
    assert data(run, "overview")["troubles"] == []


def test_what_took_long_is_done_again_only_after_a_long_rest(tmp_path: Path) -> None:
    path = visplay_run(tmp_path, images=1)
    day = Day()
    run = opened(path, day)
    append(path / "metrics.jsonl", LINE + "\n")
    day.now, day.work = 10, 0.3  # looking at the files now takes 0.3 seconds, and rests 1,000 times as long
    assert data(run, "overview")["curves"]["steps"] == 17
    append(path / "metrics.jsonl", LINE + "\n")
    for now, steps in ((11.5, 17), (309, 17), (311, 18)):
        day.now = now
        assert data(run, "overview")["curves"]["steps"] == steps


def test_following_a_run_takes_at_most_a_hundredth_of_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1)
    day = Day()
    run = opened(path, day)
    made, make = [], live.table_blocks
    monkeypatch.setattr(live, "look", lambda path: replace(look(path), written=day.spend(0.002)))
    monkeypatch.setattr(live, "read_run", lambda path: (day.spend(0.03), read_run(path))[1])
    monkeypatch.setattr(live, "table_blocks", lambda *given: (made.append(day.spend(0.1)), make(*given))[1])
    for second in range(1, 601):  # everything changes every second, and a page asks as often
        day.now = float(second)
        for file in ("metrics.jsonl", "rounds/1/asked.parquet"):
            os.utime(path / file, (second, second))
        run.state()
    assert 0.008 < day.spent / 600 <= 0.01
    assert len(made) > 30


def test_while_one_page_has_the_run_read_the_others_get_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1)
    day = Day()
    run = opened(path, day)
    before = run.state()
    append(path / "metrics.jsonl", LINE + "\n")
    day.now += 60
    reading, go_on, read = threading.Event(), threading.Event(), live.read_run

    def slowly(path: Path) -> Any:
        reading.set()
        assert go_on.wait(60)
        return read(path)

    monkeypatch.setattr(live, "read_run", slowly)
    first = threading.Thread(target=run.state)
    first.start()
    assert reading.wait(60)
    assert run.state() == before
    go_on.set()
    first.join()
    assert run.state() != before


# ------------------------------------------------------------------------------------------------- how it is


def test_a_run_is_running_while_its_process_holds_it_and_finished_or_stopped_afterwards(tmp_path: Path) -> None:
    stopped = visplay_run(tmp_path / "a", images=1, rounds=1, finished=False)
    finished = visplay_run(tmp_path / "b", images=1, rounds=1)
    for path, afterwards in ((stopped, "stopped"), (finished, "finished")):
        day = Day()
        run = opened(path, day)
        assert state(run)["status"] == afterwards
        with RunDirectory.resume(path):
            day.now += 5
            assert state(run)["status"] == "running"
        day.now += 5
        assert state(run)["status"] == afterwards


def test_a_finished_run_that_was_asked_for_more_rounds_is_not_finished(tmp_path: Path) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1)
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("rounds: 1\n", "rounds: 2\n"))
    assert state(opened(path, Day()))["status"] == "stopped"


def test_of_a_run_on_another_machine_only_the_last_write_is_known(tmp_path: Path) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1, finished=False)
    (path / ".lock").write_text(json.dumps({"pid": 7, "host": f"not-{socket.gethostname()}", "start": ""}))
    os.utime(path / "metrics.jsonl", (2e9, 2e9))
    found = state(opened(path, Day()))
    assert (found["status"], found["written"]) == ("elsewhere", 2e9)


def test_a_run_that_is_taken_away_is_said_to_be_and_what_was_read_stays(tmp_path: Path) -> None:
    path = visplay_run(tmp_path / "a", images=1, rounds=1)
    day = Day()
    run = opened(path, day)
    questions = data(run, "questions")
    away = tmp_path / "away"
    path.rename(away)
    day.now += 60
    assert state(run)["status"] == "unreadable"
    assert data(run, "questions") == questions
    away.rename(path)
    day.now += 60
    assert state(run)["status"] == "finished"


def test_settings_that_cannot_be_read_any_more_keep_what_was_read(tmp_path: Path) -> None:
    path = visplay_run(tmp_path, images=1, rounds=1)
    day = Day()
    run = opened(path, day)
    sound = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text("visplay: [")
    day.now += 60
    assert state(run)["status"] == "unreadable"
    (path / "config.yaml").write_text(sound)
    day.now += 60
    assert state(run)["status"] == "finished"


def test_no_run_and_unreadable_settings_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SelfsightError, match="holds no run"):
        LiveRun(tmp_path)
    (tmp_path / "config.yaml").write_text("visplay: [")
    with pytest.raises(SelfsightError, match=r"config\.yaml"):
        LiveRun(tmp_path)


# ------------------------------------------------------------------------------------------------- pictures


def test_a_picture_is_had_by_its_name_in_the_album_and_by_no_other(visplay: Path) -> None:
    run = opened(visplay, Day())
    images = data(run, "album")["images"]
    assert len(images) == 12
    for name, _ in images:
        found = run.picture(name)
        assert found is not None
        assert found[8:12] == b"WEBP"
    for name in ("", "0" * 32, "../config.yaml", images[0][1]):
        assert run.picture(name) is None


def test_a_picture_that_cannot_be_opened_is_empty_and_only_the_last_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = visplay_run(tmp_path, images=2, rounds=1, photographs=True, overrides=[f"images={tmp_path}"])
    monkeypatch.setattr(live, "_PICTURES", 2)
    run = opened(path, Day())
    names = [name for name, _ in data(run, "album")["images"]]
    assert [run.picture(name) for name in names] == [b""] * 4
    assert len(run._drawn) == 2


# ------------------------------------------------------------------------------------------------- which run


def test_without_a_name_it_is_the_run_that_was_written_to_last(tmp_path: Path) -> None:
    for name, when in (("old", 1e9), ("new", 2e9), ("older", 5e8)):
        path = visplay_run(tmp_path / name, images=1, rounds=1)
        shutil.move(path, tmp_path / "runs" / name)
        for file in (tmp_path / "runs" / name).rglob("*"):
            os.utime(file, (when, when))
    (tmp_path / "runs/notes").mkdir()
    os.utime(tmp_path / "runs/old/rounds/1/asked.parquet", (3e9, 3e9))
    assert newest_run(tmp_path / "runs") == tmp_path / "runs/old"
    assert look(tmp_path / "runs/old").written == 3e9
    for folder in (tmp_path / "nowhere", tmp_path / "runs/notes"):
        with pytest.raises(SelfsightError, match="holds no runs"):
            newest_run(folder)
