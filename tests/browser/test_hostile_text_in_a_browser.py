"""200 injection payloads through every field that a model or a stranger writes: none of them comes to life, neither in
the report nor in the live page.

Every view of the page is opened. What is then in the document must be elements and attributes that the page's own
scripts make of harmless text, too; nothing may have run, been asked for, or been refused by the policy (a refusal
would mean that a payload had become something to refuse).
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import COMPARED, Opened, served
from browser.payloads import PAYLOADS
from made_comparisons import made_comparison
from made_runs import made_alarms, vision_zero_run, visplay_run
from selfsight.evaluate.oracle import verdict_if_known
from selfsight.report.comparison_page import write_comparison
from selfsight.report.page import write_report

OPEN_ALL = """([first, last]) => {
  for (let i = first; i < last; i += 1) {
    openQuestion(data("questions").columns.id[i]);
    for (const each of document.querySelectorAll("#sheet details")) each.open = true;
    for (const one of window.census(document.getElementById("sheet"))) window.seen.add(one);
  }
}"""
# Every element with its attributes' names, and every link and source.
CENSUS = """(where = document) => {
  const found = new Set();
  for (const each of where.querySelectorAll("*")) {
    const at = each.closest("svg") ? "svg:" : "";
    found.add(at + each.localName);
    for (const {name} of each.attributes) found.add(`${at}${each.localName}@${name}`);
    for (const name of ["href", "src"]) {
      const value = each.getAttribute(name);
      const drawn = /^data:image\\/webp;base64,[A-Za-z0-9+/=]*$|^picture\\/[0-9a-f]{32}$/;
      if (value !== null && !(name === "href" ? /^#/ : drawn).test(value))
        found.add(`${each.localName} leads to ${value}`);
    }
  }
  return [...found];
}"""
# All details, which a live page fetches when they are shown.
FETCH_ALL = """async () => {
  for (const name of Object.keys(live.names)) if (live.have[name] === undefined) await whenAbsent(name);
  return Object.keys(live.names).every((name) => live.have[name] === live.names[name] && parsed.get(name) !== null);
}"""
LIVE = {"p", "p@id", "p@class", "p@role", "strong", "code"}
EXTRA = {"li", "code", "bdi", "section", "ul", "h2", "section@class", "section@aria-label"}


class Speaker:
    """Gives every field all payloads in turn, and counts how many each has had."""

    def __init__(self) -> None:
        self.said: dict[str, Iterator[str]] = defaultdict(lambda: itertools.cycle(PAYLOADS))
        self.times: dict[str, int] = defaultdict(int)

    def __call__(self, field: str) -> str:
        self.times[field] += 1
        payload = next(self.said[field])
        return payload.encode("utf-8", "replace").decode()  # tables hold no lone surrogates


def walk_questions(opened: Opened, note: Callable[[], None]) -> None:
    """Every page of cards, and the sheet of every question with all of its answers open."""
    opened.go("#overview")
    note()
    count = opened.page.evaluate("data('questions').columns.id.length")
    for number in range(1, -(-count // 24) + 1):
        opened.go(f"#questions?page={number}")
        note()
    for first in range(0, count, 100):
        opened.page.evaluate(OPEN_ALL, [first, min(count, first + 100)])
    note()


def walk_games(opened: Opened, note: Callable[[], None]) -> None:
    """Every game to its end, with roles and reasoning shown."""
    opened.go("#overview")
    note()
    opened.go("#games")
    note()
    for number in range(opened.page.evaluate("data('games').columns.id.length")):
        opened.page.evaluate("i => { location.hash = address('game', {id: data('games').columns.id[i]}); }", number)
        opened.page.wait_for_selector(f".game-top a[aria-label='{'previous' if number else 'next'} game']")
        for key in ("End", "r", "t"):
            opened.page.keyboard.press(key)
        note()


def census(
    browser: Any, report: Path | str, walk: Callable[[Opened, Callable[[], None]], None]
) -> tuple[set[str], Opened]:
    opened = Opened(browser, report)
    if isinstance(report, str):
        opened.page.wait_for_selector(".verdict")
        assert opened.page.evaluate(FETCH_ALL)
    seen: set[str] = set()
    opened.page.evaluate(
        f"() => {{ window.seen = new Set(); window.count = 0; window.owned = () => {{ window.count += 1; }}; "
        f"window.census = {CENSUS}; }}"
    )

    def note() -> None:
        seen.update(opened.page.evaluate(f"({CENSUS})()"))

    walk(opened, note)
    seen.update(opened.page.evaluate("[...window.seen]"))
    return seen, opened


def hostile_overview(run: Path) -> None:
    """Payloads in everything that a stranger's files may say besides: families, gates, stages, versions, worlds."""
    for round in (0, 1, 2):
        file = run / f"rounds/{round}/round.json"
        if not file.exists():
            continue
        entry = json.loads(file.read_text())
        entry["heldout"]["families"] = {payload: {"greedy": 0.5, "n": 3} for payload in PAYLOADS}
        entry["heldout"]["n"] = PAYLOADS[0]
        entry["rejected"] = dict.fromkeys(PAYLOADS, 3)
        file.write_text(json.dumps(entry))
    with (run / "journal.jsonl").open("a") as stream:
        for payload in PAYLOADS:
            stream.write(json.dumps({"stage": payload, "seconds": 1, "inputs": {}, "outputs": {}}) + "\n")
    (run / "alarms.jsonl").unlink()
    made_alarms(run, 1, [payload.encode("utf-8", "replace").decode() for payload in PAYLOADS])
    summary = json.loads((run / "summary.json").read_text())
    summary["versions"] = {"selfsight": PAYLOADS[0]}
    summary["measured_on"] = {"world": PAYLOADS[1], "picture_size": PAYLOADS[2]}
    (run / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize("photographs", [False, True], ids=["worlds", "photographs"])
@pytest.mark.parametrize("live", [False, True], ids=["report", "served"])
def test_no_payload_in_a_run_of_questions_comes_to_life(
    chromium: Any, questions_report: Path, tmp_path: Path, photographs: bool, live: bool
) -> None:
    say = Speaker()
    # With photographs that are not there every name of a file is in the page, too.
    overrides = [f"images={tmp_path}"] if photographs else []
    images, rounds = (100, 1) if photographs else (50, 2)
    run = visplay_run(tmp_path, images=images, rounds=rounds, say=say, photographs=photographs, overrides=overrides)
    if not photographs:
        hostile_overview(run)
    asked = {"question", "completion", "reason", "answer", "key", "gate reason"}
    asked |= {"image name"} if photographs else set()
    assert {field for field, times in say.times.items() if times >= 200} == asked
    check_run(chromium, run, questions_report, walk_questions, live=live)


@pytest.mark.parametrize("live", [False, True], ids=["report", "served"])
def test_no_payload_in_a_run_of_games_comes_to_life(
    chromium: Any, games_report: Path, tmp_path: Path, live: bool
) -> None:
    say = Speaker()
    run = vision_zero_run(tmp_path, games=200, rounds=1, say=say)
    assert {field for field, times in say.times.items() if times >= 200} == {"clue", "note", "vote", "game id"}
    check_run(chromium, run, games_report, walk_games, live=live)


def walk_pairs(opened: Opened, note: Callable[[], None]) -> None:
    """Every page of questions, with what both models wrote."""
    note()
    pages = opened.page.evaluate("Math.ceil(data('questions').columns.id.length / 24)")
    for number in range(1, pages + 1):
        opened.go(f"#questions?page={number}")
        opened.page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        opened.page.wait_for_selector(".pair-card pre")
        note()


def test_no_payload_in_a_comparison_comes_to_life(chromium: Any, comparison_page: Path, tmp_path: Path) -> None:
    say = Speaker()
    result = made_comparison(COMPARED, count=240, say=say)
    for field in ("name", "answers", "prompt_pack", "given"):
        for side in ("a", "b"):
            result[side][field] = PAYLOADS[len(field)]
    result["verdict"]["sentences"] = list(PAYLOADS)
    result["asked"] |= {"world": PAYLOADS[0], "max_completion_length": PAYLOADS[1]}
    assert {field for field, times in say.times.items() if times >= 200} >= {
        "id", "image", "origin", "question", "family", "key", "text:no such answer", "I do not know",
        "so \\boxed{no such answer}",
    }  # fmt: skip
    check(
        chromium,
        write_comparison(result, tmp_path).page,
        comparison_page,
        walk_pairs,
        "data:image/webp;base64,",
    )


Walk = Callable[[Opened, Callable[[], None]], None]


def check_run(chromium: Any, run: Path, harmless: Path, walk: Walk, *, live: bool) -> None:
    if live:
        with served(run) as server:
            check(chromium, server.address, harmless, walk, server.address)
    else:
        check(chromium, write_report(run, truth=verdict_if_known).path, harmless, walk, "data:image/webp;base64,")


def check(chromium: Any, page: Path | str, harmless: Path, walk: Walk, asks: str) -> None:
    """`asks` begins every address that the page may ask for, after its own."""
    usual, quiet = census(chromium, harmless, walk)
    quiet.close()
    found, opened = census(chromium, page, walk)
    allowed = EXTRA | {"span", "span@role", "span@aria-label", "p@class"} | (LIVE if isinstance(page, str) else set())
    assert {one for one in found if one not in usual} <= allowed
    assert opened.page.evaluate("window.count") == 0
    assert opened.complaints == []
    assert opened.requests[0] == opened.address
    assert all(url.startswith(asks) for url in opened.requests[1:])
    shown = opened.page.evaluate("document.body.textContent.includes('owned()')")
    assert shown, "the payloads must be in the page, as text"
    opened.close()


def test_the_census_finds_what_a_payload_would_become(chromium: Any, questions_report: Path) -> None:
    """The negative control: without the policy and with markup made of text, the same check must fail."""
    opened = Opened(chromium, questions_report)
    markup = "document.body.innerHTML = '<b>x</b>'"
    refused = opened.page.evaluate(f"() => {{ try {{ {markup}; return ''; }} catch (e) {{ return e.name; }} }}")
    assert refused == "TypeError"  # Trusted Types
    opened.page.evaluate("document.body.append(Object.assign(document.createElement('iframe'), {src: 'javascript:0'}))")
    assert any("iframe" in one for one in opened.page.evaluate(f"({CENSUS})()"))
    opened.page.evaluate("() => document.body.setAttribute('data-x', 'owned()')")
    assert "body@data-x" in opened.page.evaluate(f"({CENSUS})()")
    assert opened.complaints
    opened.close()
