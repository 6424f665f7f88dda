"""The run's side of its trackers: a process for each, started beside the run and ended with it.

What a step pays is a look at whether a process has said something or has ended. Nothing here waits, except at the end
of a run: `PATIENCE` seconds for what is still to be sent, and `HURRY` when the run was stopped. Then a sender is killed
and that is said; what it had not sent is in metrics.jsonl, and a resumed run sends it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfsight.run.closing import Closing
from selfsight.trackers.known import FAILED, STATE_FOLDER

PATIENCE: Final = 30.0
HURRY: Final = 5.0
_TOLD_AFTER: Final = 2.0  # seconds of waiting that nobody needs to be told of
_NOT_LOST: Final = "the run goes on without it, and metrics.jsonl has every figure"


@dataclass
class _Beside:
    name: str
    process: subprocess.Popen[bytes]
    words: int  # our end of its standard input
    voice: int  # our end of its standard output
    heard: bytes = b""
    failed: bool = False


class Trackers(Closing):
    """The trackers `names` of the run in `folder`, whose metrics.jsonl has `kept` lines; `note` tells the user."""

    def __init__(self, folder: Path, names: Sequence[str], *, kept: int, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self._finished = False
        self._beside = [one for name in names if (one := self._start(name, kept)) is not None]

    def measured(self, rounds: Iterable[int]) -> None:
        """The measurements of these rounds lie in their folders."""
        for round in rounds:
            self._tell(str(round))

    def finished(self) -> None:
        """The summary is written."""
        self._finished = True
        self._tell("finished")

    def look(self) -> None:
        """Passes on what senders have said, and that one has failed."""
        for one in self._beside:
            self._ended(one)

    def close(self) -> None:
        """Lets the senders end, for a while."""
        for one in self._beside:
            os.close(one.words)
        began = time.monotonic()
        patience = PATIENCE if self._finished else HURRY
        told = False
        try:
            while waiting := " and ".join(one.name for one in self._beside if not self._ended(one)):
                waited = time.monotonic() - began
                if waited > patience:
                    self._note(f"{waiting}: not done after {patience:g} s, and given up; {_NOT_LOST}")
                    break
                if waited > _TOLD_AFTER and not told:
                    told = True
                    self._note(f"{waiting}: still sending; waiting {patience:g} s at most")
                time.sleep(0.02)
        finally:
            for one in self._beside:
                if one.process.poll() is None:
                    one.process.kill()
                one.process.wait()
                os.close(one.voice)
            self._beside = []

    def _start(self, name: str, kept: int) -> _Beside | None:
        states = self._folder / STATE_FOLDER
        ears, words = os.pipe()
        voice, mouth = os.pipe()
        try:
            states.mkdir(exist_ok=True)
            with (states / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "selfsight.trackers.sender", str(self._folder), name, str(kept)],
                    stdin=ears,
                    stdout=mouth,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the run, which then ends its senders
                )
        except OSError as error:
            os.close(words)
            os.close(voice)
            self._note(f"{name}: cannot be started ({error.strerror}); {_NOT_LOST}")
            return None
        finally:
            os.close(ears)
            os.close(mouth)
        os.set_blocking(words, False)
        os.set_blocking(voice, False)
        return _Beside(name, process, words, voice)

    def _tell(self, word: str) -> None:
        for one in self._beside:
            # One that has ended or never listens is told nothing more; `look` says so.
            with suppress(BrokenPipeError, BlockingIOError):
                os.write(one.words, f"{word}\n".encode())

    def _ended(self, one: _Beside) -> bool:
        """Whether a sender has ended. What it has said is passed on, and a failure is told once."""
        code = one.process.poll()  # first, so that its last words are there
        with suppress(BlockingIOError):
            while data := os.read(one.voice, 65_536):
                one.heard += data
        *words, one.heard = one.heard.split(b"\n")
        for word in words:
            text = word.decode(errors="replace")
            if text.startswith(FAILED):
                one.failed = True
                self._note(f"{text.removeprefix(FAILED)}; {_NOT_LOST}")
            else:
                self._note(text)
        if code and not one.failed:
            one.failed = True
            self._note(f"{one.name}: ended with {code}, see {STATE_FOLDER}/{one.name}.log; {_NOT_LOST}")
        return code is not None
