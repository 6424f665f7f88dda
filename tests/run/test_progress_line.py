"""The line that a waiting person reads: what gives way on a narrow terminal, and what it says while a step runs."""

import io
import re

import pytest

from selfsight.run.progress import LiveProgress, PlainProgress, Tally, counted

METRICS = {
    "loss": 0.123, "reward": 0.5, "confidence": 0.62, "kept": 841, "accuracy": 0.918, "tokens_per_second": 12_345.0,
}  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tally(clock: Clock, steps: int = 3, total: int | None = 40, **more: int | None) -> Tally:
    found = Tally(clock)
    found.start("round 2: questioner", total, **more)  # type: ignore[arg-type]
    for _ in range(steps):
        clock.now += 61
        found.step(METRICS)
    return found


@pytest.mark.parametrize("width", [60, 80, 110, 160])
def test_the_time_left_is_whole_at_every_width(width: int) -> None:
    clock = Clock()
    line = tally(clock).line(width, alive=True)
    assert len(line) <= width
    assert line.startswith("round 2: questioner 3/40")
    assert line.endswith("37 min 37 s left")
    assert ("loss 0.123" in line) == (width >= 60)
    assert ("tokens/s" in line) == (width >= 160)


def test_a_very_narrow_line_shortens_the_name() -> None:
    line = tally(Clock()).line(30)
    assert line.endswith("3/40  37 min 37 s left") and len(line) <= 30
    assert all(len(tally(Clock()).line(width)) <= width for width in range(1, 40))


@pytest.mark.parametrize("width", [60, 80, 110, 160])
def test_the_live_display_shows_the_time_left_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    clock = Clock()
    progress = LiveProgress(io.StringIO(), clock=clock)
    progress.phase("round 2: questioner", 40)
    for _ in range(3):
        clock.now += 61
        progress.step(METRICS)
    clock.now += 5
    shown = progress._render().plain
    assert len(shown) <= width
    assert shown.endswith("37 min 32 s left  this step 5 s")
    assert ("█" in shown) == (width >= 100)


def test_the_time_left_falls_while_a_step_runs_and_never_rises() -> None:
    clock = Clock()
    found, seen = tally(clock), []
    for _ in range(200):
        clock.now += 1
        seen.append(found.seconds_left())
    assert seen == sorted(seen, reverse=True)  # type: ignore[type-var]
    assert seen[0] == pytest.approx(37 * 61 - 1) and seen[-1] == pytest.approx(36 * 61)


def test_a_line_that_is_drawn_again_shows_that_a_step_is_under_way() -> None:
    clock = Clock()
    found = tally(clock, steps=0)
    assert "this step" not in found.line(alive=True)
    clock.now += 70
    assert found.line(alive=True) == "round 2: questioner 0/40  this step 1 min 10 s"
    assert "this step" not in found.line()


def test_a_phase_of_unknown_length_says_how_long_it_takes_at_most() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, clock=clock) as progress:
        progress.phase("round 1: curation", None, at_most=24)
        for _ in range(9):
            clock.now += 10
            progress.step({"kept": 5})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "round 1: curation: at most 24 steps"
    assert lines[-1] == "round 1: curation 9, at most 24  kept 5  at most 2 min 30 s left"
    assert not any(re.search(r"\d/\d", line) for line in lines)


def test_a_resumed_phase_counts_the_steps_that_were_done_before() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, clock=clock) as progress:
        progress.phase("round 1: reasoner", 2, done=1)
        clock.now += 30
        progress.step({})
    assert stream.getvalue().splitlines() == [
        "round 1: reasoner: 2 steps, 1 done before",
        "round 1: reasoner 2/2  0 s left",
    ]
    # Steps of an earlier start took no time of this one.
    found = tally(Clock(), steps=1, total=4, done=2)
    assert found.seconds_left() == pytest.approx(61)


def test_a_measurement_is_said_in_words() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.phase("round 1: measurement", None)
    progress.step({"accuracy": 0.444})
    assert stream.getvalue().splitlines()[-1] == "round 1: measurement  accuracy 44.4%"


@pytest.mark.parametrize(("number", "text"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")])
def test_a_number_has_its_noun_in_the_right_form(number: int, text: str) -> None:
    assert counted(number, "step") == text
