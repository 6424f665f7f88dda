"""What a run has finished: one line per stage, with the hashes of what went in and of what came out.

`selfsight resume` verifies the artefacts of all stages before its checkpoint (methods/restoring.py): it repeats a stage
whose artefact is missing or changed if a checkpoint from before it is left, and refuses if not. Later lines replace
earlier ones of the same stage. `files` names the files inside artefacts that are folders, so that damage names a file;
lines of earlier versions have none.

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
from selfsight.run.atomic import JsonlWriter, Written, read_jsonl
from selfsight.run.closing import Closing
from selfsight.run.hashing import hash_files, hash_folder, hash_path

_KEYS: Final = {"stage", "inputs", "outputs", "seconds"}
_LATER_KEYS: Final = _KEYS | {"files"}


@dataclass(frozen=True)
class Entry:
    """A finished stage. `inputs`: name to hash; `outputs`: path relative to the run to hash; `files`: the same for
    every file inside an output that is a folder.
    """

    stage: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seconds: float
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Damage:
    """An artefact that is not what its stage wrote; `file` is the file inside an artefact that is a folder."""

    stage: str
    artefact: str
    what: Literal["missing", "changed"]
    file: str = ""

    @property
    def path(self) -> str:
        """The file or folder at fault, relative to the run."""
        return self.file or self.artefact

    def __str__(self) -> str:
        source = f" (from {self.stage})" if self.stage else ""
        inner = f" ({self.file.removeprefix(f'{self.artefact}/')})" if self.file else ""
        return f"{self.artefact}{source} is {self.what}{inner}"


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
        return damages_of(self._root, self._entry(stage))

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
        hashes: dict[str, str] = {}
        files: dict[str, str] = {}
        for path in outputs:
            name = path.relative_to(self._root).as_posix()
            inner = hash_files(path) if path.is_dir() else {}
            hashes[name] = hash_folder(inner) if path.is_dir() else hash_path(path)
            files |= {f"{name}/{file}": blake2b for file, blake2b in inner.items()}
        entry = Entry(stage, dict(inputs), hashes, round(seconds, 3), files)
        self._writer.append(
            {"stage": stage, "inputs": entry.inputs, "outputs": hashes, "seconds": entry.seconds, "files": files}
        )
        self._entries[stage] = entry
        self._sound.add(stage)
        return entry

    def _entry(self, stage: str) -> Entry:
        if stage not in self._entries:
            raise SelfsightError(f"{self.path}: stage {stage!r} is not finished", hint="resume the run first")
        return self._entries[stage]

    def written(self) -> Written:
        """Lines and fingerprint of journal.jsonl."""
        return self._writer.written()

    def close(self) -> None:
        self._writer.close()


def damages_of(root: Path, entry: Entry, *, folders: bool = True) -> list[Damage]:
    """Every artefact of a finished stage that is missing or changed, from the disk of the run at `root`.

    Args:
        root: The run's folder.
        entry: The stage's line of the journal.
        folders: Whether artefacts that are folders (models: large) are looked at as well.
    """
    damages: list[Damage] = []
    for artefact, recorded in entry.outputs.items():
        path = root / artefact
        inner = {name: blake2b for name, blake2b in entry.files.items() if name.startswith(f"{artefact}/")}
        if not path.exists():
            damages.append(Damage(entry.stage, artefact, "missing"))
        elif not (inner or path.is_dir()):
            if hash_path(path) != recorded:
                damages.append(Damage(entry.stage, artefact, "changed"))
        elif folders:
            found = {f"{artefact}/{name}": blake2b for name, blake2b in hash_files(path).items()}
            if not inner and hash_folder(_inside(found, artefact)) != recorded:  # a line of an earlier version
                damages.append(Damage(entry.stage, artefact, "changed"))
            elif inner:
                damages += _differing(entry.stage, artefact, inner, found)
    return damages


def _differing(stage: str, artefact: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Damage]:
    for name in sorted({**recorded, **found}):
        if name not in found:
            yield Damage(stage, artefact, "missing", name)
        elif recorded.get(name) != found[name]:  # a file that the stage did not write is a change, too
            yield Damage(stage, artefact, "changed", name)


def _inside(files: Mapping[str, str], folder: str) -> dict[str, str]:
    return {name.removeprefix(f"{folder}/"): blake2b for name, blake2b in files.items()}


def read_journal(path: Path) -> list[Entry]:
    """All lines of a journal, oldest first; for reports, which do not write."""
    entries: list[Entry] = []
    for number, record in enumerate(read_jsonl(path), start=1):
        stage, inputs, outputs = record.get("stage"), record.get("inputs"), record.get("outputs")
        seconds, files = record.get("seconds"), record.get("files", {})
        if (
            set(record) not in (_KEYS, _LATER_KEYS)
            or not isinstance(stage, str)
            or not isinstance(inputs, dict)
            or not isinstance(outputs, dict)
            or not isinstance(files, dict)
            or not isinstance(seconds, int | float)
        ):
            raise SelfsightError(f"{path}: line {number} is not a journal entry", hint="restore the file")
        entries.append(Entry(stage, inputs, outputs, float(seconds), files))
    return entries
