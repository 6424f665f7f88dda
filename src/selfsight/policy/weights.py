"""The weights of a model by name: a hash that says whether two models are the same, and the state without adapters."""

import hashlib

import torch
from torch import Tensor


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


def adapter_state(model: torch.nn.Module) -> dict[str, Tensor]:
    """The LoRA weights under the names that peft gives them in `adapter_model.safetensors`, on the CPU."""
    state = {}
    for name, tensor in model.state_dict().items():
        layer, found, kind = name.rpartition(".lora_")  # "A.default.weight", or "embedding_A.default"
        if found:
            kept = f"base_model.model.{layer}.lora_{kind.replace('.default', '', 1)}"
            state[kept] = tensor.detach().cpu().contiguous()
    return state
