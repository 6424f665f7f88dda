"""What the weight files of a model folder hold, read from their headers alone: names, shapes and types.

A safetensors file begins with the length of its header and the header, a JSON object. Reading it takes milliseconds for
any size of model, and shows quantised tensors, names with control characters and Git LFS pointers before transformers
opens the file.

Left out: offsets and truncation, which the safetensors library checks by itself.
"""

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.language.model_files import is_lfs_pointer, lfs_error, read_object
from selfsight.run.progress import plain_text

_INDEX = "model.safetensors.index.json"
_INDEX_BYTES = 128 * 2**20
_HEADER_BYTES = 100 * 2**20  # the limit of the safetensors library
_COMPRESSED = ("F8_", "F6_", "F4", "I8", "U8", "I4", "U4")
_PACKED = (".qweight", ".qzeros", ".weight_packed", ".weight_scale_inv")
_PLAIN = "Use the folder of the same model that is not quantised (a name without -bnb-4bit, -AWQ, -GPTQ or -FP8)."
_AGAIN = "Download or save the model again."


@dataclass(frozen=True)
class StoredWeights:
    """Shapes by tensor name, over all weight files that are loaded."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def numbers(self) -> int:
        """How many numbers all tensors hold."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def read_stored_weights(folder: Path) -> StoredWeights:
    """The tensors in the headers of the files that transformers would load: model.safetensors, or those of the index.

    Args:
        folder: A local model folder.

    Returns:
        The shape of every tensor.

    Raises:
        SelfsightError: No weight file; one that is missing, outside the folder, a Git LFS pointer, not safetensors or
            quantised; or a tensor's name with control characters.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in _weight_files(folder):
        for name, entry in _read_header(file).items():
            if name != "__metadata__":
                shapes[name] = _checked_shape(file, name, entry)
    return StoredWeights(shapes)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    index = folder / _INDEX
    if not index.exists():
        found = sorted(folder.glob("*.safetensors"))
        if not found:
            raise SelfsightError(
                f"Model {folder}: no *.safetensors file.",
                hint="Convert pickled weights first; selfsight does not open .bin or .pt files.",
            )
        raise SelfsightError(
            f"Model {folder}: has neither model.safetensors nor {_INDEX}, only {plain_text(found[0].name)}.",
            hint="Name a single weight file model.safetensors; several need the index that belongs to them.",
        )
    targets = read_object(index, _INDEX_BYTES).get("weight_map")
    if not isinstance(targets, dict) or not targets:
        raise SelfsightError(f"Model file {index}: holds no weight_map.", hint=_AGAIN)
    names = sorted({str(target) for target in targets.values()})
    for name in names:
        if not name.endswith(".safetensors") or Path(name).name != name or plain_text(name) != name:
            raise SelfsightError(
                f"Model file {index}: names the weight file {plain_text(name)[:200]!r}, which is not a plain name of a "
                ".safetensors file in the folder.",
                hint="selfsight reads only safetensors files of the folder itself: convert or save the model again.",
            )
        if not (folder / name).exists():
            raise SelfsightError(
                f"Model {folder}: its weight file {name} is missing; {_INDEX} names it.", hint="Download it again."
            )
    return [folder / name for name in names]


def _read_header(file: Path) -> dict[str, Any]:
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait until somebody writes to it.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            facts = os.fstat(stream.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise _broken(file, "it is not a regular file")
            start = stream.read(64)
            if is_lfs_pointer(start):
                raise lfs_error(file)
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or length > min(_HEADER_BYTES, facts.st_size - 8):
                raise _broken(file, "it is truncated, or not a safetensors file")
            stream.seek(8)
            header = json.loads(stream.read(length).decode("utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise _broken(file, f"{type(error).__name__} in its header") from error
    if not isinstance(header, dict):
        raise _broken(file, "its header is not a JSON object")
    return header


def _broken(file: Path, reason: str) -> SelfsightError:
    return SelfsightError(f"Model file {file}: transformers cannot load it ({reason}).", hint=_AGAIN)


def _checked_shape(file: Path, name: str, entry: Any) -> tuple[int, ...]:
    if plain_text(name) != name:
        raise _broken(file, f"a tensor's name holds control characters or spaces: {plain_text(name)[:100]!r}")
    dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
    whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not isinstance(dtype, str) or not isinstance(shape, list) or not whole:
        raise _broken(file, f"its header describes the tensor {name[:200]!r} wrongly")
    if dtype.startswith(_COMPRESSED) or name.endswith(_PACKED):
        raise SelfsightError(
            f"Model file {file}: the model is quantised (tensor {name[:200]!r} of type {dtype}); its weights cannot be "
            "trained.",
            hint=_PLAIN,
        )
    return tuple(shape)
