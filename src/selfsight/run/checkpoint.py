"""What resuming needs, on disk: tensors as safetensors and state as JSON, no pickle anywhere.

Order of writing, so that a crash between any two lines leaves the previous checkpoint usable:
`.step-N.tmp/` with both files, each fsynced; fsync of the folder; rename to `step-N`; fsync of the parent;
at last the marker `COMPLETE`, itself written atomically, which holds size and blake2b of every file. Old
checkpoints are removed only after that. A folder without a valid marker, or whose files do not match it, is
not a checkpoint: it is skipped, and said so by name.

Left out: a "latest" pointer. It would be one more file that can be wrong; the newest valid folder is the
latest.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from selfsight.errors import SelfsightError
from selfsight.run.atomic import DiskError, canonical_json, disk_errors, sync_file, sync_folder, write_atomic
from selfsight.run.hashing import hash_bytes, hash_path

if TYPE_CHECKING:
    import torch

TENSORS: Final = "tensors.safetensors"
STATE: Final = "state.json"
MARKER: Final = "COMPLETE"
# `.replaced`: the former checkpoint of the same step, kept until the new one is complete.
_FOLDER: Final = re.compile(r"step-(\d{1,12})(\.replaced)?")
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were found to be what was written."""

    step: int
    path: Path

    def state(self) -> dict[str, object]:
        """The JSON state given to `save`."""
        state: dict[str, object] = json.loads((self.path / STATE).read_bytes())
        return state

    def tensors(self) -> dict[str, "torch.Tensor"]:
        """The tensors given to `save`, on the CPU."""
        import safetensors.torch

        return safetensors.torch.load_file(self.path / TENSORS)


@dataclass(frozen=True)
class Skipped:
    """A folder that looks like a checkpoint and is not usable, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.reason}"


class Checkpoints:
    """The checkpoints of a run in `folder`, of which the newest `save_total_limit` are kept.

    Steps count over the whole run and only grow. After `latest_valid`, `skipped` says what was passed over.
    """

    def __init__(self, folder: Path, *, save_total_limit: int = 2) -> None:
        if save_total_limit < 1:
            raise SelfsightError(f"save_total_limit is {save_total_limit}", hint="keep at least 1, better 2")
        self.folder = folder
        self.save_total_limit = save_total_limit
        self.skipped: list[Skipped] = []

    def save(self, step: int, tensors: Mapping[str, "torch.Tensor"], state: Mapping[str, object]) -> Path:
        """Write the checkpoint of `step`; if the disk refuses, the previous one is as it was."""
        newer = [path for number, path in self._folders() if number > step]
        for path in newer:
            if damage_of(path) is None:
                raise ValueError(f"step {step} lies before the checkpoint {path.name}; steps only grow")
        state_bytes = canonical_json(dict(state))
        final = self.folder / f"step-{step}"
        temporary = self.folder / f".step-{step}.tmp"
        with disk_errors(final):
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                _write_tensors(temporary / TENSORS, tensors)
                write_atomic(temporary / STATE, state_bytes)
                marker = _marker(step, _facts(temporary))
                sync_folder(temporary)
                self._make_room(final)
                temporary.rename(final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_folder(self.folder)
            write_atomic(final / MARKER, marker)
            self._remove_old(step)
        return final

    def latest_valid(self) -> Checkpoint | None:
        """The newest checkpoint whose marker is there and whose files match it; None if there is none."""
        return next(self.valid(), None)

    def valid(self) -> Iterator[Checkpoint]:
        """All usable checkpoints, newest first; those passed over on the way are in `skipped`."""
        self.skipped = []
        for step, path in self._folders():
            damage = damage_of(path)
            if damage is None:
                yield Checkpoint(step, path)
            else:
                self.skipped.append(Skipped(path, damage))

    def forget_after(self, step: int) -> None:
        """Removes all checkpoints behind `step`: the run goes back there, because of damage that they lie behind."""
        for number, path in self._folders():
            if number > step:
                _remove(path)

    def _folders(self) -> list[tuple[int, Path]]:
        """Newest first; a replaced checkpoint behind the one that replaces it."""
        if not self.folder.is_dir():
            return []
        found = [
            (int(match[1]), match[2] is None, path)
            for path in self.folder.iterdir()
            if (match := _FOLDER.fullmatch(path.name)) and path.is_dir()
        ]
        return [(step, path) for step, _, path in sorted(found, reverse=True)]

    def _make_room(self, final: Path) -> None:
        """A folder of the same step: moved aside if it is a checkpoint, removed if it is debris."""
        if not final.exists():
            return
        replaced = final.with_name(f"{final.name}.replaced")
        if damage_of(final) is None:
            _remove(replaced)
            final.rename(replaced)
        else:
            _remove(final)

    def _remove_old(self, step: int) -> None:
        """Everything but the newest complete ones; `step` is known to be complete.

        Steps above it were found damaged before it was written, and belong to a future that will be repeated.
        """
        kept = 0
        for number, path in self._folders():
            current = path.name == f"step-{number}" and number <= step and (path / MARKER).exists()
            if current and kept < self.save_total_limit:
                kept += 1
            else:
                _remove(path)
        for path in self.folder.glob(".step-*.tmp"):
            _remove(path)


def damage_of(path: Path) -> str | None:
    """Why the folder `path` is not a usable checkpoint, naming the file; None if it is one."""
    try:
        raw = (path / MARKER).read_bytes()
    except FileNotFoundError:
        return f"{MARKER} is missing: the write was interrupted"
    try:
        manifest = json.loads(raw)
        step, files = manifest["step"], manifest["files"]
        # Canonical JSON has one spelling, so the marker's own hash covers every byte of it.
        if raw != _marker(step, files) or path.name.split(".")[0] != f"step-{step}":
            return f"{MARKER} is damaged"
        expected = {name: (int(facts["bytes"]), str(facts["blake2b"])) for name, facts in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MARKER} is damaged"
    for name, (nbytes, blake2b) in sorted(expected.items()):
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != nbytes:
            return f"{name} has {file.stat().st_size} bytes instead of {nbytes}"
        if hash_path(file) != blake2b:
            return f"{name} is damaged: its blake2b differs"
    return None


def _facts(folder: Path) -> dict[str, object]:
    return {
        name: {"bytes": (folder / name).stat().st_size, "blake2b": hash_path(folder / name)}
        for name in (TENSORS, STATE)
    }


def _marker(step: int, files: Mapping[str, object]) -> bytes:
    content = {"step": step, "files": files}
    return canonical_json({**content, "blake2b": hash_bytes(canonical_json(content))})


@contextmanager
def tensor_errors(path: Path) -> Iterator[None]:
    """Turns what safetensors says of a full or broken disk into a DiskError that names `path`."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:  # it reports a full disk in its text only
        number = _OS_ERROR.search(str(error))
        raise DiskError(path, str(error), int(number[1]) if number else None) from error


def _write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"]) -> None:
    import safetensors.torch

    separate: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        # safetensors refuses tensors that share memory (tied embeddings do), so the later one is copied.
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    with tensor_errors(path):
        safetensors.torch.save_file(separate, path)
    sync_file(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint folder, its marker first, so that no crash leaves a half of one that looks
    whole.
    """
    if path.exists():
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)
