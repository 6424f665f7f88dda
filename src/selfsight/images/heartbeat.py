"""Says on the terminal that images are being looked through: a start over 100,000 files takes a minute.

A source is made before a run has anything to write to, and from many places. So whoever makes one says once who is to
be told (`telling`), and the code that walks through files says where it stands (`Heartbeat`). Without a listener
nothing is said.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_EVERY: Final = 5.0  # seconds
_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("image listener", default=None)


@contextmanager
def telling(note: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, `note` is given a line whenever looking through images takes long."""
    token = _LISTENER.set(note)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Heartbeat:
    """Counts images, and says every 5 seconds how many have been looked at; `total` is None when it is not known."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._note = _LISTENER.get()
        self._next = time.monotonic() + _EVERY

    def step(self) -> None:
        """One more image has been looked at."""
        self._done += 1
        if self._note is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            of = "" if self._total is None else f" of {self._total:,}"
            self._note(f"{self._what}: {self._done:,}{of} images checked")
