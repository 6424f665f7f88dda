"""Stopping a run from outside: the first SIGINT or SIGTERM asks, the second one insists.

The first only sets a flag, which the loop checks at each step, so that the step under way is finished and
saved. The second ends the process at once; what is on disk is whole by then, since everything is written
atomically. Exit codes are the shell's: 130 after SIGINT (Ctrl-C), 143 after SIGTERM.
"""

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_MESSAGES: Final = {
    signal.SIGINT: b"\nstopping after this step, with everything saved; press Ctrl-C again to stop at once\n",
    signal.SIGTERM: b"\nasked to end (SIGTERM): stopping after this step, with everything saved; a second signal stops "
    b"at once\n",
}
_SHOW_CURSOR: Final = b"\x1b[?25h"


class StopRequested:
    """`with StopRequested() as stop:` ... `if stop: save and leave with stop.exit_code`.

    Only the main thread can install it (Python's rule). The former handlers are restored at the end.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What the process should exit with: 0 if nobody asked it to stop."""
        return 0 if self.signal is None else 128 + self.signal

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            _say(_MESSAGES[signal.Signals(number)])
            return
        if os.isatty(2):
            _say(_SHOW_CURSOR)  # the live display had hidden it
        os._exit(128 + number)

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former = {}


def _say(message: bytes) -> None:
    """Write past Python's own streams, which a signal may interrupt and which must not be entered twice."""
    with suppress(OSError):  # a closed terminal is often why the signal came
        os.write(2, message)
