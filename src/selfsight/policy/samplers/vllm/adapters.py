"""LoRA adapters as peft writes them, and which of them an engine can serve.

vLLM multiplies adapters of the language model at each request's own; features of an image are shared by all requests
that show it, so an adapter in the vision tower would be left out without a word. Such a choice of layers is refused.
"""

import json
from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from selfsight.errors import SelfsightError
from selfsight.policy.loading import language_model
from selfsight.policy.vlm import Vlm
from selfsight.policy.weights import adapter_state


def check_adapters(vlm: Vlm) -> None:
    """SelfsightError where an adapter lies outside the language model."""
    _, decoder = language_model(vlm.model)
    inside = {id(module) for module in decoder.modules()}
    outside = [n for n, m in vlm.model.named_modules() if isinstance(m, LoraLayer) and id(m) not in inside]
    if outside:
        raise SelfsightError(
            f"vLLM serves adapters of the language model only, but {len(outside)} lie outside it, the first is "
            f"{outside[0]!r}.",
            hint="Leave lora.target_modules out (every linear layer of the language model), or set sampler.backend "
            "to local.",
        )


def write_adapter(vlm: Vlm, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors of the model's LoRA."""
    options = vlm.options.lora
    if options is None:
        raise ValueError("the model has no adapters")
    layers = [name for name, module in vlm.model.named_modules() if isinstance(module, LoraLayer)]
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(vlm.folder),
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(adapter_state(vlm.model), folder / "adapter_model.safetensors")
