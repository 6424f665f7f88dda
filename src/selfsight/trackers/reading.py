"""A file of JSON lines that another process appends to, read as it grows."""

import json
from pathlib import Path
from typing import Any


class Lines:
    """The whole lines of `path`, each once; `count` is how many have been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._offset = 0

    def new(self) -> list[dict[str, Any]]:
        """The lines that were written since the last call. One without its line break is still being written."""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
        self.count += len(lines)
        return lines
