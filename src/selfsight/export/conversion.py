"""An exported model in another floating-point type.

A run that trains every weight saves float32, because a step of the optimiser is smaller than what bfloat16 can hold;
for use, half the size is enough. torch is loaded only where a type is asked for.
"""

import json
from pathlib import Path
from typing import Any, Literal

from selfsight.errors import SelfsightError

Dtype = Literal["bfloat16", "float32"]
_FLOATS = ("float64", "float32", "float16", "bfloat16")


def convert_folder(folder: Path, source: Path, dtype: Dtype) -> None:
    """Converts the weights of a model folder, a copy of `source`, and checks that it loads as the source's, rounded.

    Args:
        folder: Written in place: weight files, the index's size, and every `dtype` in config.json.
        source: The folder that was copied; it is read for the check.
        dtype: What every floating-point weight becomes; whole numbers stay.

    Raises:
        SelfsightError: the weights cannot be read, or what was written is not the source's model.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    from selfsight.run.read_back import INDEX, check_same, weight_files

    wanted = getattr(torch, dtype)
    size = 0
    for file in sorted(set(weight_files(folder).values())):
        try:
            with safe_open(file, framework="pt") as opened:
                metadata = opened.metadata()
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
                state = {key: t.to(wanted) if _is_plain_float(t) else t for key, t in tensors.items()}
                # Tensors may be views of the old file, so the new one takes its place only once it is written.
                written = file.with_name(f"{file.name}.tmp")
                save_file(state, written, metadata=metadata)
                written.replace(file)
        except (OSError, SafetensorError) as error:
            raise SelfsightError(f"{file}: cannot be converted ({error})", hint="export it without --dtype") from error
        size += sum(tensor.nbytes for tensor in state.values())
    index = folder / INDEX
    if index.is_file():
        content = json.loads(index.read_text(encoding="utf-8"))
        content["metadata"] = {**content.get("metadata", {}), "total_size": size}
        _write(index, content)
    config = folder / "config.json"
    _write(config, _with_dtype(json.loads(config.read_text(encoding="utf-8")), dtype) | {"dtype": dtype})
    check_same(folder, source, dtype=wanted)


def _is_plain_float(tensor: Any) -> bool:
    return str(tensor.dtype).removeprefix("torch.") in _FLOATS


def _with_dtype(config: dict[str, Any], dtype: Dtype) -> dict[str, Any]:
    """A configuration in which every level that states a floating-point type states this one.

    `torch_dtype` is the old name of the key; both at one level would contradict each other.
    """
    changed: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            changed[key] = _with_dtype(value, dtype)
        elif key in ("dtype", "torch_dtype") and value in _FLOATS:
            changed["dtype"] = dtype
        else:
            changed[key] = value
    return changed


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
