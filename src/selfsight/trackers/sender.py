"""The process beside a run that sends its figures to one tracker: `python -m selfsight.trackers.sender RUN NAME LINES`.

It reads the run's files as they grow and hears from the run, on its standard input, which rounds are measured and that
the run is finished; the end of that input is the end of the run, however it ended. What it has to say to a person it
writes to the standard output it was started with, a line each; what the tracker's package prints goes to a log.

RUN/trackers/NAME.json keeps the tracker's id and how far it has got, so that a resumed run is the same run there. LINES
are the lines of metrics.jsonl that the resumed run has kept: those behind it are made anew.

An error ends this process and nothing else. Once the run is over it ends itself after `LAST_SECONDS`, even inside a
call that never returns and when nobody is left to end it.
"""

import fcntl
import importlib
import os
import select
import signal
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

from selfsight.errors import SelfsightError
from selfsight.run.atomic import canonical_json, read_json, write_atomic
from selfsight.run.directory import RunDirectory
from selfsight.settings.public import public_settings
from selfsight.trackers.figures import round_figures, step_figures, summary_figures
from selfsight.trackers.known import FAILED, STATE_FOLDER, TRACKERS
from selfsight.trackers.protocol import TrackedRun, Tracker
from selfsight.trackers.reading import Lines

POLL_SECONDS: Final = 1.0
LAST_SECONDS: Final = 60
_NICENESS: Final = 10  # the run comes first

Say = Callable[[str], None]


class Sent:
    """What a tracker has been sent: lines of metrics.jsonl, and rounds with their step there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        known: Any = read_json(path) if path.exists() else {}
        self.id: str = known.get("id") or uuid.uuid4().hex[:8]
        self.lines: int = known.get("lines", 0)
        self.rounds: dict[int, int] = {int(round): step for round, step in known.get("rounds", {}).items()}

    def forget_from(self, line: int) -> None:
        """The tracker takes back what it got from `line` on."""
        self.lines = min(self.lines, line)
        self.rounds = {round: step for round, step in self.rounds.items() if step < line}

    def save(self) -> None:
        """Onto the disk, whole."""
        rounds = {str(round): step for round, step in self.rounds.items()}
        write_atomic(self.path, canonical_json({"id": self.id, "lines": self.lines, "rounds": rounds}))


class Sender:
    """Sends what is new of a run, in order."""

    def __init__(self, directory: RunDirectory, tracker: Tracker, sent: Sent) -> None:
        self._directory, self._tracker, self._sent = directory, tracker, sent
        self._lines = Lines(directory.metrics_path)
        self._measured: list[int] = []  # announced, and not sent yet

    def announce(self, round: int) -> None:
        """A round's measurement lies in its folder."""
        if round not in self._sent.rounds and round not in self._measured:
            self._measured.append(round)

    def send(self) -> None:
        """All lines and rounds that have not been sent. A round comes at the step behind its last line."""
        lines = self._lines.new()
        first = self._lines.count - len(lines)
        read = [(first + place, step_figures(line)) for place, line in enumerate(lines)]
        sending = [(step, one) for step, one in read if step >= self._sent.lines]
        if not sending and not self._measured:
            return
        for round in self._measured:
            behind = next((step for step, one in read if one.get("round/number", 0) > round), self._lines.count)
            step = max(behind, self._sent.lines)  # a tracker may refuse what lies before its last step
            entry = cast("dict[str, Any]", read_json(self._directory.rounds / str(round) / "round.json"))
            sending.append((step, round_figures(entry)))
            self._sent.rounds[round] = step
        for step, one in sorted(sending, key=lambda pair: pair[0]):
            self._tracker.log(step, one)
        self._measured = []
        self._tracker.flush()
        self._sent.lines = max(self._sent.lines, self._lines.count)
        self._sent.save()

    def conclude(self) -> None:
        """The summary of a finished run."""
        self._tracker.summarise(self._lines.count, summary_figures(self._directory.read_summary()))


def send_run(folder: Path, name: str, kept: int, say: Say) -> None:
    """Sends the run in `folder` to the tracker `name` until the run is over."""
    directory = RunDirectory.open(folder)
    states = directory.path / STATE_FOLDER
    with (states / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the sender of a run that was killed may still be at its last lines
        module = importlib.import_module(f"selfsight.trackers.{name}")
        sent = Sent(states / f"{name}.json")
        if module.TAKES_BACK:
            sent.forget_from(kept)
        sent.save()  # before the tracker knows the id: a second attempt must not become a second run
        settings = public_settings(directory.read_config())
        tracker: Tracker = module.open_tracker(
            TrackedRun(directory.path.name, directory.path, sent.id, settings), sent.lines
        )
        say(f"{name}: {tracker.where}")
        sender = Sender(directory, tracker, sent)
        ears, finished = Ears(), False
        while not ears.closed:
            for word in ears.listen(POLL_SECONDS):
                finished |= word == "finished"
                if word.isdecimal():
                    sender.announce(int(word))
            sender.send()
        signal.alarm(LAST_SECONDS)  # its default is to end the process
        if finished:
            sender.conclude()
        tracker.close(finished=finished)


class Ears:
    """Words from the run: lines on standard input."""

    def __init__(self) -> None:
        self.closed = False
        self._rest = b""

    def listen(self, seconds: float) -> list[str]:
        """The words that came within `seconds`; the first ones end the waiting."""
        ready, _, _ = select.select([0], [], [], seconds)
        if not ready:
            return []
        data = os.read(0, 65_536)
        self.closed = not data
        *words, self._rest = (self._rest + data).split(b"\n")
        return [word.decode() for word in words]


def _speak_alone(log: Path) -> Say:
    """Keeps the standard output for our own words; everything else that is printed goes to `log`."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)

    def say(text: str) -> None:
        with suppress(BrokenPipeError):  # nobody is left to hear it
            print(" ".join(text.split()), file=channel, flush=True)

    return say


def main(folder: str, name: str, kept: str) -> None:
    """Sends until the run is over; an error is told to the run, and traced in the log."""
    if name not in TRACKERS:
        raise SelfsightError(f"there is no tracker {name!r}", hint=f"use one of: {', '.join(TRACKERS)}")
    say = _speak_alone(Path(folder) / STATE_FOLDER / f"{name}.log")

    def last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        signal.alarm(LAST_SECONDS)
        say(f"{FAILED}{name}: {kind.__name__}: {error}")
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = last_words
    os.nice(_NICENESS)
    send_run(Path(folder), name, int(kept), say)


if __name__ == "__main__":
    main(*sys.argv[1:])
