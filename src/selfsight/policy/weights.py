"""Naming and writing weights: a hash that says whether two models are the same, and a plain model folder."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfsight.policy.vlm import Vlm

# What save_pretrained of the model writes itself, or what is not part of a plain model folder.
_WRITTEN_BY_MODEL = {"config.json", "generation_config.json", "adapter_config.json"}
_COPIED_SUFFIXES = {".json", ".jinja", ".txt", ".model"}


def weights_hash(model: torch.nn.Module) -> str:
    """blake2b over the names, types, shapes and bytes of all weights, in order of name."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def plain_state(model: torch.nn.Module) -> dict[str, Tensor]:
    """Weights under the base model's own names, LoRA added in. The model itself is left untouched:
    merging in place and taking out again would not give back the same bits."""
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    state = {}
    for name, tensor in model.state_dict().items():
        owner, _, rest = name.rpartition(".base_layer.")
        if "lora_" in name:
            continue
        if owner in layers and rest == "weight":
            delta = layers[owner].get_delta_weight("default")
            tensor = (tensor.float() + delta.float()).to(tensor.dtype)
        state[f"{owner}.{rest}" if owner in layers else name] = tensor
    return state


def save_folder(vlm: Vlm, folder: Path) -> None:
    """A plain `save_pretrained` folder: weights (LoRA merged), config, and the processor's files as they are.

    The processor, tokenizer and chat template are copied byte by byte from where the model was loaded, so the
    video settings that this package does not use survive as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = vlm.model
    lora = vlm.options.lora is not None
    model.save_pretrained(folder, **({"state_dict": plain_state(model)} if lora else {}))
    for file in sorted(vlm.folder.iterdir()):
        copied = file.suffix in _COPIED_SUFFIXES and file.name not in _WRITTEN_BY_MODEL
        if copied and file.is_file() and not file.name.endswith(".safetensors.index.json"):
            shutil.copyfile(file, folder / file.name)
