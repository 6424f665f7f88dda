"""The first page claims no more than the paired intervals allow, and says what was not measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_runs import vision_zero_run, visplay_run
from selfsight.report.overview import SEEDS, overview
from selfsight.report.reading import Trouble, read_run


def with_summary(path: Path, **delta: Any) -> Path:
    summary = json.loads((path / "summary.json").read_text())
    summary["delta"] |= delta
    (path / "summary.json").write_text(json.dumps(summary))
    return path


@pytest.fixture
def copy(visplay: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(visplay, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("ci95", "status", "begins"),
    [
        ([0.01, 0.3], "better", "It got better"),
        ([-0.3, -0.01], "worse", "It got worse"),
        ([-0.01, 0.3], "unclear", "No change can be claimed"),
        ([0.0, 0.3], "unclear", "No change can be claimed"),
    ],
)
def test_the_verdict_follows_from_the_paired_interval(copy: Path, ci95: list[float], status: str, begins: str) -> None:
    accuracy = -0.2 if status == "worse" else 0.2
    headline = overview(read_run(with_summary(copy, accuracy=accuracy, ci95=ci95)), []).headline
    assert headline.status == status
    assert headline.sentences[0].startswith(begins)
    assert headline.sentences[-1] == SEEDS


def test_a_run_that_goes_on_has_no_verdict(tmp_path: Path) -> None:
    run = read_run(visplay_run(tmp_path, rounds=1, finished=False, overrides=["visplay.rounds=3"]))
    found = overview(run, [])
    assert found.headline.status == "unfinished"
    assert found.headline.sentences[0] == "This run is not finished: 1 of 3 rounds are measured."
    assert [row.change for row in found.before_after[:3]] == ["–", "–", "–"]
    assert found.before_after[0].before.startswith("50.0 % [45.0, 55.0]")


@pytest.mark.parametrize("damage", [{"accuracy": "much"}, {"ci95": None}, {"ci95": [0.1]}])
def test_a_summary_without_a_verdict_is_named(copy: Path, damage: dict[str, Any]) -> None:
    troubles: list[Trouble] = []
    found = overview(read_run(with_summary(copy, **damage)), troubles)
    assert found.headline.status == "unfinished"
    assert [trouble.where for trouble in troubles] == ["summary.json"]


def test_a_control_run_is_called_one(tmp_path: Path) -> None:
    run = read_run(visplay_run(tmp_path, rounds=1, overrides=["visplay.controls.labels=permuted"]))
    assert overview(run, []).headline.control == "labels=permuted"
    assert (
        overview(replace(run, config=run.config.model_copy(update={"method": "vision-zero"})), []).headline.control
        == ""
    )


def test_what_the_games_train_comes_before_transfer(vision_zero: Path) -> None:
    found = overview(read_run(vision_zero), [])
    assert found.headline.status == "better"
    assert found.headline.sentences[0].startswith("It finds the spy more often")
    assert "transfer" in found.headline.sentences[1]
    assert found.before_after[0].name == "spy found, greedy"
    assert found.measured[0].name == "spy found"
    assert [round for round, _ in found.measured[0].points] == [0, 1, 2]


def test_a_gain_in_question_answering_alone_is_no_gain_in_the_game(tmp_path: Path) -> None:
    path = vision_zero_run(tmp_path)
    summary = json.loads((path / "summary.json").read_text())
    summary["rounds"][-1]["decisions"]["change"]["ci95"] = [-0.1, 0.5]
    (path / "summary.json").write_text(json.dumps(summary))
    headline = overview(read_run(path), []).headline
    assert headline.status == "unclear"
    assert headline.sentences[0].startswith("It cannot be said to find the spy more often")


def test_a_run_of_both_methods_has_the_figures_of_both(vision_zero: Path, visplay: Path) -> None:
    games, questions = read_run(vision_zero), read_run(visplay)
    rounds = ({**questions.rounds[0], "decisions": games.rounds[0]["decisions"]}, games.rounds[1])
    both = replace(games, config=games.config.model_copy(update={"method": "mixed"}), rounds=rounds)
    found = overview(both, [])
    assert dict(found.facts)["method"] == "VisPlay and Vision-Zero"
    assert found.headline.sentences[0].startswith("It got better: held-out accuracy")
    assert found.headline.sentences[1].startswith("It finds the spy more often")
    assert [one.round for one in found.rounds] == [1]
    assert found.measured[0].name == "spy found"


def test_rounds_show_pool_labels_and_calibration(visplay: Path) -> None:
    first = overview(read_run(visplay), []).rounds[0]
    assert (first.candidates, first.kept, first.labels_right, first.well_posed) == (24, 18, 0.6, 0.8)
    assert dict(first.rejected) == {"format": 3, "agreement": 3}
    assert (first.calibration[0].confidence, first.calibration[0].accuracy, first.calibration[0].n) == (0.75, 0.6, 18)


def test_families_are_in_order_of_their_gain(visplay: Path) -> None:
    found = overview(read_run(visplay), []).families
    assert {change.family for change in found} == {"counting", "relation"}
    assert all(round(change.after - change.before, 6) == 0.2 for change in found)


def test_folders_of_the_machine_are_not_shown(tmp_path: Path) -> None:
    run = read_run(visplay_run(tmp_path, rounds=1, overrides=["model=/models/mine", "images=worlds:charts"]))
    facts = dict(overview(run, []).facts)
    assert (facts["model"], facts["images"]) == ("mine", "worlds:charts")


def test_a_stage_that_was_repeated_counts_once(copy: Path) -> None:
    with (copy / "journal.jsonl").open("a") as stream:
        stream.write('{"stage": "round-1/evaluation", "seconds": 3, "inputs": {}, "outputs": {}}\n')
    stages = overview(read_run(copy), []).stages
    assert [(stage.name, stage.seconds) for stage in stages][1] == ("round-1/evaluation", 3.0)
    assert len(stages) == 3
