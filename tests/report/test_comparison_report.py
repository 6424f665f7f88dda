"""A comparison as text and as a page: the verdict follows from the interval, and the page is as safe as a report."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_report_page import Elements

from made_comparisons import made_comparison
from selfsight.report import render_comparison, with_verdict
from selfsight.report.comparison import p_is, probability
from selfsight.report.comparison_page import write_comparison

BETTER = [("wrong", "right")] * 4 + [("right", "right")] * 5 + [("right", "wrong")]
FORM = [("unreadable", "right")] * 4 + [("right", "right")] * 5 + [("wrong", "right")]


def text_of(result: dict[str, Any]) -> str:
    stream = io.StringIO()
    render_comparison(result, stream)
    return stream.getvalue()


def sentences(outcomes: list[tuple[str, str]], count: int = 60) -> str:
    return " ".join(made_comparison(outcomes, count=count)["verdict"]["sentences"])


def test_an_interval_above_zero_is_better_and_one_below_is_worse() -> None:
    better = made_comparison(BETTER, count=60)
    assert better["verdict"]["status"] == "better"
    assert better["verdict"]["sentences"][0].startswith(
        "B is better: of the same 60 questions it answers 30.0 points more right (95 % interval +"
    )
    worse = made_comparison([(b, a) for a, b in BETTER], count=60)
    assert worse["verdict"]["status"] == "worse"
    assert "answers 30.0 points fewer right" in worse["verdict"]["sentences"][0]


def test_an_interval_that_holds_zero_claims_nothing() -> None:
    found = made_comparison([("wrong", "right"), ("right", "wrong"), ("right", "right")], count=30)
    assert found["verdict"]["status"] == "unclear"
    assert "No difference can be claimed: B − A is 0.0 points on 30 questions" in found["verdict"]["sentences"][0]
    # An interval that ends at zero includes it.
    edge = with_verdict(found | {"change": found["change"] | {"accuracy": 0.1, "ci95": [0.0, 0.2]}})
    assert edge["verdict"]["status"] == "unclear"


def test_a_gain_of_form_is_called_one() -> None:
    said = sentences(FORM)
    assert "+40.0 of these points are form, answers that could be read on one side only" in said
    assert "where both could be read the difference is +10.0" in said
    assert "form" not in sentences(BETTER)


def test_an_interval_that_a_handful_of_questions_decides_is_called_into_doubt() -> None:
    few = made_comparison([("wrong", "right")] * 5 + [("right", "right")] * 55, count=60)
    # With a picture for every question the interval reaches zero by itself where the test does not reject.
    assert few["verdict"]["sentences"][0].startswith(
        "No difference can be claimed: B \N{MINUS SIGN} A is +8.3 points on 60"
    )
    # Several questions about a picture have an interval over pictures, which the test knows nothing of.
    over_pictures = few | {"change": few["change"] | {"ci95": [0.01, 0.16]}}
    said = " ".join(with_verdict(over_pictures)["verdict"]["sentences"])
    assert "B is better" in said
    assert "But only 5 questions decide, and McNemar's exact test finds p = 0.062: ask more." in said
    assert "But only" not in sentences(BETTER)


def test_a_p_value_too_small_to_print_is_a_bound() -> None:
    assert (p_is(1.0), p_is(0.0312), p_is(1e-7), probability(1e-7)) == ("p = 1", "p = 0.031", "p < 0.0001", "< 0.0001")


def test_families_that_got_worse_are_named_under_a_better_whole() -> None:
    result = made_comparison(BETTER, count=60)
    family = next(iter(result["families"]))
    result["families"][family]["change"] |= {"accuracy": -0.5, "ci95": [-0.8, -0.2]}
    said = " ".join(with_verdict(result)["verdict"]["sentences"])
    assert f"Worse in {family} (−50.0 [−80.0, −20.0]); of 9 such intervals some may miss by chance." in said


def test_the_terminal_shows_figures_and_regressions_and_obeys_no_text() -> None:
    shown = text_of(made_comparison(BETTER, count=60))
    for wanted in (
        "60 held-out questions, world mixed, 56 pixels a side, seed 0, 8 samples each",
        "B alone is right (wins)     24             24",
        "A alone is right (losses)    6              6",
        "McNemar's exact test on wins and losses: p = 0.0014",
        "The biggest regressions, 10 of 36 questions that lost something",
        "(5 of 8 samples right)",
        "counting",
    ):
        assert wanted in shown, wanted
    hostile = text_of(made_comparison(BETTER, count=20, say=lambda field: f"{field}\x1b]0;owned\x07\x1b[2J\u202e\r\n"))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", hostile)
    assert "owned" not in hostile


def page_of(result: dict[str, Any], folder: Path, **options: Any) -> tuple[str, Elements]:
    page = write_comparison(result, folder, **options).page.read_text()
    return page, Elements(page)


def test_the_page_holds_every_question_and_the_data_is_written_beside_it(tmp_path: Path) -> None:
    result = made_comparison(BETTER, count=30)
    written = write_comparison(result, tmp_path / "new")
    assert json.loads(written.data.read_text()) == json.loads(json.dumps(result))
    found = Elements(written.page.read_text())
    questions = found.blocks["questions"]
    assert (written.questions, questions["shown"], questions["asked"]) == (30, 30, 30)
    assert questions["columns"]["id"] == [question["id"] for question in result["questions"]]
    assert found.blocks["details-0"][0] == [result["questions"][0][side]["text"] for side in ("a", "b")]
    truth, (outcome, answer, votes) = questions["columns"]["truth"][0], questions["columns"]["a"][0]
    assert outcome == 0
    assert answer == truth
    assert votes[:2] == [truth, 5]
    assert votes[-2:] == [-1, 1]
    assert len(found.blocks["album"]["images"]) == 30
    assert not written.missing


def test_a_page_that_cannot_hold_all_shows_what_changed_most(tmp_path: Path) -> None:
    result = made_comparison([("right", "right")] * 8 + [("wrong", "right"), ("right", "unreadable")], count=40)
    questions = page_of(result, tmp_path, most=6)[1].blocks["questions"]
    assert (questions["shown"], questions["asked"]) == (6, 40)
    # Losses weigh 0.69 here, gains 0.31 and the rest 0.19: four of the former, two of the next.
    assert sorted(questions["columns"]["result"]) == [0, 0, 1, 1, 1, 1]


def test_the_policy_names_the_pages_own_scripts_and_style_and_nothing_else(tmp_path: Path) -> None:
    page, found = page_of(made_comparison(BETTER), tmp_path)
    (policy,) = [attributes["content"] for tag, attributes in found.found if "http-equiv" in attributes]
    assert policy is not None
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for text in (*found.scripts, *style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == len(found.scripts) + 1 == 6
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_texts_cannot_leave_their_blocks(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><img src=x>"
    usual = page_of(made_comparison(BETTER), tmp_path / "usual")[1]
    found = page_of(made_comparison(BETTER, say=lambda field: f"{field}{hostile}"), tmp_path / "hostile")[1]
    pictures = ("script", {"type": "application/json", "id": "data-pictures-0"})  # hostile names draw none
    assert [tag for tag, _ in found.found] == [one[0] for one in usual.found if one != pictures]
    assert found.scripts == usual.scripts


def test_folders_of_the_machine_are_not_in_the_page(tmp_path: Path) -> None:
    result = made_comparison(BETTER)
    result["a"]["given"] = "/somewhere/private/runs/made@0"
    assert "private" not in page_of(result, tmp_path)[0]


def test_a_page_of_600_questions_is_small(tmp_path: Path) -> None:
    written = write_comparison(made_comparison(BETTER, count=60), tmp_path)
    assert written.size < 400_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    result = made_comparison(BETTER)
    result["questions"][0]["drop"] = value
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_comparison(result, tmp_path)
