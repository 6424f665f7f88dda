"""One process writes a run; a second one is told which.

The lock is the kernel's (`flock`), so it goes with its process however that ends: there is no stale lock to
clean up, and nobody has to guess from a process id. What the file holds (pid, host, start) is only for the
message.
"""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from selfsight.errors import SelfsightError
from selfsight.run.atomic import canonical_json, disk_errors


class RunLock:
    """Holds `path` for this process between `acquire` and `release` (or inside `with`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it."""
        with disk_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SelfsightError(
                    f"{self.path.parent}: another process is writing this run: {_owner(descriptor)}",
                    hint="wait for it or stop it; two runs need two folders",
                ) from None
            except OSError as error:
                raise SelfsightError(
                    f"{self.path}: this file system has no locks ({error.strerror})",
                    hint="choose an output_dir on a local disk",
                ) from error
            facts = {"pid": os.getpid(), "host": socket.gethostname(), "start": _now()}
            with disk_errors(self.path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, canonical_json(facts) + b"\n", 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes hold one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _owner(descriptor: int) -> str:
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f"pid {int(facts['pid'])} on {facts['host']}, since {facts['start']}"
    except (ValueError, KeyError, TypeError):  # it has taken the lock and not yet written its name
        return "it has only just started"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
