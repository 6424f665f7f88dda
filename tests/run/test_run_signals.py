"""Stopping from outside, and what is shown meanwhile."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from selfsight.run import StopRequested, plain_text, progress_on
from selfsight.run.progress import LiveProgress, PlainProgress, duration

LOOP = """
import sys, time
from pathlib import Path
from selfsight.run import StopRequested, write_atomic
with StopRequested() as stop:
    step = 0
    while not stop:
        print("ready", flush=True)
        time.sleep(float(sys.argv[2]))
        step += 1
    write_atomic(Path(sys.argv[1]), str(step).encode())
sys.exit(stop.exit_code)
"""


def start(path: Path, seconds_per_step: float) -> "subprocess.Popen[str]":
    loop = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(path), str(seconds_per_step)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert loop.stdout is not None
    assert loop.stdout.readline() == "ready\n"
    return loop


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals, code: int) -> None:
    loop = start(tmp_path / "saved", 0.3)
    loop.send_signal(number)
    _, said = loop.communicate(timeout=20)
    assert loop.returncode == code
    assert int((tmp_path / "saved").read_text()) >= 1
    assert "stopping after this step" in said


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGINT, signal.SIGTERM, 143),
    ],
)
def test_the_second_signal_ends_at_once(
    tmp_path: Path, first: signal.Signals, second: signal.Signals, code: int
) -> None:
    loop = start(tmp_path / "saved", 30)
    loop.send_signal(first)
    time.sleep(0.3)
    assert loop.poll() is None
    began = time.monotonic()
    loop.send_signal(second)
    loop.communicate(timeout=20)
    assert time.monotonic() - began < 2
    assert loop.returncode == code
    assert not (tmp_path / "saved").exists()


def test_the_former_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequested() as stop:
        assert signal.getsignal(signal.SIGINT) != before[0]
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.exit_code == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert StopRequested().exit_code == 0


# --- what is shown -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hostile", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jtext", "text"),
        ("\x1bPq sixel\x1b\\after", "after"),
        ("\x1b(0text\x1bc", "text"),
        ("one\r\ntwo\ttabs\x07\x08", "one two tabs"),
        ("a\u202eb\u2066c\u200bd", "a b c d"),
        ("a\ud800b", "a b"),
        ("[red]markup[/red] é 漢字", "[red]markup[/red] é 漢字"),
        ("\x1b]unfinished", ""),
        ("\x1b\x1b[\x1b[2Jx", "x"),
    ],
)
def test_nothing_a_terminal_would_obey_is_left_in_model_text(hostile: str, seen: str) -> None:
    assert plain_text(hostile) == seen


def test_plain_text_takes_linear_time() -> None:
    began = time.process_time()
    for hostile in (
        "\x1b" * 100_000,
        "\x1b[" * 100_000,
        "\x1b]" * 100_000,
        "\x9b0;" * 100_000,
        " \x1b" * 100_000,
    ):
        plain_text(hostile)
    assert time.process_time() - began < 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_tell_phase_step_metrics_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, clock=clock) as progress:
        progress.phase("round 1 questioner", 4)
        for step in range(4):
            clock.now += 30
            progress.step({"reward": np.float32(0.5), "confidence": 0.625, "kept": step, "tokens_per_second": 1234.5})
        progress.note("\x1b[2Jwhat is this?")
    assert stream.getvalue().splitlines() == [
        "round 1 questioner: 4 steps",
        *(
            f"round 1 questioner {step + 1}/4  reward 0.500  confidence 0.62  kept {step}  tokens/s 1,234  {left} left"
            for step, left in enumerate(("1 min 30 s", "1 min 0 s", "30 s", "0 s"))
        ),
        "what is this?",
    ]


def test_plain_lines_come_at_most_once_a_second_but_the_last_always() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, clock=clock) as progress:
        progress.phase("votes", 1000)
        for _ in range(1000):
            clock.now += 0.01
            progress.step({})
    lines = stream.getvalue().splitlines()
    assert 10 <= len(lines) <= 13
    assert lines[-1].startswith("votes 1000/1000")


def test_a_phase_that_takes_longer_than_was_said_tells_no_total_any_more() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, clock=clock) as progress:
        progress.phase("curation", 1)
        for _ in range(2):
            clock.now += 30
            progress.step({})
    assert stream.getvalue().splitlines() == ["curation: 1 step", "curation 1/1  0 s left", "curation 2"]


def test_a_phase_of_unknown_length_has_no_time_left() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.phase("stream", None)
    progress.step({"loss": 1.5, "unknown": 3, "accuracy": "n/a"})
    assert stream.getvalue() == "stream\nstream  loss 1.500\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (7_500, "2 h 5 min")])
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("variable", ["NO_COLOR", "CI", "TERM"])
def test_a_terminal_gets_the_live_display_unless_it_is_declined(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb"):
        assert isinstance(progress_on(terminal), LiveProgress)
        monkeypatch.setenv(variable, "dumb")
        assert isinstance(progress_on(terminal), PlainProgress)
    assert isinstance(progress_on(io.StringIO()), PlainProgress)


def test_the_live_display_shows_the_step_and_obeys_no_model_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, LiveProgress(terminal) as progress:
        progress.phase("questioner", 2)
        progress.step({"reward": 0.25})
        progress.note("asked: \x1b]0;title\x07[bold]how many?[/bold]")
        progress.phase("reasoner", 2)
    screen = b""
    with os.fdopen(ours, "rb", buffering=0) as master, suppress(OSError):  # how a closed terminal ends
        while part := master.read(4096):
            screen += part
    shown = screen.decode()
    assert "questioner 1/2  reward 0.250" in shown
    assert "asked: [bold]how many?[/bold]" in shown
    assert "\x1b]0" not in shown
    assert "reasoner 0/2" in shown
