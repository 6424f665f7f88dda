"""Completions that cannot be read: counted by reason, shown without control characters, with what to change."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from selfsight.config import EvolveConfig, load_config
from selfsight.language import get_pack
from selfsight.methods.readings import ENOUGH, Kind, Readings, advise, shortened, why_no_answer
from selfsight.methods.vision_zero.ballots import read_vote
from selfsight.methods.vision_zero.clues import read_clue
from selfsight.recipes.explain import options

RUN = Path("runs/mine")


@dataclass
class Written:
    text: str
    finished: bool = True


def readings(kind: Kind, reasons: list[str]) -> Readings:
    found = Readings(kind)
    for number, reason in enumerate(reasons):
        found.add(f"completion {number}", reason)
    return found


@pytest.mark.parametrize(
    ("unreadable", "total", "limit", "beyond"),
    [
        (18, 20, 0.9, True),
        (17, 20, 0.9, False),
        (ENOUGH, ENOUGH, 0.9, True),
        (ENOUGH - 1, ENOUGH - 1, 0.9, False),
        (20, 20, 1.0, False),
        (20, 20, None, False),
        (1, 20, 0.05, True),
    ],
)
def test_a_run_stops_from_the_share_on_and_of_enough_completions(
    unreadable: int, total: int, limit: float | None, beyond: bool
) -> None:
    found = readings("answers", ["no balanced \\boxed{}"] * unreadable + [""] * (total - unreadable))
    assert found.beyond(limit) is beyond


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (Written("\\boxed{5}"), ""),
        (Written("\\boxed{5}", finished=False), "cut off at the length limit"),
        (Written("five"), "no balanced \\boxed{}"),
        (Written("\\boxed{}"), "empty box"),
        (Written("<think>so \\boxed{5}"), "<think> was not closed"),
    ],
)
def test_an_answer_is_refused_with_the_readers_own_reason(written: Written, reason: str) -> None:
    assert why_no_answer(get_pack("full"), written) == reason


def test_what_a_reason_quotes_makes_no_reason_of_its_own() -> None:
    texts = [f"I say <b{i}x> round" for i in range(20)]
    clues = readings(
        "clues", [read_clue(f"\\boxed{{<tag{'abcdefghijklmnopqrst'[i]}> round}}").reason for i in range(20)]
    )
    assert list(clues.reasons) == ["clue contains the marker ..."] and len(texts) == 20
    votes = readings("votes", [read_vote(f"\\boxed{{maybe {i}}}", players=5).reason for i in range(20)])
    assert list(votes.reasons) == ["... names no one player"]
    assert list(readings("votes", [read_vote(f"{i}", players=3).reason for i in range(7, 60)]).reasons) == [
        "there is no player ..."
    ]


def test_the_error_names_reasons_and_shows_three_completions_that_nothing_obeys() -> None:
    found = Readings("questions")
    for _ in range(10):
        found.add("\x1b[2Jwhy\u202e" + "x" * 5_000 + "end", "cut off at max_question_length")
    for number in range(8):
        found.add(f"no tag {number}", "not exactly one <question> element")
    error = found.failure("round 1, questioner, step 0", load_config("visplay-smoke"), RUN)
    assert error.message == (
        "round 1, questioner, step 0: 18 of the questioner's first 18 questions cannot be read: "
        "cut off at max_question_length (10); not exactly one <question> element (8)"
    )
    assert "raise visplay.max_question_length, for example visplay.max_question_length=80" in str(error.hint)
    assert "instruction-tuned" in str(error.hint) and "max_unreadable=1" in str(error.hint)
    assert len(error.completions) == 3
    assert error.completions[0].startswith("why x") and error.completions[0].endswith("xend")
    assert error.completions[1] == "no tag 0"
    assert all(len(text) < 250 and text.isprintable() for text in error.completions)


def test_of_rare_reasons_no_advice_is_given() -> None:
    found = readings("answers", ["cut off at the length limit"] * 186 + ["no balanced \\boxed{}"] * 6)
    error = found.failure("round 0, measurement", load_config("visplay-qwen2.5-vl-3b"), RUN)
    assert error.message.startswith("round 0, measurement: 192 of the base model's first 192 answers cannot be read")
    assert "visplay.max_answer_length=4096" in str(error.hint) and "instruction-tuned" not in str(error.hint)


def test_a_completion_is_shortened_in_its_middle() -> None:
    assert shortened("short\ntext") == "short text"
    long = shortened("start " + "y" * 400 + " end")
    assert long.startswith("start y") and long.endswith("y end") and " ... " in long and len(long) < 220


@pytest.mark.parametrize("kind", ["questions", "answers", "clues", "votes"])
@pytest.mark.parametrize(
    "reason", ["cut off at the length limit", "<think> was not closed", "no balanced \\boxed{}", "?"]
)
def test_advice_names_only_settings_that_exist(kind: Kind, reason: str) -> None:
    known = {option.key for option in options(EvolveConfig)}
    text = advise(kind, reason, load_config("mixed-smoke", ["visplay.prompt_pack=compact"]))
    named = [
        word.partition("=")[0].strip("(),:") for word in text.split() if word.startswith(("visplay.", "vision_zero."))
    ]
    assert set(named) <= known
    assert named or "docs/" in text or "model=" in text
