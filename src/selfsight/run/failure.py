"""failure.json: why a run ended before its time, for whoever looks at its folder later.

The terminal's last lines are gone when the run was started in a queue or over night. The file is removed when the run
goes on; a run that was stopped on purpose, or killed, leaves none.

    {"message": "...", "hint": "...", "kind": "SelfsightError", "stage": "round-1/curation", "step": 0,
     "time": "2026-11-30T12:00:00+00:00", "completions": ["..."]}
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from selfsight.errors import SelfsightError
from selfsight.run.atomic import pretty_json, write_atomic


class FailureRecord:
    """`with FailureRecord(path, expected=Stopped) as failures:` writes the file when an error leaves the block.

    `at` says where the run is; an error of the class `expected` is no failure, nor is one that asks the process to end.
    """

    def __init__(self, path: Path, *, expected: type[Exception]) -> None:
        self._path, self._expected = path, expected
        self._stage, self._step = "", 0

    def at(self, stage: str, step: int) -> None:
        """Where the run is now."""
        self._stage, self._step = stage, step

    def forget(self) -> None:
        """Removes the failure of an earlier start."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, self._expected):
            return
        record: dict[str, Any] = {
            "message": error.message if isinstance(error, SelfsightError) else str(error),
            "hint": error.hint if isinstance(error, SelfsightError) else None,
            "kind": type(error).__name__,
            "stage": self._stage,
            "step": self._step,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "completions": list(getattr(error, "completions", ())),
        }
        # A full disk may be the very failure; the error itself must reach the user.
        with suppress(OSError, SelfsightError):
            write_atomic(self._path, pretty_json(record))
