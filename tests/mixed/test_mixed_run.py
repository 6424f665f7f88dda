"""Questions and games in turn: one model learns both, and each method does its rounds as in a run of its own."""

from io import StringIO
from itertools import groupby
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText

from selfsight.config import load_config
from selfsight.methods.mixed.schedule import rounds_of, schedule
from selfsight.policy.weights import weights_hash
from selfsight.report import render_summary
from watching import lines

from .conftest import Witnessed

TABLES = {f"{name}.parquet" for name in ("questions", "votes", "pool", "asked", "asked_votes")}
ASKED = TABLES | {"reasoner", "questioner"}
PLAYED = {"games.jsonl", "model"}
MEASURED = {"evaluation.parquet", "decisions.jsonl", "round.json"}


@pytest.mark.parametrize(
    ("questions", "games", "first", "expected"),
    [
        (2, 2, "visplay", "VGVG"), (2, 2, "vision-zero", "GVGV"), (1, 3, "visplay", "VGGG"),
        (3, 1, "vision-zero", "GVVV"), (2, 3, "vision-zero", "GVGVG"),
    ],
)  # fmt: skip
def test_the_methods_alternate_until_one_has_had_its_rounds(
    questions: int, games: int, first: str, expected: str
) -> None:
    options = (f"visplay.rounds={questions}", f"vision_zero.iterations={games * 20}", f"mixed.first={first}")
    turns = schedule(load_config("mixed-starter", [*options, "vision_zero.eval_steps=20"]))
    assert "".join({"visplay": "V", "vision-zero": "G"}[name] for name in turns) == expected
    for name, letter in (("visplay", "V"), ("vision-zero", "G")):
        assert rounds_of(name, turns) == [round for round, each in enumerate(expected, 1) if each == letter]


def test_every_round_has_the_records_of_its_method_and_the_measurements_of_both(straight: Witnessed) -> None:
    assert straight.summary["schedule"] == ["visplay", "vision-zero", "visplay", "vision-zero"]
    base = {path.name for path in (straight.path / "rounds" / "0").iterdir()}
    assert base == MEASURED | {"clues.jsonl"}
    for round, own in enumerate((ASKED, PLAYED, ASKED, PLAYED), 1):
        found = {path.name for path in (straight.path / "rounds" / str(round)).iterdir()}
        assert found == MEASURED | own
    entries = straight.summary["rounds"]
    assert [("kept" in entry, "games" in entry) for entry in entries] == [(True, False), (False, True)] * 2
    assert all(entry["decisions"]["change"] is not None for entry in entries)
    assert len({entry["decisions"]["n"] for entry in entries}) == 1


def test_the_reasoner_of_the_one_is_the_player_of_the_other(straight: Witnessed) -> None:
    """The weights that a round begins with are those that the round before ended with, whichever method it was."""
    trained = [
        (phase.split(":")[0], name, list(group))
        for (phase, name), group in groupby(straight.learned, key=lambda seen: (seen[0], seen[1]))
    ]
    by_round = [
        ("round 1", "questioner"), ("round 1", "reasoner"), ("round 2", "reasoner"),
        ("round 3", "questioner"), ("round 3", "reasoner"), ("round 4", "reasoner"),
    ]  # fmt: skip
    assert [(round, name) for round, name, _ in trained] == by_round
    saved = {1: "reasoner", 2: "model", 3: "reasoner"}
    for round, folder in saved.items():
        ended = AutoModelForImageTextToText.from_pretrained(straight.path / "rounds" / str(round) / folder)
        following = next(seen for name, policy, seen in trained if (name, policy) == (f"round {round + 1}", "reasoner"))
        assert weights_hash(ended) == following[0][3]


def test_a_round_of_either_method_is_a_phase_with_a_reference_of_its_own(straight: Witnessed) -> None:
    starts = []
    for (phase, name), seen in groupby(zip(straight.learned, straight.references, strict=True), key=lambda s: s[0][:2]):
        steps = list(seen)
        assert len({reference for _, reference in steps}) == 1, (phase, name)
        assert steps[0][1] == steps[0][0][3], (phase, name)  # the weights that the phase began with
        starts.append(steps[0][1])
    assert len(set(starts)) == len(starts) - 1  # both policies begin as the base


def test_images_and_games_go_on_where_the_method_s_last_round_ended(straight: Witnessed) -> None:
    steps = [
        int(str(record["id"]).removeprefix("step-").partition("/")[0])
        for round in (2, 4)
        for record in lines(straight.path / "rounds" / str(round) / "games.jsonl")
    ]
    assert sorted(set(steps)) == list(range(6))


def test_the_end_of_a_mixed_run_tells_of_questions_games_and_skill(straight: Witnessed) -> None:
    stream = StringIO()
    render_summary(straight.summary, stream)
    text = stream.getvalue()
    for said in ("labels right", "spy, held-out", "held-out votes on the starting model's clues", "held-out accuracy"):
        assert said in text
    assert "transfer" not in text  # questions were trained


def test_the_metrics_of_both_are_in_one_file(straight: Witnessed) -> None:
    stages = [line["stage"] for line in lines(straight.path / "metrics.jsonl")]
    assert [name for name, _ in groupby(stages)] == [
        "round-1/questioner", "round-1/curation", "round-1/reasoner", "round-2/games",
        "round-3/questioner", "round-3/curation", "round-3/reasoner", "round-4/games",
    ]  # fmt: skip


def test_a_mixed_run_is_named_where_it_is_asked_for(tmp_path: Path) -> None:
    config = load_config("mixed-starter")
    assert (config.method, config.mixed.first) == ("mixed", "visplay")
