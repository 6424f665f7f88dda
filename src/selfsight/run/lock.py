"""One process writes a run; a second one is told which.

The lock is the kernel's (`flock`), so it goes with its process however that ends: there is no stale lock to
clean up, and nobody has to guess from a process id. What the file holds (pid, host, start) is only for the
message.
"""

import fcntl
import json
import os
import socket
from contextlib import suppress
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

    def check(self) -> None:
        """Raises when the path no longer names the file that is locked here.

        Whoever opens the path then locks another file, and is let in while this process still writes.
        """
        if self._descriptor is None:
            return
        held = os.fstat(self._descriptor)
        try:
            named = self.path.stat()
        except OSError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            raise SelfsightError(
                f"{self.path}: was removed or replaced while this process was writing the run, so another one may be "
                "writing it, too; this one stops",
                hint="leave the file alone while a run goes on; once no process writes it, `selfsight resume "
                f"{self.path.parent}` goes on",
            )

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


def being_written(path: Path) -> bool | None:
    """Whether a process of this machine holds the lock at `path`; None where only another machine could tell.

    The lock itself is not touched: taking it to find out, for however short a time, would turn a run away that wants
    to start at this moment. So the process that the file names is looked at, and, where the system shows that (Linux),
    whether it has this very file open, since its number may be another process's by now.
    """
    try:
        facts = json.loads(path.read_bytes()[:4096])
        owner, host = int(facts["pid"]), facts["host"]
    except (OSError, ValueError, KeyError, TypeError):  # no run has been here, or one that is just taking the lock
        return False
    if host != socket.gethostname() or owner <= 0:
        return None
    opened = Path("/proc", str(owner), "fd")
    if not opened.parent.parent.joinpath("self").exists():
        return _alive(owner)
    wanted = str(path.resolve())
    try:
        for descriptor in opened.iterdir():
            with suppress(OSError):  # closed since it was listed
                if str(descriptor.readlink()) == wanted:
                    return True
    except PermissionError:  # another user's process
        return True
    except OSError:
        return False
    return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _owner(descriptor: int) -> str:
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f"pid {int(facts['pid'])} on {facts['host']}, since {facts['start']}"
    except (ValueError, KeyError, TypeError):  # it has taken the lock and not yet written its name
        return "it has only just started"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
