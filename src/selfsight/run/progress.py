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


def plain_text(text: str) -> str:
    """`text` on one line, without anything a terminal would obey."""
    text = _ESCAPES.sub("", text)
    return re.sub(" +", " ", HIDDEN.sub(" ", text)).strip()


class Progress(Protocol):
    """What a loop may tell the person who waits."""

    def phase(self, name: str, total: int | None) -> None:
        """A new phase of `total` steps (None: not known) begins."""

    def step(self, metrics: Mapping[str, object]) -> None:
        """One step of the phase is done. Shown are: loss, reward, confidence, kept, accuracy,
        tokens_per_second.
        """

    def note(self, text: str) -> None:
        """A line worth keeping on the screen."""


class Tally:
    """Where a phase stands: steps done, latest metrics, time left by the mean time of its steps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.start("", None)

    def start(self, name: str, total: int | None) -> None:
        self.name = plain_text(name)
        self.total = total
        self.done = 0
        self.metrics: dict[str, object] = {}
        self._began = self._clock()

    def step(self, metrics: Mapping[str, object]) -> None:
        self.done += 1
        if self.total is not None and self.done > self.total:
            self.total = None  # it takes more than was thought: nobody knows how many
        self.metrics.update(metrics)

    def seconds_left(self) -> float | None:
        if self.total is None or self.done == 0:
            return None
        return max(0.0, (self._clock() - self._began) / self.done * (self.total - self.done))

    def line(self) -> str:
        """The whole state on one line; empty before the first phase."""
        if not self.name:
            return ""
        parts = [f"{self.name} {self.done}" + (f"/{self.total}" if self.total is not None else "")]
        for key, label, form in _SHOWN:
            value = self.metrics.get(key)
            if isinstance(value, numbers.Real):
                parts.append(f"{label} {float(value):{form}}")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)


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

    def phase(self, name: str, total: int | None) -> None:
        self._tally.start(name, total)
        self._last = float("-inf")
        self._print(self._tally.name + (f": {total} steps" if total is not None else ""))

    def step(self, metrics: Mapping[str, object]) -> None:
        self._tally.step(metrics)
        now = self._clock()
        if now - self._last >= _PLAIN_INTERVAL or self._tally.done == self._tally.total:
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

        total = self._tally.total
        bar = ""
        if total:
            filled = min(20, 20 * self._tally.done // total)
            bar = "█" * filled + "░" * (20 - filled) + "  "
        return Text(bar + self._tally.line(), no_wrap=True, overflow="ellipsis")

    def phase(self, name: str, total: int | None) -> None:
        if self._tally.done:
            self._console.print(self._tally.line())
        self._tally.start(name, total)

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
