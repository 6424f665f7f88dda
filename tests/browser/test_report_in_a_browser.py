"""The report as somebody uses it: filters, search, links, keyboard, narrow screens, dark, paper, no script at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Opened


@pytest.fixture
def questions(chromium: Any, questions_report: Path) -> Iterator[Opened]:
    opened = Opened(chromium, questions_report)
    yield opened
    assert opened.complaints == []
    opened.close()


@pytest.fixture
def games(chromium: Any, games_report: Path) -> Iterator[Opened]:
    opened = Opened(chromium, games_report)
    yield opened
    assert opened.complaints == []
    opened.close()


def status(opened: Opened) -> str:
    return str(opened.page.locator(".status").inner_text())


def test_the_verdict_is_the_first_thing_in_the_page(questions: Opened) -> None:
    assert questions.page.locator(".claim").inner_text().startswith("It got better")
    assert questions.page.locator(".badge").first.inner_text() == "better"
    assert questions.page.locator("svg.plot").count() >= 9


def test_filters_narrow_the_gallery_and_stand_in_the_address(questions: Opened) -> None:
    questions.go("#questions")
    assert status(questions) == "128 questions of 128"
    questions.page.get_by_label("Round").select_option("2")
    assert status(questions) == "64 questions of 128"
    questions.page.get_by_label("Outcome").select_option("gate:agreement")
    assert status(questions) == "4 questions of 128"
    assert questions.page.evaluate("location.hash") == "#questions?round=2&fate=gate%3Aagreement"
    assert questions.page.locator(".card").count() == 4
    questions.page.get_by_text("Clear all").click()
    questions.settle()
    assert status(questions) == "128 questions of 128"


def test_a_search_finds_words_and_ids(questions: Opened) -> None:
    questions.go("#questions")
    field = questions.page.get_by_label("Search")
    field.fill("red CIRCLES")
    assert status(questions) == "128 questions of 128"
    field.fill("w-mixed-train-7-10001/3")
    assert status(questions) == "1 question of 128"
    field.fill("no such words")
    assert status(questions) == "0 questions of 128"
    assert questions.page.locator(".empty").is_visible()


def test_questions_can_be_sorted(questions: Opened) -> None:
    questions.go("#questions?sort=torn")
    assert "50 %" in questions.page.locator(".card").first.locator(".votes").inner_text() or (
        "2 4" in questions.page.locator(".card").first.locator(".votes").inner_text()
    )


def test_pages_are_links(questions: Opened) -> None:
    questions.go("#questions")
    questions.page.get_by_text("Next →").click()
    questions.settle()
    assert "page 2 of 6" in questions.page.locator(".pager").inner_text()
    assert questions.page.locator(".card").count() == 24


def test_a_link_to_a_question_opens_it_with_everything(chromium: Any, questions_report: Path) -> None:
    opened = Opened(chromium, questions_report, "#question?id=r1%2Fcuration%2F0%2Fw-mixed-train-7-10004%2F2")
    sheet = opened.page.locator("#sheet")
    text = sheet.inner_text()
    assert "How many red circles are there?" in text
    assert "6 of 8 votes agree, within 0.6 to 0.95" in text
    assert "The reasoner earns 1 for the answer '3'" in text
    assert "Asked again in the same words about this image" in text
    assert sheet.locator("details").count() == 3
    sheet.locator("summary").first.click()
    assert sheet.locator("details[open] li").count() == 6
    opened.page.keyboard.press("Escape")
    opened.settle()
    assert not sheet.is_visible()
    assert opened.page.evaluate("location.hash") == "#questions"
    assert opened.page.locator(".card").count() == 24
    assert opened.complaints == []
    opened.close()


def test_arrow_keys_go_through_the_selection(questions: Opened) -> None:
    questions.go("#questions?phase=curation&round=1")
    questions.page.locator(".card a").nth(2).click()
    questions.settle()
    assert "3 of 32" in questions.page.locator(".sheet-top").inner_text()
    questions.page.keyboard.press("ArrowRight")
    questions.settle()
    assert "4 of 32" in questions.page.locator(".sheet-top").inner_text()
    questions.page.go_back()
    questions.settle()
    assert "3 of 32" in questions.page.locator(".sheet-top").inner_text()


def test_an_unknown_question_or_place_is_said_to_be_unknown(questions: Opened) -> None:
    questions.go("#question?id=r9")
    assert "No question here has the id r9" in questions.page.locator("#sheet").inner_text()
    for place in ("#constructor", "#games", "#question", "#questions?sort=toString&agreement=x&page=-3"):
        questions.go(place)
    assert questions.page.locator("main > *").count() > 0


def test_a_chart_reads_out_its_values_by_pointer_and_by_keyboard(questions: Opened) -> None:
    chart = questions.page.locator(".curves .chart").first
    chart.locator("svg").focus()
    for _ in range(2):
        questions.page.keyboard.press("ArrowRight")
    assert chart.locator(".readout").inner_text() == "round 1, questioner, step 3: questioner 0.2"
    chart.locator("svg").hover(position={"x": 300, "y": 60})
    assert "step 3:" not in chart.locator(".readout").inner_text()
    assert "questioner: from 0 to 0.3" in str(chart.locator("svg").get_attribute("aria-label"))


def test_a_game_is_played_again_by_keyboard(games: Opened) -> None:
    games.go("#game?id=step-1%2F0")
    where = games.page.locator(".where")
    assert where.inner_text() == "the cards are dealt"
    for step in range(1, 4):
        games.page.keyboard.press("ArrowRight")
        assert where.inner_text() == f"clue {step} of 10"
        assert games.page.locator(".said li").count() == step
        assert f"player {step}" in str(games.page.locator(".speaking").get_attribute("aria-label"))
    games.page.keyboard.press("ArrowLeft")
    assert where.inner_text() == "clue 2 of 10"
    games.page.keyboard.press("End")
    assert where.inner_text() == "the votes"


def test_roles_stay_hidden_until_they_are_asked_for(games: Opened) -> None:
    games.go("#game?id=step-1%2F0")
    games.page.keyboard.press("End")
    text = games.page.locator(".game").inner_text()
    assert "(spy)" not in text
    assert "clue reward" not in text
    assert games.page.locator(".seat.spy").count() == 0
    games.page.locator(".guess").nth(2).click()
    games.page.keyboard.press("r")
    assert games.page.locator(".seat.spy").count() == 1
    result = games.page.locator(".guess-result").inner_text()
    assert result.startswith(("Right: player 3", "You guessed player 3"))
    assert "add up to 0" in games.page.locator(".game").inner_text()


def test_private_reasoning_is_shown_on_demand(games: Opened) -> None:
    games.go("#game?id=step-1%2F1")
    games.page.keyboard.press("ArrowRight")
    assert "I look at the picture" not in games.page.locator(".game").inner_text()
    games.page.get_by_text("Reasoning").click()
    assert "I look at the picture" in games.page.locator(".game").inner_text()


def test_games_are_filtered_by_who_won(games: Opened) -> None:
    games.go("#games?winner=1")
    won = int(status(games).split()[0])
    games.go("#games?winner=0")
    assert won + int(status(games).split()[0]) == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen(
    chromium: Any, questions_report: Path, games_report: Path, width: int, scheme: str
) -> None:
    for report, places in (
        (questions_report, ("#overview", "#questions", "#question?id=r1%2Fcuration%2F0%2Fw-mixed-train-7-10004%2F2")),
        (games_report, ("#overview", "#games", "#game?id=step-1%2F0")),
    ):
        opened = Opened(chromium, report, width=width, color_scheme=scheme)
        for place in places:
            opened.go(place)
            excess = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert excess <= 0, place
        assert opened.complaints == []
        opened.close()


def test_colours_can_be_chosen(questions: Opened) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    before = questions.page.evaluate(ground)
    for _ in range(2):
        questions.page.locator("#theme").click()
    assert questions.page.locator("#theme").inner_text() == "Dark"
    assert questions.page.evaluate(ground) != before


def test_every_control_has_a_name(questions: Opened) -> None:
    for place in ("#overview", "#questions", "#question?id=r1%2Fcuration%2F0%2Fw-mixed-train-7-10004%2F2"):
        questions.go(place)
        nameless = questions.page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, a, svg, img")]
              .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.alt || e.labels?.length))
              .map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert nameless == []


def test_paper_gets_the_verdict_without_the_controls(questions: Opened) -> None:
    questions.page.emulate_media(media="print", color_scheme="dark")
    assert questions.page.locator(".claim").is_visible()
    assert not questions.page.locator("#tabs").is_visible()
    assert questions.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(250, 249, 246)"


def test_without_scripts_the_verdict_can_be_read(chromium: Any, questions_report: Path) -> None:
    opened = Opened(chromium, questions_report, java_script_enabled=False)
    assert "It got better" in opened.page.locator("noscript").inner_text()
    opened.close()
