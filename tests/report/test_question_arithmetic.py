"""Why a question earned what it earned: the lines of the terminal and of the page, on figures worked out by hand."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from made_runs import visplay_config, visplay_run
from selfsight.config import VisplaySettings
from selfsight.errors import SelfsightError
from selfsight.report.arithmetic import answer_text, gate_steps, lesson, reward_lines
from selfsight.report.explain import explain, explanation
from selfsight.report.questions import QuestionRecord, RewardTerms, question_tables


@pytest.fixture
def settings(tmp_path: Path) -> VisplaySettings:
    return visplay_config(tmp_path).visplay


@pytest.fixture
def asked(visplay: Path) -> QuestionRecord:
    return next(question_tables(visplay, None, [])).questions[2]


@pytest.fixture
def curated(visplay: Path) -> tuple[QuestionRecord, ...]:
    return list(question_tables(visplay, None, []))[1].questions


def test_a_reward_is_shown_term_by_term(asked: QuestionRecord, settings: VisplaySettings) -> None:
    half = replace(asked, confidence=0.5, terms=RewardTerms(2, 1, 8, 1.0, 0.125, 0.875))
    lines = reward_lines(half, settings)
    assert lines[0].startswith("c = 4 / 8 = 0.5")
    assert lines[1] == "r_unc = 1 − |2 × 0.5 − 1| = 1"
    assert lines[2].startswith("r_div = λ × |C| / G = 1 × 1 / 8 = 0.125")
    assert lines[3] == "r = max(0, 1 − 0.125) = 0.875"
    assert len(lines) == 4


def test_a_reward_that_does_not_follow_is_said_to_be_wrong(asked: QuestionRecord, settings: VisplaySettings) -> None:
    assert len(reward_lines(asked, settings)) == 4
    wrong = replace(asked, terms=RewardTerms(0, 7, 8, 0.5, 0.875, 0.4))
    assert "recorded 0.4, which does not follow" in reward_lines(wrong, settings)[-1]


def test_an_unreadable_question_earns_zero_with_the_reason(visplay: Path, settings: VisplaySettings) -> None:
    unreadable = next(question_tables(visplay, None, [])).questions[0]
    assert reward_lines(unreadable, settings) == ["r = 0: it could not be read as a question (not one question)"]


def test_a_refused_question_earns_zero_with_the_gate(asked: QuestionRecord, settings: VisplaySettings) -> None:
    refused = replace(asked, gate="plausibility", asked=replace(asked.asked, min_logprob=-7.25))
    assert "log-prob -7.25, below -5" in reward_lines(refused, settings)[0]
    assert "novelty" in reward_lines(replace(asked, gate="novelty"), settings)[0]


def test_gates_stand_in_their_order_with_what_they_saw(
    curated: tuple[QuestionRecord, ...], settings: VisplaySettings
) -> None:
    kept = {step.gate: step for step in gate_steps(curated[2], settings)}
    assert list(kept) == [
        "format",
        "plausibility",
        "agreement",
        "tie",
        "duplicates",
        "novelty",
        "supervisor",
        "balance",
    ]
    assert {step.outcome for step in kept.values()} == {"passed"}
    assert kept["agreement"].detail == "6 of 8 votes agree, within 0.6 to 0.95"
    assert kept["tie"].detail == "6 votes, 1 for the next answer"
    torn = [(step.gate, step.outcome) for step in gate_steps(curated[1], settings)]
    assert torn[1:4] == [("plausibility", "passed"), ("agreement", "rejected"), ("tie", "not reached")]
    assert gate_steps(curated[1], settings)[2].detail == "4 of 8 votes agree, below 0.6"


def test_a_gate_that_the_settings_no_longer_have_is_still_named(
    curated: tuple[QuestionRecord, ...], settings: VisplaySettings
) -> None:
    steps = gate_steps(replace(curated[1], gate="blind"), settings)
    assert [(step.gate, step.outcome) for step in steps] == [("blind", "rejected")]


def test_a_candidate_without_a_fate_has_no_verdicts(
    curated: tuple[QuestionRecord, ...], settings: VisplaySettings
) -> None:
    assert gate_steps(replace(curated[2], kept=None), settings) == []


def test_what_the_reasoner_learned_is_said_also_in_a_control(
    curated: tuple[QuestionRecord, ...], tmp_path: Path
) -> None:
    plain = visplay_config(tmp_path).visplay
    permuted = visplay_config(tmp_path, "visplay.controls.labels=permuted").visplay
    coins = visplay_config(tmp_path, "visplay.controls.reward=random").visplay
    assert lesson(curated[1], plain) == ""
    assert lesson(curated[2], plain) == "The reasoner earns 1 for the answer '3' and 0 for any other."
    assert "The vote said '3' (control labels=permuted)" in lesson(replace(curated[2], taught="num:9"), permuted)
    assert "coin flips" in lesson(curated[2], coins)


@pytest.mark.parametrize(("key", "text"), [("num:2", "2"), ("yes", "yes"), ("text:a: b", "a: b"), (None, "unreadable")])
def test_an_answer_is_shown_without_its_kind(key: str | None, text: str) -> None:
    assert answer_text(key) == text


def test_explain_prints_the_same_arithmetic(visplay: Path, asked: QuestionRecord, settings: VisplaySettings) -> None:
    stream = io.StringIO()
    explain(visplay, asked.id, stream)
    shown = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert shown[0] == "How many red circles are there?"
    for line in reward_lines(asked, settings):
        assert " ".join(line.split()) in shown
    # The answers that made the reward, and in the arithmetic the same count of them.
    assert "Votes: 6 of 8 agree (75.0 %)" in shown
    assert "6 ###### 3" in shown
    assert "1 - unreadable" in shown
    assert "c = 6 / 8 = 0.75 (votes of the winning answer / answers)" in shown


def test_explain_shows_votes_and_gates(visplay: Path, curated: tuple[QuestionRecord, ...]) -> None:
    stream = io.StringIO()
    explain(visplay, curated[2].id, stream)
    text = stream.getvalue()
    assert "6 ######    3" in text
    assert "1 -         unreadable" in text
    assert re.search(r"✓ agreement +passed +6 of 8 votes agree", text)


def test_nothing_that_a_terminal_obeys_is_printed_by_explain(tmp_path: Path, settings: VisplaySettings) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\u202ehidden\u2028\x9b31m text"
    run = visplay_run(tmp_path, images=1, rounds=1, say=lambda field: hostile)
    for table in question_tables(run, None, []):
        for question in table.questions:
            lines = explanation(question, settings)
            assert any("hidden" in line for line in lines)
            assert all(character.isprintable() for line in lines for character in line)


def test_a_run_of_games_has_no_question_to_explain(vision_zero: Path) -> None:
    with pytest.raises(SelfsightError, match="asks no questions"):
        explain(vision_zero, "r1/curation/0/x/1", io.StringIO())
