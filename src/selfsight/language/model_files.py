"""Reading the small files of a model folder within bounds: JSON and text, whoever wrote them.

A model folder can come from a stranger. Opening a named pipe waits for ever, /dev/zero never ends, and JSON nested a
million times exhausts Python's stack. Here a file is opened without waiting, must be a regular one of bounded size, and
must be a JSON object of bounded depth; anything else is a SelfsightError that names the file and the way out.

Left out: what the keys mean. `policy.folder_check` decides which values are refused.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError

CONFIG_BYTES = 10 * 2**20
MAX_DEPTH = 64
_LFS = b"version https://git-lfs"
_AGAIN = "Download or save the model again."


def is_lfs_pointer(start: bytes) -> bool:
    """Whether a file that begins so is a Git LFS pointer: a few lines of text that stand for the real file."""
    return start.startswith(_LFS)


def lfs_error(file: Path) -> SelfsightError:
    """The error for a file that is a Git LFS pointer."""
    return SelfsightError(
        f"Model file {file}: cannot be read (it is a Git LFS pointer, not the file itself).",
        hint="Run `git lfs pull` in the folder, or download the model with `hf download`.",
    )


def read_bytes(file: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Args:
        file: The path; a symbolic link is followed (the Hugging Face cache is made of links).
        limit: The largest size in bytes.

    Returns:
        All bytes of the file.

    Raises:
        SelfsightError: The file is missing, a pipe, a device, a folder, too large, or a Git LFS pointer.
    """
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait until somebody writes to it.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise SelfsightError(
                    f"Model file {file}: cannot be read (it is not a regular file).", hint=f"Remove it. {_AGAIN}"
                )
            if facts.st_size > limit:
                raise SelfsightError(
                    f"Model file {file}: cannot be read ({facts.st_size:,} bytes; the limit is {limit:,}).", hint=_AGAIN
                )
            content = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its path is not valid"
        raise SelfsightError(f"Model file {file}: cannot be read ({reason}).", hint=_AGAIN) from error
    if is_lfs_pointer(content):
        raise lfs_error(file)
    return content


def read_object(file: Path, limit: int = CONFIG_BYTES) -> dict[str, Any]:
    """The JSON object of a file of a model folder.

    Args:
        file: The path.
        limit: The largest size in bytes.

    Returns:
        The object, nested at most `MAX_DEPTH` deep.

    Raises:
        SelfsightError: As `read_bytes`; or the text is not UTF-8, not JSON, not an object, or nested too deep.

    Example:
        >>> read_object(Path("model/config.json"))["model_type"]
        'qwen2_5_vl'
    """
    try:
        content = json.loads(read_bytes(file, limit).decode("utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error) or "out of memory"
        raise SelfsightError(f"Model file {file}: cannot be read ({reason}).", hint=_AGAIN) from error
    if not isinstance(content, dict):
        raise SelfsightError(f"Model file {file}: cannot be read (it does not hold a JSON object).", hint=_AGAIN)
    if not _is_shallow(content):
        raise SelfsightError(f"Model file {file}: cannot be read (nested more than {MAX_DEPTH} deep).", hint=_AGAIN)
    return content


def _is_shallow(content: dict[str, Any]) -> bool:
    """Level by level and not recursively, so that the check itself needs no deep stack."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            values = item.values() if isinstance(item, dict) else item
            inner.extend(value for value in values if isinstance(value, dict | list))
        if not inner:
            return True
        level = inner
    return False
