"""What a run has finished: one line per stage, with the hashes of what went in and of what came out.

A stage is done if it was finished with these very inputs and its artefacts are still what it wrote. So a
resumed run skips what is done, repeats what was lost or changed (and says so by name), and repeats what a
changed input makes stale. Later lines stand above earlier ones of the same stage.

Wall times are in the journal and nowhere else, so that every other file of two equal runs is equal byte for
byte.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from selfsight.errors import SelfsightError
from selfsight.run.atomic import JsonlWriter, read_jsonl
from selfsight.run.closing import Closing
from selfsight.run.hashing import hash_path

_KEYS: Final = {"stage", "inputs", "outputs", "seconds"}


@dataclass(frozen=True)
class Entry:
    """A finished stage. `inputs`: name to hash; `outputs`: path relative to the run to hash."""

    stage: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Damage:
    """An artefact that is not what its stage wrote."""

    stage: str
    artefact: str
    what: Literal["missing", "changed"]

    def __str__(self) -> str:
        return f"{self.artefact} (from {self.stage}) is {self.what}"


@dataclass
class OpenStage:
    """A stage under way: add each artefact once it is written."""

    outputs: list[Path] = field(default_factory=list)

    def output(self, path: Path) -> Path:
        """Name a file or folder that this stage has written or will have written at its end."""
        self.outputs.append(path)
        return path


class Journal(Closing):
    """journal.jsonl of a run. `note` is told of every artefact that is missing or changed."""

    def __init__(self, path: Path, *, note: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._root = path.parent
        self._note = note
        self._writer = JsonlWriter(path)
        self._entries = {entry.stage: entry for entry in read_journal(path)}
        self._sound: set[str] = set()

    def is_done(self, stage: str, inputs: Mapping[str, str] | None = None) -> bool:
        """Whether `stage` need not be run again: finished, with these inputs, its artefacts unchanged."""
        entry = self._entries.get(stage)
        if entry is None or (inputs is not None and dict(entry.inputs) != dict(inputs)):
            return False
        if stage in self._sound:  # artefacts are hashed once per process; model folders are large
            return True
        damages = self.verify(stage)
        for damage in damages:
            if self._note is not None:
                self._note(f"{damage}; {stage} will be repeated")
        if not damages:
            self._sound.add(stage)
        return not damages

    def verify(self, stage: str) -> list[Damage]:
        """Every artefact of a finished stage that is missing or changed, from the disk."""
        damages: list[Damage] = []
        for artefact, recorded in self._entry(stage).outputs.items():
            path = self._root / artefact
            if not path.exists():
                damages.append(Damage(stage, artefact, "missing"))
            elif hash_path(path) != recorded:
                damages.append(Damage(stage, artefact, "changed"))
        return damages

    def outputs(self, stage: str) -> dict[str, str]:
        """Artefacts of a finished stage and their hashes: the next stage's inputs."""
        return dict(self._entry(stage).outputs)

    def inputs(self, stage: str) -> dict[str, str]:
        """What a finished stage was given, as hashes."""
        return dict(self._entry(stage).inputs)

    def stages(self) -> list[str]:
        """Finished stages in the order of their first finish."""
        return list(self._entries)

    @contextmanager
    def stage(self, name: str, inputs: Mapping[str, str]) -> Iterator[OpenStage]:
        """Runs a stage: times the block, and records it if it ends without an error."""
        start = time.perf_counter()
        under_way = OpenStage()
        yield under_way
        self.record(name, inputs=inputs, outputs=under_way.outputs, seconds=time.perf_counter() - start)

    def record(self, stage: str, *, inputs: Mapping[str, str], outputs: list[Path], seconds: float) -> Entry:
        """Write down that `stage` is finished; its artefacts must lie inside the run."""
        hashes = {path.relative_to(self._root).as_posix(): hash_path(path) for path in outputs}
        entry = Entry(stage, dict(inputs), hashes, round(seconds, 3))
        self._writer.append({"stage": stage, "inputs": entry.inputs, "outputs": hashes, "seconds": entry.seconds})
        self._entries[stage] = entry
        self._sound.add(stage)
        return entry

    def _entry(self, stage: str) -> Entry:
        if stage not in self._entries:
            raise SelfsightError(f"{self.path}: stage {stage!r} is not finished", hint="resume the run first")
        return self._entries[stage]

    def close(self) -> None:
        self._writer.close()


def read_journal(path: Path) -> list[Entry]:
    """All lines of a journal, oldest first; for reports, which do not write."""
    entries: list[Entry] = []
    for number, record in enumerate(read_jsonl(path), start=1):
        stage, inputs, outputs = record.get("stage"), record.get("inputs"), record.get("outputs")
        seconds = record.get("seconds")
        if (
            set(record) != _KEYS
            or not isinstance(stage, str)
            or not isinstance(inputs, dict)
            or not isinstance(outputs, dict)
            or not isinstance(seconds, int | float)
        ):
            raise SelfsightError(f"{path}: line {number} is not a journal entry", hint="restore the file")
        entries.append(Entry(stage, inputs, outputs, float(seconds)))
    return entries
