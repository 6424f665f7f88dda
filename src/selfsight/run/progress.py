"""What a run shows while it works: a live display on a terminal, plain lines everywhere else.

Loops know only the protocol `Progress`. Model text is hostile text: escape sequences, control characters and
direction overrides are taken out before anything reaches the terminal, and no markup in it is interpreted.
"""

import numbers
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TextIO, cast

if TYPE_CHECKING:
    from rich.text import Text

# OSC, DCS, SOS, PM and APC strings with their content; CSI sequences; other escapes.
_ESCAPES: Final = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# C0 and C1 controls, line separators, direction marks and overrides, zero-width characters, lone surrogates, and what
# is drawn as nothing: soft hyphen, joiners and fillers, Mongolian and Khmer separators, annotation marks, and plane 14
# with its TAG characters, which can spell out whole sentences that nobody sees.
HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028\u2029\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)

# Metrics that are shown, in this order: key, label, format.
_SHOWN: Final[tuple[tuple[str, str, str], ...]] = (
    ("loss", "loss", ".3f"),
    ("reward", "reward", ".3f"),
    ("confidence", "confidence", ".2f"),
    ("kept", "kept", "g"),
    ("accuracy", "accuracy", ".1%"),
    ("tokens_per_second", "tokens/s", ",.0f"),
)
_PLAIN_INTERVAL: Final = 1.0
_SLOW_STEP: Final = 2.0  # seconds after which a live line says how long the step has been running
_BAR: Final = 20  # characters
_BAR_FROM: Final = 100  # columns; a narrower terminal has no place for a bar


def plain_text(text: str) -> str:
    """`text` on one line, without anything a terminal would obey."""
    text = _ESCAPES.sub("", text)
    return re.sub(" +", " ", HIDDEN.sub(" ", text)).strip()


class Progress(Protocol):
    """What a loop may tell the person who waits."""

    def phase(self, name: str, total: int | None, *, done: int = 0, at_most: int | None = None) -> None:
        """A new phase of `total` steps begins, `done` of them before a resume.

        Where the total is not known (None), `at_most` is the largest number of steps that it can take, if there is one.
        """

    def step(self, metrics: Mapping[str, object]) -> None:
        """One step of the phase is done. Shown are: loss, reward, confidence, kept, accuracy,
        tokens_per_second.
        """

    def note(self, text: str) -> None:
        """A line worth keeping on the screen."""


class Tally:
    """Where a phase stands: steps done, latest metrics, time left by the mean time of its steps.

    The time left falls while a step runs and is corrected when the step is done: computed from the time since the phase
    began, it would rise during a long step.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.start("", None)

    def start(self, name: str, total: int | None, *, done: int = 0, at_most: int | None = None) -> None:
        """A new phase; see `Progress.phase`."""
        self.name = plain_text(name)
        self.total, self.at_most = total, at_most
        self.done = self._before = done
        self.metrics: dict[str, object] = {}
        self._began = self._stepped = self._clock()

    def step(self, metrics: Mapping[str, object]) -> None:
        """One step more, with its metrics."""
        self.done += 1
        if self.total is not None and self.done > self.total:
            self.total = None  # it takes more than was expected: nobody knows how many
        self.metrics.update(metrics)
        self._stepped = self._clock()

    @property
    def finished(self) -> bool:
        """Whether all steps of a known total are done."""
        return self.done == self.total

    def seconds_in_step(self) -> float:
        """How long the step under way has taken so far."""
        return self._clock() - self._stepped

    def seconds_left(self) -> float | None:
        """Time until `total`, or until `at_most` at the latest; None before the first step, or without either."""
        last = self.at_most if self.total is None else self.total
        timed = self.done - self._before
        if last is None or timed <= 0:
            return None
        mean = (self._stepped - self._began) / timed
        # A step that takes longer than the mean stands still at the time for the steps after it.
        return max(0.0, mean * (last - self.done) - min(self.seconds_in_step(), mean))

    def line(self, width: int | None = None, *, alive: bool = False) -> str:
        """The whole state on one line of at most `width` characters; empty before the first phase.

        Metrics give way first, the least important ones foremost, then the phase's name is shortened: where the phase
        stands and how long it will take are what somebody who waits looks for. `alive` adds the time that the step
        under way has taken, for a display that is drawn again while it runs.
        """
        if not self.name:
            return ""
        metrics = []
        for key, label, form in _SHOWN:
            value = self.metrics.get(key)
            if isinstance(value, numbers.Real):
                metrics.append(f"{label} {float(value):{form}}")
        times = self._times(alive)
        while metrics and not _fits([self.name + self._count(), *metrics, *times], width):
            del metrics[-1]
        name = self.name
        if width is not None and not _fits([name + self._count(), *metrics, *times], width):
            room = width - len("  ".join([self._count(), *times]))
            name = name[: max(0, room - 1)] + "…" if room > 0 else ""
        line = "  ".join([name + self._count(), *metrics, *times])
        return line if width is None else line[:width]

    def _count(self) -> str:
        if self.total is not None:
            return f" {self.done}/{self.total}"
        if self.at_most is not None:
            return f" {self.done}, at most {self.at_most}"
        # A phase that is done in one piece, such as a measurement, counts nothing.
        return f" {self.done}" if self.done > 1 else ""

    def _times(self, alive: bool) -> list[str]:
        times = []
        left = self.seconds_left()
        if left is not None:
            times.append(f"{'at most ' if self.total is None else ''}{duration(left)} left")
        if alive and not self.finished and (running := self.seconds_in_step()) >= _SLOW_STEP:
            times.append(f"this step {duration(running)}")
        return times


def _fits(parts: list[str], width: int | None) -> bool:
    return width is None or len("  ".join(parts)) <= width


def counted(number: int, noun: str) -> str:
    """A number with its noun in the right form: 1 step, 2 steps."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Tolerant:
    """A stream that gives up at its first failed write, remembers why in `lost`, and swallows the rest.

    A log on a full disk or a closed terminal must not end a run that trains.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: str | None = None

    def write(self, text: str) -> int:
        """Write `text`, or nothing once writing has failed."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush; this is where a full disk shows."""
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self.lost is None:
            try:
                action()
            except OSError as error:
                self.lost = error.strerror or str(error)
            except ValueError as error:  # "I/O operation on closed file"
                self.lost = str(error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)  # isatty, fileno, encoding


class PlainProgress:
    """One line per step, at most one a second inside a phase: for logs, pipes and CI.

    `lost` says why the stream can no longer be written, None while it can.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = _Tolerant(stream)
        self._clock = clock
        self._tally = Tally(clock)
        self._last = float("-inf")

    def phase(self, name: str, total: int | None, *, done: int = 0, at_most: int | None = None) -> None:
        self._tally.start(name, total, done=done, at_most=at_most)
        self._last = float("-inf")
        size = "" if total is None else f": {counted(total, 'step')}"
        if total is None and at_most is not None:
            size = f": at most {counted(at_most, 'step')}"
        before = f", {done} done before" if done else ""
        self._print(self._tally.name + size + before)

    def step(self, metrics: Mapping[str, object]) -> None:
        self._tally.step(metrics)
        now = self._clock()
        if now - self._last >= _PLAIN_INTERVAL or self._tally.finished:
            self._last = now
            self._print(self._tally.line())

    def note(self, text: str) -> None:
        self._print(plain_text(text))

    @property
    def lost(self) -> str | None:
        """Why nothing is shown any more."""
        return self._stream.lost

    def _print(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class LiveProgress:
    """The current phase on one line that renews itself, notes above it. `lost` is as in `PlainProgress`."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        self._stream = _Tolerant(stream)
        self._console = Console(file=cast("TextIO", self._stream), highlight=False, markup=False, emoji=False)
        self._tally = Tally(clock)
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=4, redirect_stdout=False
        )

    @property
    def lost(self) -> str | None:
        """Why nothing is shown any more."""
        return self._stream.lost

    def _render(self) -> "Text":
        from rich.text import Text

        width = self._console.width
        bar, total = "", self._tally.total
        if total and width >= _BAR_FROM:
            filled = min(_BAR, _BAR * self._tally.done // total)
            bar = "█" * filled + "░" * (_BAR - filled) + "  "
        return Text(bar + self._tally.line(width - len(bar), alive=True), no_wrap=True, overflow="crop")

    def phase(self, name: str, total: int | None, *, done: int = 0, at_most: int | None = None) -> None:
        if self._tally.done:
            self._console.print(self._tally.line())
        self._tally.start(name, total, done=done, at_most=at_most)

    def step(self, metrics: Mapping[str, object]) -> None:
        self._tally.step(metrics)

    def note(self, text: str) -> None:
        self._console.print(plain_text(text))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def progress_on(stream: TextIO | None = None) -> PlainProgress | LiveProgress:
    """The display that suits `stream` (standard error unless given); use it as a context manager."""
    stream = sys.stderr if stream is None else stream
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    if not stream.isatty() or dumb or os.environ.get("NO_COLOR") or os.environ.get("CI"):
        return PlainProgress(stream)
    return LiveProgress(stream)
