"""comparison.html as somebody uses it: filters, search, links, narrow screens, dark, no script at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Opened


@pytest.fixture
def opened(chromium: Any, comparison_page: Path) -> Iterator[Opened]:
    one = Opened(chromium, comparison_page)
    yield one
    assert one.complaints == []
    assert all(url.startswith("data:image/webp;base64,") for url in one.requests[1:])
    one.close()


def status(opened: Opened) -> str:
    return str(opened.page.locator(".status").inner_text())


def test_the_verdict_is_the_first_thing_in_the_page(opened: Opened) -> None:
    assert opened.page.locator("main > *").first.locator(".claim").inner_text().startswith("No difference can be")
    assert opened.page.locator(".badge").inner_text() == "no difference can be claimed"
    assert opened.page.locator("svg.plot").count() == 1


def test_a_part_of_the_bar_leads_to_its_questions(opened: Opened) -> None:
    opened.page.get_by_label("A alone right, B unreadable: 6 questions").click()
    opened.settle()
    assert status(opened) == "6 questions of 60"
    assert opened.page.evaluate("location.hash") == "#questions?result=loss-form"
    cards = opened.page.locator(".pair-card")
    assert cards.count() == 6
    assert cards.first.locator(".side").nth(1).inner_text().startswith("B unreadable")


def test_every_question_is_in_one_part_of_the_bar(opened: Opened) -> None:
    counts = []
    for result in ("loss", "loss-form", "win", "win-form", "both", "neither"):
        opened.go(f"#questions?result={result}")
        counts.append(int(status(opened).split()[0]))
    assert counts == [9, 6, 12, 3, 21, 9]


def test_the_biggest_regression_comes_first_and_the_biggest_gain_on_request(opened: Opened) -> None:
    opened.go("#questions")
    assert "A alone right" in opened.page.locator(".pair-card").first.inner_text()
    opened.page.get_by_label("Sort").select_option("gained")
    assert "B alone right" in opened.page.locator(".pair-card").first.inner_text()


def test_search_and_family_narrow_the_list_and_the_field_keeps_the_focus(opened: Opened) -> None:
    opened.page.get_by_label("Search").press_sequentially("many")
    found = int(status(opened).split()[0])
    assert 0 < found < 60
    assert opened.page.evaluate("document.activeElement.value") == "many"
    opened.page.get_by_label("Family").select_option("counting")
    assert 0 < int(status(opened).split()[0]) <= found
    opened.page.get_by_text("Clear all").click()
    opened.settle()
    assert status(opened) == "60 questions of 60"


def test_a_card_holds_both_answers_in_full(opened: Opened) -> None:
    card = opened.page.locator(".pair-card").first
    assert card.locator(".votes").count() == 2
    card.locator("summary").click()
    opened.page.wait_for_selector(".pair-card pre")
    assert card.locator("pre").first.inner_text() == "so \\boxed{it}"


def test_an_unknown_place_shows_all_questions(opened: Opened) -> None:
    for place in ("#questions?result=toString&sort=constructor&page=-4", "#question?id=x", "#"):
        opened.go(place)
        assert status(opened) == "60 questions of 60"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen(chromium: Any, comparison_page: Path, width: int, scheme: str) -> None:
    opened = Opened(chromium, comparison_page, "#questions", width=width, color_scheme=scheme)
    excess = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert excess <= 0
    assert opened.complaints == []
    opened.close()


def test_every_control_has_a_name_and_colours_can_be_chosen(opened: Opened) -> None:
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, a, svg, img")]
          .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.alt || e.labels?.length))
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    opened.page.locator("#theme").click()
    assert opened.page.locator("#theme").inner_text() == "Light"


def test_without_scripts_the_verdict_can_be_read(chromium: Any, comparison_page: Path) -> None:
    opened = Opened(chromium, comparison_page, java_script_enabled=False)
    assert "No difference can be claimed" in opened.page.locator("noscript").inner_text()
    opened.close()
