"""Whether a written model folder holds the weights that it should, asked of the loader that will read it.

A folder can be written without an error and still hold another model: a quantiser may have converted the weights
again, adapters may have been written alone, a key may have a name that the loader does not know. Nobody would see it
before the run's result is used. So the folder is loaded with `AutoModelForImageTextToText`, as every reader of it does,
and compared with the weights in memory. safetensors maps the files and only the compared values are read, so a folder
of any size costs seconds and little memory (an architecture whose loader joins tensors, such as a mixture of experts,
needs the memory of what it joins).

Left out: a comparison of all values. `_SAMPLE` values of each tensor, at evenly spaced places from the first to the
last, tell another tensor, another dtype and another scale; a flipped bit is for the hash in the run's journal.
"""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selfsight.errors import SelfsightError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INDEX: Final = "model.safetensors.index.json"
_SAMPLE: Final = 32
_HINT: Final = "try another version of transformers, and report this with the versions that `selfsight doctor` prints"
_DTYPES: Final = {
    "torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16",
}  # fmt: skip


class UnfaithfulFolder(SelfsightError):
    """A written model folder that is not the model that was to be written."""

    def __init__(self, where: Path, what: str, *, hint: str = _HINT) -> None:
        super().__init__(f"{where}: what was written is not the model that was to be written: {what}", hint=hint)
        self.where, self.what = where, what


def check_holds(
    folder: Path, state: Mapping[str, "Tensor"], *, dtype: "torch.dtype | None" = None, unsaved: Set[str] = frozenset()
) -> None:
    """Compares a model folder with the weights that it should hold.

    Args:
        folder: A model folder that was just written.
        state: Every weight by the name that it has in the model (not in the file), on any device.
        dtype: What the floating-point weights were converted to when they were written; None if they were not.
        unsaved: Names that the architecture never saves.

    Raises:
        UnfaithfulFolder: a file, a tensor, a shape, a dtype or a sampled value differs; it names the tensor.
    """
    files = weight_files(folder)
    _check_dtypes(files, {dtype} if dtype is not None else {t.dtype for t in state.values() if t.is_floating_point()})
    model, report = _load(folder)
    loaded: dict[str, Tensor] = model.state_dict()
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        for entry in sorted(map(str, report[kind] or ())):
            raise UnfaithfulFolder(folder, f"transformers reports {kind.replace('_', ' ')}, such as {entry}")
    for name in sorted((loaded.keys() | state.keys()) - unsaved):
        file = _file_of(name, files)
        if name not in loaded:
            raise UnfaithfulFolder(file, f"tensor {name!r} is not in the model that transformers loads")
        if name not in state:
            raise UnfaithfulFolder(file, f"tensor {name!r} was not in the model")
        if difference := _difference(state[name], loaded[name], dtype):
            raise UnfaithfulFolder(file, f"tensor {name!r} {difference}")


def check_same(folder: Path, source: Path, *, dtype: "torch.dtype") -> None:
    """Compares a model folder with the one that it was converted from.

    Args:
        folder: The converted folder.
        source: The folder that it was made of.
        dtype: What the floating-point weights were converted to.

    Raises:
        UnfaithfulFolder: the two are not the same model up to rounding; it names the tensor.
    """
    model, _ = _load(source)
    unsaved = frozenset(getattr(model, "_keys_to_ignore_on_save", None) or ())
    check_holds(folder, model.state_dict(), dtype=dtype, unsaved=unsaved)


def weight_files(folder: Path) -> dict[str, Path]:
    """The file of every tensor in a model folder, by the tensor's name in the file.

    Raises:
        UnfaithfulFolder: config.json or the weights are missing, or the index and the files do not agree.
    """
    if not (folder / "config.json").is_file():
        raise UnfaithfulFolder(folder, "config.json is missing")
    if (folder / "adapter_config.json").exists():
        raise UnfaithfulFolder(folder, "it holds adapters (adapter_config.json) beside the model")
    from safetensors import SafetensorError, safe_open

    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                files |= dict.fromkeys(opened.keys(), file)
        except (OSError, SafetensorError) as error:
            raise UnfaithfulFolder(file, f"it cannot be read ({error})") from error
    if not files:
        raise UnfaithfulFolder(folder, "no *.safetensors file holds a tensor")
    index = folder / INDEX
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        for name in sorted(listed.keys() | files.keys()):
            if name not in files or listed.get(name) != files[name].name:
                raise UnfaithfulFolder(index, f"tensor {name!r} is not in the file that the index names")
    elif len(set(files.values())) > 1:
        raise UnfaithfulFolder(folder, f"several weight files and no {INDEX}")
    return files


def _check_dtypes(files: Mapping[str, Path], allowed: Set["torch.dtype"]) -> None:
    from safetensors import safe_open

    names = {_DTYPES.get(str(dtype), str(dtype)) for dtype in allowed}
    for file in sorted(set(files.values())):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 (it is no dictionary)
                found = opened.get_slice(key).get_dtype()
                if found.startswith(("F", "BF")) and found not in names:
                    raise UnfaithfulFolder(file, f"tensor {key!r} is {found}, not {' or '.join(sorted(names))}")


def _load(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, GenerationConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        # What is not in the files is drawn at random, before it is reported as missing: not from the run's generator.
        with torch.random.fork_rng(devices=[]):
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype="auto",
                attn_implementation="sdpa",
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are in the report, with their names
                generation_config=GenerationConfig(),  # the source's file is copied and may hold anything
                output_loading_info=True,
            )
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise UnfaithfulFolder(folder, f"transformers cannot load it ({type(error).__name__}: {error})") from error
    return model, report


def _difference(wanted: "Tensor", found: "Tensor", dtype: "torch.dtype | None") -> str:
    """What is wrong with a tensor, in words; empty if nothing is."""
    import torch

    if wanted.shape != found.shape:
        return f"has shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
    values = sample(wanted)
    if dtype is not None and values.is_floating_point():
        values = values.to(dtype)
    # The loader keeps some layers in float32 whatever the folder's dtype is; a narrower one would lose digits.
    if torch.promote_types(values.dtype, found.dtype) != found.dtype:
        return f"is loaded as {found.dtype}, not {values.dtype}, by the dtype in config.json"
    read = sample(found)
    if not torch.equal(values.to(read.dtype).view(torch.uint8), read.view(torch.uint8)):
        return "holds other values"
    return ""


def sample(tensor: "Tensor") -> "Tensor":
    """At most `_SAMPLE` values of a tensor, on the CPU: evenly spaced from the first to the last, always the same."""
    import torch

    flat = tensor.detach().reshape(-1)
    last = flat.numel() - 1
    places = sorted({last * step // (_SAMPLE - 1) for step in range(_SAMPLE)}) if last >= 0 else []
    return flat[torch.tensor(places, dtype=torch.long, device=flat.device)].cpu()


def _file_of(name: str, files: Mapping[str, Path]) -> Path:
    """The file of a tensor of the model. Old folders name it otherwise, but the ends of the names agree."""
    if name in files:
        return files[name]

    def agreement(key: str) -> int:
        pairs = zip(reversed(key.split(".")), reversed(name.split(".")), strict=False)
        return next((place for place, (one, other) in enumerate(pairs) if one != other), len(name))

    return files[max(files, key=agreement)]
