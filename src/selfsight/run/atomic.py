"""Writing so that a crash at any moment leaves the old file or the new one, whole.

`write_atomic`: a temporary file in the same folder, fsync, `os.replace`, fsync of the folder.
`replace_folder`: the same for a folder of files that another library writes.
`JsonlWriter`: each record is one line that has reached the disk when `append` returns; a line torn by a
crash is dropped on reopening.

A disk that is full, read-only or broken becomes a `DiskError` that names the file; the old content stays
usable. JSON is canonical (sorted keys, no spaces, ASCII), so equal records are equal bytes, hostile text is
inert in a terminal, and NaN is refused instead of writing what no JSON reader takes.
"""

import errno
import hashlib
import json
import numbers
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfsight.errors import SelfsightError
from selfsight.run.closing import Closing
from selfsight.run.hashing import hash_bytes

_HINTS: Final[dict[int, str]] = {
    errno.ENOSPC: "free some space, then `selfsight resume` continues; nothing written before is lost",
    errno.EDQUOT: "free some quota, then `selfsight resume` continues; nothing written before is lost",
    errno.EROFS: "the file system is read-only; choose another output_dir",
    errno.EACCES: "check the permissions of the folder, or choose another output_dir",
    errno.EEXIST: "a file of that name is in the way; choose another output_dir",
    errno.ENOTDIR: "a file is in the way of that folder; choose another output_dir",
    errno.EPERM: "check the permissions of the folder, or choose another output_dir",
}


class DiskError(SelfsightError):
    """The disk refused a write; what was there before is still whole."""

    def __init__(self, path: Path, reason: str, number: int | None) -> None:
        hint = _HINTS.get(number or 0, "check the disk, then `selfsight resume` continues")
        super().__init__(f"{path}: cannot be written ({reason})", hint=hint)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into a DiskError that names `path`."""
    try:
        yield
    except OSError as error:
        raise DiskError(path, error.strerror or str(error), error.errno) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably; on any error the old file is untouched."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def temporary_folder(path: Path) -> Path:
    """Where `replace_folder` writes before the folder takes the place of `path`; left behind only by a kill."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Gives the block an empty folder to write into, and puts it in the place of `path` once all of it is on the disk.

    A crash leaves the old folder, the new one, or none of them; never a part of one.
    """
    temporary = temporary_folder(path)
    with disk_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for inner in sorted(temporary.rglob("*")):
                (sync_folder if inner.is_dir() else sync_file)(inner)
            sync_folder(temporary)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force a file that another library wrote to the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Force a folder's entries (new names, renames) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: object) -> bytes:
    """The one way this package writes `value` as JSON; numpy's scalars are written as numbers."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_as_number)
    return text.encode("ascii")


def pretty_json(value: object) -> bytes:
    """Canonical JSON for people: the same order of keys, indented, with a final line break."""
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False, default=_as_number)
    return text.encode("ascii") + b"\n"


def _as_number(value: object) -> object:
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> object:
    """The value in a JSON file; a missing or damaged file is a SelfsightError that names it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SelfsightError(f"{path}: cannot be read ({error.strerror})", hint="check the path") from error
    except (ValueError, RecursionError) as error:
        raise SelfsightError(f"{path}: is damaged ({error})", hint="restore it, or start a new run") from error


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """All whole lines of a JSONL file; a torn last line is left out, damage before it is an error."""
    if not path.exists():
        return []
    data = path.read_bytes()
    records: list[dict[str, object]] = []
    for number, line in enumerate(data[: _whole(data)].splitlines(), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SelfsightError(
                f"{path}: line {number} is damaged ({error})", hint="restore it, or start a new run"
            ) from error
        if not isinstance(record, dict):
            raise SelfsightError(f"{path}: line {number} is not an object", hint="restore it, or start a new run")
        records.append(record)
    return records


def _whole(data: bytes) -> int:
    """Length of `data` up to and including its last whole line: one that has its line break and is JSON.

    A crash of the machine can leave a last line of zeros with a line break, hence the second condition.
    """
    end = data.rfind(b"\n") + 1
    if end == 0:
        return 0
    start = data.rfind(b"\n", 0, end - 1) + 1
    try:
        json.loads(data[start:end])
    except (ValueError, RecursionError):
        return start
    return end


@dataclass(frozen=True)
class Written:
    """The first `lines` lines of a JSONL file, and the fingerprint (blake2b) of their bytes."""

    lines: int
    blake2b: str


def fingerprint_lines(path: Path, lines: int) -> Written | None:
    """The fingerprint of the first `lines` lines of a file; None if it does not have as many."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    end = 0
    for _ in range(lines):
        end = data.find(b"\n", end) + 1
        if end == 0:
            return None
    return Written(lines, hash_bytes(data[:end]))


class JsonlWriter(Closing):
    """Appends records to a JSONL file, each on the disk when `append` returns. `lines` counts them.

    `append` raises once the file was removed or replaced by somebody else: what is written to a removed file is lost
    when the process ends, and nobody would be told.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            self._stream = path.open("r+b" if path.exists() else "x+b", buffering=0)
            data = self._stream.read()
            end = _whole(data)
            if end < len(data):
                self._cut(end)
            else:
                sync_folder(path.parent)
        self.lines = data[:end].count(b"\n")
        self._end = end
        self._digest = hashlib.blake2b(data[:end], digest_size=16)

    def append(self, record: dict[str, object]) -> None:
        """Write one record; if the disk refuses, the file is cut back to its last whole line."""
        line = canonical_json(record) + b"\n"
        self.check_in_place()
        with disk_errors(self.path):
            try:
                self._stream.seek(self._end)
                written = 0
                while written < len(line):
                    written += self._stream.write(line[written:])
                os.fsync(self._stream.fileno())
            except OSError:
                with suppress(OSError):
                    self._stream.truncate(self._end)
                raise
        self._end += len(line)
        self.lines += 1
        self._digest.update(line)

    def written(self) -> Written:
        """What this file holds by now: number of lines and their fingerprint, known without reading it again."""
        return Written(self.lines, self._digest.hexdigest())

    def check_in_place(self) -> None:
        """Raises if the path no longer names the file that is open here, or the file has become shorter."""
        open_file = os.fstat(self._stream.fileno())
        try:
            named = self.path.stat()
        except OSError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (open_file.st_dev, open_file.st_ino):
            what = "was removed or replaced"
        elif named.st_size < self._end:
            what = "was cut"
        else:
            return
        raise SelfsightError(
            f"{self.path}: {what} while this process was writing it",
            hint="put it back, then `selfsight resume` goes on; without it the run goes on too, and names the gap",
        )

    def truncate(self, lines: int) -> None:
        """Keep the first `lines` records: on resuming, what came after the checkpoint is written again, so
        that the file ends up as that of an undisturbed run.
        """
        if lines > self.lines:
            raise SelfsightError(
                f"{self.path}: has {self.lines} whole lines, the checkpoint expects {lines}",
                hint="restore the file; without it the run's record would have a gap",
            )
        with disk_errors(self.path):
            self._stream.seek(0)
            data = self._stream.read(self._end)
            end = 0
            for _ in range(lines):
                end = data.index(b"\n", end) + 1
            self._cut(end)
        self._end = end
        self.lines = lines
        self._digest = hashlib.blake2b(data[:end], digest_size=16)

    def _cut(self, end: int) -> None:
        self._stream.truncate(end)
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()
