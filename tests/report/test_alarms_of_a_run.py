"""The report shows what went off, what was quiet and what nobody could measure, whatever the file holds."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from made_runs import made_alarms, visplay_run
from selfsight.report.alarms import alarm_board, alarm_lines, result_entry, rollback_sentence
from selfsight.report.page import write_report
from selfsight.report.reading import Trouble, read_run
from selfsight.report.terminal import render_summary
from selfsight.run.atomic import read_json


def test_alarms_are_shown_with_place_threshold_and_suggestion(visplay: Path) -> None:
    board = alarm_board(read_run(visplay), [])
    assert board == {
        "policy": "warn",
        "fired": [
            [f"round {n}, curation", "question_cluster", "worth a look", 0.25, "visplay.diversity_weight=2"]
            for n in (1, 2)
        ],
        "quiet": ["novelty"],
        "not_measured": [("blind_answers", "worth a look")],
        "off": [],
        "watched": True,
    }


def test_the_page_holds_them(visplay: Path, tmp_path: Path) -> None:
    page = write_report(visplay, tmp_path / "report.html").path.read_text()
    assert '"alarms":{"policy":"warn","fired":[["round 1, curation","question_cluster"' in page


def test_a_run_that_was_not_watched_has_no_such_section(visplay: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(visplay, tmp_path / "copy"))
    (copy / "alarms.jsonl").unlink()
    assert alarm_board(read_run(copy), []) is None


def test_what_is_switched_off_is_named(tmp_path: Path) -> None:
    run = read_run(visplay_run(tmp_path, rounds=1, overrides=["alarms.novelty=null", "alarms.policy=stop"]))
    board = alarm_board(run, [])
    assert board is not None
    assert (board["policy"], board["off"]) == ("stop", ["novelty"])


@pytest.mark.parametrize("damage", ["[]", "{", '{"stage": 3}', '{"alarm": "a", "stage": "s", "state": "fired"}'])
def test_a_damaged_line_is_named_and_left_out(visplay: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(visplay, tmp_path / "copy"))
    lines = (copy / "alarms.jsonl").read_text()
    (copy / "alarms.jsonl").write_text(f"{damage}\n{lines}")
    troubles: list[Trouble] = []
    assert alarm_board(read_run(copy), troubles) == alarm_board(read_run(visplay), [])
    assert [trouble.where for trouble in troubles] == ["alarms.jsonl, line 1"]


def test_limits_and_suggestions_of_another_type_are_left_out(visplay: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(visplay, tmp_path / "copy"))
    text = (copy / "alarms.jsonl").read_text().replace('"limit":0.25', '"limit":"x"')
    (copy / "alarms.jsonl").write_text(text.replace('"suggestion":"visplay.diversity_weight=2"', '"suggestion":7'))
    board = alarm_board(read_run(copy), [])
    assert board is not None
    assert [row[3:] for row in board["fired"]] == [[None, ""], [None, ""]]


# ---- in the terminal ---------------------------------------------------------------------------------------


def fired(alarm: str, round: int, who: str = "") -> dict[str, Any]:
    return {"stage": f"round-{round}/curation", "round": round, "phase": "curation", "steps": None, "alarm": alarm,
            "who": who, "value": 0.5, "limit": 0.25, "says": f"said in {round}", "suggestion": "seed=1"}  # fmt: skip


def account(*lines: dict[str, Any], not_measured: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "alarms": {
            "policy": "warn",
            "stages_watched": 8,
            "fired": list(lines),
            "not_measured": not_measured or {},
            "off": [],
        }
    }


def test_the_latest_of_each_alarm_is_said_at_the_end() -> None:
    said = alarm_lines(account(fired("novelty", 1), fired("novelty", 2), fired("novelty", 1, who="x")))
    assert said == [
        "3 alarms went off; the latest of each:",
        "  novelty, round 2, curation: said in 2. Worth trying: seed=1",
        "  novelty, round 1, curation: said in 1. Worth trying: seed=1",
    ]


def test_silence_and_what_was_not_measured_are_said_too() -> None:
    assert alarm_lines(account(not_measured={"blind_answers": "the gate is off"})) == [
        "No alarm went off.",
        "Not measured in this run: blind_answers.",
    ]
    nothing = account()["alarms"] | {"stages_watched": 0}
    assert alarm_lines({}) == alarm_lines({"alarms": nothing}) == []  # a run that was not watched


def test_alarms_stand_below_the_verdict_without_what_a_terminal_would_obey(visplay: Path) -> None:
    summary = read_json(visplay / "summary.json")
    assert isinstance(summary, dict)
    out = io.StringIO()
    render_summary(summary | account(fired("novelty", 1) | {"says": "\x1b[2Jgone\x07"}), out)
    text = out.getvalue()
    assert text.index("It got better") < text.index("1 alarm went off:")
    assert "\x1b" not in text and "\x07" not in text and "gone" in text


@pytest.mark.parametrize(("final", "round"), [(0, None), (1, 1), (2, 2)])
def test_the_result_of_a_run_is_the_round_it_says(final: int, round: int | None) -> None:
    summary = {"rounds": [{"round": 1}, {"round": 2}], "final_round": final}
    assert (result_entry(summary) or {}).get("round") == round


def test_a_rollback_is_said_with_what_it_was_chosen_among() -> None:
    back = {"stage": "round-2/curation", "alarms": ["novelty"], "to": 1, "measured": 1, "by": "held-out accuracy"}
    said = rollback_sentence({"rollback": back | {"scores": [0.4, 0.6]}})
    assert said == (
        "Rolled back: alarms ended this run (novelty), and its result is round 1, the best of 2 measurements by "
        "held-out accuracy. The best of several flatters a little."
    )
    assert rollback_sentence({"rollback": None}) is None


def test_a_text_of_a_stranger_in_the_file_is_harmless_in_the_page(visplay: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(visplay, tmp_path / "copy"))
    (copy / "alarms.jsonl").unlink()
    made_alarms(copy, 1, ["</script><script>owned()</script>"])
    page = write_report(copy, tmp_path / "report.html").path.read_text()
    assert "owned()" in page and "<script>owned()" not in page
