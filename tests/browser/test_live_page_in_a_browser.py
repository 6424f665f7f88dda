"""The live page as somebody uses it: it follows a run that is written, and leaves the reader where they are."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Opened, served
from made_runs import vision_zero_run, visplay_run
from selfsight.run import JsonlWriter, RunDirectory


def until(opened: Opened, expression: str) -> None:
    """Waits for something to become true; the page's policy forbids Playwright's own way, which makes code of text."""
    for _ in range(1_200):
        if opened.page.evaluate(expression):
            return
        opened.page.wait_for_timeout(100)
    pytest.fail(f"never came true: {expression}")


def follow(opened: Opened) -> None:
    """Lets the page look once, now, after the look that may be under way."""
    opened.page.evaluate(
        "async () => { while (live.busy) await new Promise((done) => setTimeout(done, 20)); await look(); }"
    )


def line(opened: Opened) -> str:
    return str(opened.page.locator("#live").inner_text())


def opened_at(chromium: Any, address: str, place: str = "", **options: Any) -> Opened:
    opened = Opened(chromium, address, place, **options)
    opened.page.wait_for_selector(".verdict, .card, .game", state="attached")
    opened.page.evaluate("window.before = true")  # gone if the page were loaded again
    return opened


def done(opened: Opened, *, allowed: str = "") -> None:
    assert opened.page.evaluate("window.before")
    assert [one for one in opened.complaints if not allowed or allowed not in one] == []
    assert all(url.startswith(opened.address) for url in opened.requests)
    opened.close()


@pytest.fixture
def held_back(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A run of questions whose second round is kept aside, and that folder."""
    run = visplay_run(tmp_path / "run", images=4, rounds=2, finished=False)
    aside = tmp_path / "aside"
    shutil.move(run / "rounds/2", aside)
    yield run, aside


def part(run: Path, aside: Path) -> None:
    """What a run has written of the second round while it asks."""
    parts = run / "rounds/2/parts"
    parts.mkdir(parents=True)
    shutil.copy(aside / "asked.parquet", parts / "asked-00000.parquet")


def test_a_run_under_way_is_followed_by_itself_to_its_end(chromium: Any, tmp_path: Path) -> None:
    whole = visplay_run(tmp_path / "whole", images=4, rounds=1)
    settings = RunDirectory.open(whole).read_config()
    with RunDirectory.create(tmp_path / "run", settings) as run, served(run.path) as server:
        opened = opened_at(chromium, server.address)
        page = opened.page
        assert line(opened).startswith("running")
        assert page.locator(".claim").inner_text() == "This run is not finished: no round is measured yet."
        assert page.locator("#tabs a").count() == 1
        with JsonlWriter(run.metrics_path) as metrics:
            for step in range(3):
                metrics.append({"stage": "round-1/questioner", "step": step, "reward": 0.1 * step})
                until(opened, f"document.body.textContent.includes('{step + 1} step')")
        with run.metrics_path.open("a") as stream:
            stream.write('{"stage": "round-1/questioner", "step": 3, "rew')
            stream.flush()
            follow(opened)
            assert "3 steps in all" in page.inner_text("main")
            assert page.locator(".troubles").count() == 0
            stream.write('ard": 0.5}\n')
        until(opened, "document.body.textContent.includes('4 steps')")
        shutil.copytree(whole / "rounds", run.path / "rounds", dirs_exist_ok=True)
        page.wait_for_selector("#tabs a[href='#questions']", timeout=60_000)
        page.click("#tabs a[href='#questions']")
        assert page.locator(".status").inner_text() == "64 questions of 64"
        page.click("#tabs a[href='#overview']")
        run.write_summary(json.loads((whole / "summary.json").read_text()))
        run.close()
        until(opened, "document.querySelector('#live').textContent === 'finished'")
        assert page.locator(".claim").inner_text().startswith("It got better")
        assert page.locator("#live-change").inner_text() == "finished"
        done(opened)


def test_new_questions_come_without_moving_the_reader(chromium: Any, held_back: tuple[Path, Path]) -> None:
    run, aside = held_back
    with served(run) as server:
        opened = opened_at(chromium, server.address, "#questions?page=2&sort=asked")
        page = opened.page
        page.get_by_label("Search").fill("red circ")
        page.keyboard.press("ArrowLeft")
        page.evaluate("scrollTo(0, 120)")
        page.evaluate("() => { window.first = document.querySelector('.card'); }")
        part(run, aside)
        follow(opened)
        assert page.locator(".status").inner_text() == "96 questions of 96"
        assert page.evaluate("scrollY") == 120
        assert page.evaluate("document.activeElement.value") == "red circ"
        assert page.evaluate("document.activeElement.selectionStart") == 7
        assert page.evaluate("location.hash") == "#questions?sort=asked&q=red+circ"
        assert page.evaluate("window.first === document.querySelector('.card')"), "cards that stay are not made anew"
        page.keyboard.type("X")  # the field still works, on the new questions
        assert page.locator(".status").inner_text() == "0 questions of 96"
        page.get_by_label("Search").fill("")
        page.evaluate("document.activeElement.blur()")
        (run / "rounds/2/parts/asked-00000.parquet").unlink()
        follow(opened)
        assert page.locator(".status").inner_text() == "64 questions of 64"
        assert page.get_by_label("Round").locator("option").count() == 2
        done(opened)


def test_filters_offer_what_has_come(chromium: Any, held_back: tuple[Path, Path]) -> None:
    run, aside = held_back
    with served(run) as server:
        opened = opened_at(chromium, server.address, "#questions")
        page = opened.page
        assert page.get_by_label("Round").locator("option").count() == 2
        part(run, aside)
        follow(opened)
        assert page.get_by_label("Round").locator("option").count() == 3
        page.get_by_label("Round").select_option("2")
        assert page.locator(".status").inner_text() == "32 questions of 96"
        done(opened)


def test_an_open_question_stays_open_with_what_was_unfolded(chromium: Any, held_back: tuple[Path, Path]) -> None:
    run, aside = held_back
    with served(run) as server:
        place = "#question?id=r1%2Fcuration%2F0%2Fw-mixed-train-7-10004%2F2"
        opened = opened_at(chromium, server.address, place)
        page = opened.page
        page.wait_for_selector(".sheet-body")  # its details had to be fetched
        assert "6 of 8 votes agree, within 0.6 to 0.95" in page.inner_text("#sheet")
        page.locator("#sheet summary").first.click()
        page.evaluate("document.querySelector('#sheet').scrollTop = 40")
        scrolled = page.evaluate("document.querySelector('#sheet').scrollTop")
        part(run, aside)
        follow(opened)
        assert "of 96" in page.inner_text(".sheet-top")
        assert "These words were asked 84 times" in page.inner_text("#sheet")  # it is the new one
        assert page.locator("#sheet details[open] li").count() == 6
        assert page.evaluate("document.querySelector('#sheet').scrollTop") == scrolled
        page.keyboard.press("ArrowRight")
        until(opened, "document.querySelector('.sheet-top').textContent.includes('36 of 96')")
        page.keyboard.press("Escape")
        assert page.locator(".status").inner_text() == "96 questions of 96"
        done(opened)


def test_a_decision_about_an_open_question_is_shown_when_it_falls(chromium: Any, held_back: tuple[Path, Path]) -> None:
    run, aside = held_back
    parts = run / "rounds/2/parts"
    parts.mkdir(parents=True)
    shutil.copy(aside / "questions.parquet", parts / "candidates-00000.parquet")
    with served(run) as server:
        opened = opened_at(chromium, server.address, "#question?id=r2%2Fcuration%2F0%2Fw-mixed-train-7-20004%2F1")
        page = opened.page
        assert "Not in this report" in page.inner_text("#sheet")  # without its votes it is no candidate yet
        shutil.copytree(aside, run / "rounds/2", dirs_exist_ok=True)
        shutil.rmtree(parts)
        follow(opened)
        page.wait_for_selector(".sheet-body")
        assert "4 of 8 votes agree, below 0.6" in page.inner_text("#sheet")
        done(opened)


def test_the_first_page_keeps_what_is_unfolded_focused_and_read(chromium: Any, held_back: tuple[Path, Path]) -> None:
    run, _ = held_back
    with served(run) as server:
        opened = opened_at(chromium, server.address)
        page = opened.page
        page.get_by_text("All settings of this run").click()
        chart = page.locator(".curves .chart").first
        chart.locator("svg").focus()
        for _ in range(2):
            page.keyboard.press("ArrowRight")
        read = chart.locator(".readout").inner_text()
        top = page.evaluate("document.activeElement.getBoundingClientRect().top")
        with (run / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps({"stage": "round-3/questioner", "step": 0, "reward": 0.9}) + "\nno json\n")
        follow(opened)
        assert "17 steps in all" in page.inner_text("main")
        assert page.locator(".troubles").count() == 1  # above what is read, which stays where it is
        assert page.locator("main details[open] summary").inner_text() == "All settings of this run"
        assert chart.locator(".readout").inner_text() == read
        assert page.evaluate("document.activeElement === document.querySelector('.curves svg')")
        assert abs(page.evaluate("document.activeElement.getBoundingClientRect().top") - top) < 2
        page.keyboard.press("ArrowRight")
        assert "step 4" in chart.locator(".readout").inner_text()
        done(opened)


def test_a_game_goes_on_where_it_was_while_others_are_played(chromium: Any, tmp_path: Path) -> None:
    run = vision_zero_run(tmp_path)
    file = run / "rounds/2/games.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))
    with served(run) as server:
        opened = opened_at(chromium, server.address, "#game?id=step-2%2F1")
        page = opened.page
        page.wait_for_selector(".where")
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "t"):
            page.keyboard.press(key)
        page.locator(".guess").nth(1).click()
        assert page.locator(".game-top a[aria-label='next game']").count() == 0
        page.evaluate("() => { window.table = document.querySelector('.table-view'); }")
        file.write_text("".join(lines))
        follow(opened)
        assert page.locator(".game-top a[aria-label='next game']").count() == 1
        assert page.evaluate("window.table === document.querySelector('.table-view')")
        assert page.locator(".where").inner_text() == "clue 3 of 10"
        assert page.locator(".seat.guessed").count() == 1
        assert page.locator(".note").count() == 3
        page.keyboard.press("End")
        assert page.locator(".where").inner_text() == "the votes"
        page.click(".game-top a[aria-label='next game']")
        until(opened, "document.querySelector('.where').textContent === 'the cards are dealt'")
        opened.go("#games?winner=1")
        won = int(page.locator(".status").inner_text().split()[0])
        opened.go("#games?winner=0")
        assert won + int(page.locator(".status").inner_text().split()[0]) == 12
        done(opened)


def test_pictures_come_from_the_server_and_missing_ones_are_said_to_be(chromium: Any, tmp_path: Path) -> None:
    run = visplay_run(tmp_path / "a", images=1, rounds=1)
    lost = visplay_run(
        tmp_path / "b", images=1, rounds=1, photographs=True, overrides=[f"images={tmp_path / 'b'}"]
    )  # fmt: skip
    with served(run) as server:
        opened = opened_at(chromium, server.address, "#questions")
        until(opened, "[...document.images].some((each) => each.naturalWidth === 56)")
        done(opened)
    with served(lost) as server:
        opened = opened_at(chromium, server.address, "#questions")
        opened.page.wait_for_selector(".card .missing")
        follow(opened)
        assert opened.page.locator(".card img").count() == 0
        done(opened)


def test_a_server_that_ends_is_said_to_have_and_found_again(chromium: Any, held_back: tuple[Path, Path]) -> None:
    run, aside = held_back
    with served(run) as server:
        opened = opened_at(chromium, server.address, "#questions")
        port = server.server_port
    for _ in range(2):
        follow(opened)
        assert line(opened).startswith("the server has ended")
    assert opened.page.locator(".card").count() == 24
    part(run, aside)
    with served(run, port):
        follow(opened)
        assert line(opened).startswith("stopped")
        assert opened.page.locator(".status").inner_text() == "96 questions of 96"
        done(opened, allowed="net::ERR_CONNECTION_")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen(chromium: Any, held_back: tuple[Path, Path], width: int, scheme: str) -> None:
    run, _ = held_back
    with RunDirectory.resume(run), served(run) as server:
        opened = opened_at(chromium, server.address, width=width, color_scheme=scheme)
        for place in ("#overview", "#questions"):
            opened.go(place)
            excess = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert excess <= 0, place
        assert line(opened).startswith("running")
        done(opened)
