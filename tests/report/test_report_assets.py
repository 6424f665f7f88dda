"""The page's own scripts and styles: no door for markup or code made of text, short files, readable colours."""

import re
from importlib import resources

import pytest

from selfsight.report import comparison_page, page

_SCRIPTS = tuple(dict.fromkeys((*page._SCRIPTS, *comparison_page._SCRIPTS)))
_STYLES = tuple(dict.fromkeys((*page._STYLES, *comparison_page._STYLES)))
ASSETS = {
    name: resources.files("selfsight.report").joinpath("assets", name).read_text(encoding="utf-8")
    for name in (*_SCRIPTS, *page._LIVE_SCRIPTS, *_STYLES)
}
# Ways from text to markup, code or requests, and attributes whose value is code or a place to load from.
DOORS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc"
    r"|\beval\b|new Function|setTimeout|setInterval|import\(|fetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon"
    r"|location\.(?:assign|replace)|window\.open|\bpostMessage\b|localStorage|document\.cookie"
)


@pytest.mark.parametrize("name", _SCRIPTS)
def test_a_script_has_no_way_from_text_to_markup_code_or_a_request(name: str) -> None:
    assert ASSETS[name].startswith('"use strict";\n// ')
    assert DOORS.findall(ASSETS[name]) == []
    hrefs = re.findall(r'setAttribute\(\s*"(\w+)"', ASSETS[name])
    assert set(hrefs) <= {"href"} | {"x1", "x2"} or name == "main.js"
    assert ASSETS[name].count('"href"') == (name == "dom.js")  # one place makes links, and they begin with "#"
    assert len(re.findall(r"\.src = ", ASSETS[name])) == (name == "dom.js")


def test_the_live_page_asks_in_one_place_and_has_no_other_way_out() -> None:
    script = ASSETS["live.js"]
    assert script.startswith('"use strict";\n// ')
    assert sorted(DOORS.findall(script)) == ["fetch(", "setInterval", "setTimeout"]
    asked = re.findall(r"\bask\(([^,)]+)", script.replace("async function ask(", ""))
    assert asked == ["`data/${wanted}`", '"state"']
    assert ".src" not in script
    assert '"href"' not in script.replace('getAttribute("href")', "")


@pytest.mark.parametrize("code", ["a.innerHTML = text", "eval(text)", "new Function(text)", "fetch(address)"])
def test_the_search_for_such_ways_finds_them(code: str) -> None:
    assert DOORS.search(code)


@pytest.mark.parametrize("name", [*_SCRIPTS, *page._LIVE_SCRIPTS, *_STYLES])
def test_a_file_of_the_page_is_short_and_cannot_end_its_element(name: str) -> None:
    assert len(ASSETS[name].splitlines()) <= 400
    assert all(len(line) <= 150 for line in ASSETS[name].splitlines())
    assert "</script" not in ASSETS[name]
    assert "</style" not in ASSETS[name]
    assert "url(" not in ASSETS[name]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


COLOURS = {
    name: pair for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\);", ASSETS["report.css"])
}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "sheet", "sunk"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "good", "bad", "warn", "spy"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(ink: str, paper: str, theme: int) -> None:
    assert contrast(COLOURS[ink][theme], COLOURS[paper][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("role", ["questioner", "reasoner", "clue", "decision", "spy"])
def test_lines_of_charts_have_the_contrast_that_wcag_aa_asks_for(role: str, theme: int) -> None:
    assert contrast(COLOURS[role][theme], COLOURS["sheet"][theme]) >= 3
