"""Opening a vision-language model folder: weights, dtype, LoRA, and what is refused.

Any folder that `AutoModelForImageTextToText` loads will do. `trust_remote_code` stays off, and a folder that
*asks* for code (`auto_map`, or `_attn_implementation_internal`, CVE-2026-4372) is refused by name instead of
being half-loaded. Only safetensors weights are read: a pickled checkpoint can run code when it is opened.

Left out: quantised loading (the gradients of a quantised base need their own parity tests) and dropout in
LoRA (it would make the learner score other probabilities than the sampler drew from).
"""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn

from selfsight.errors import SelfsightError
from selfsight.policy.hub import download_hint
from selfsight.policy.patches import embed_patches_by_products
from selfsight.policy.windows import attend_by_length

logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
_CONFIG_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)
_CODE_KEYS = ("auto_map", "_attn_implementation_internal")


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters (arXiv 2106.09685). `targets` None means every linear layer of the language model.

    `seed` draws the inner halves; the outer ones start at zero, so the model starts as the base model.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] | None = None
    seed: int = 0


@dataclass(frozen=True)
class ModelOptions:
    """How a model is held in memory.

    `dtype` is what the matrices are multiplied in. A fully trained model keeps float32 weights and multiplies
    in bfloat16 under autocast, because an AdamW step of 1e-6 is below bfloat16's resolution; frozen weights
    (a frozen copy, or the base under LoRA) are stored in `dtype` itself. `revision` pins a model that is
    fetched from the Hugging Face hub; without it the newest one is taken, with a warning. `min_pixels` and
    `max_pixels` bound the area an image is resized to, for models that take images of any size.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    lora: LoraOptions | None = None
    freeze_vision: bool = False
    gradient_checkpointing: bool = False
    backend: Literal["auto", "shared", "padded"] = "auto"
    revision: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None


def resolve_folder(path: str | Path, *, revision: str | None = None) -> Path:
    """A local model folder, or the local copy of a Hugging Face repository `owner/name`."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise SelfsightError(
            f"Model {folder}: is a file, not a folder.",
            hint="Give the folder that holds config.json and *.safetensors.",
        )
    if not _HUB_ID.fullmatch(str(path)):
        raise SelfsightError(
            f"Model {path}: no such folder.",
            hint="Give a folder saved with save_pretrained, or a Hugging Face id such as owner/name.",
        )
    if revision is None:
        logger.warning("model %s: no revision is pinned; the newest one is fetched", path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(str(path), revision=revision, allow_patterns=_HUB_FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise SelfsightError(
            f"Model {path}: not a local folder, and the download failed ({type(error).__name__}).",
            hint=download_hint(),
        ) from error
    return Path(found)


def check_folder(folder: Path) -> None:
    """Refuses a folder that asks for code, or that lacks what loading needs; names the file and the key."""
    if not (folder / "config.json").is_file():
        raise SelfsightError(
            f"Model {folder}: config.json is missing.",
            hint="Give the folder that holds config.json and *.safetensors.",
        )
    for name in _CONFIG_FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SelfsightError(
                f"Model file {file}: cannot be read ({error}).", hint="Download or save the model again."
            ) from error
        for key in _CODE_KEYS:
            if _contains_key(content, key):
                raise SelfsightError(
                    f"Model file {file}: asks for code outside transformers (key {key!r}); not loaded.",
                    hint="selfsight never runs code from a model folder. Use the architecture's version that "
                    "is part of transformers (often the repository whose name ends in -hf).",
                )
    if not any(folder.glob("*.safetensors")):
        raise SelfsightError(
            f"Model {folder}: no *.safetensors file.",
            hint="Convert pickled weights first; selfsight does not open .bin or .pt files.",
        )


def _contains_key(content: Any, key: str) -> bool:
    if isinstance(content, dict):
        return key in content or any(_contains_key(value, key) for value in content.values())
    if isinstance(content, list):
        return any(_contains_key(value, key) for value in content)
    return False


def load_model(folder: Path, options: ModelOptions, *, trainable: bool) -> nn.Module:
    """The Hugging Face model of a checked folder, in eval mode, with `requires_grad` set as the options say.

    Dropout never runs (eval mode also while learning), so that sampler and learner agree on every log-prob.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # its bars for loading and saving would break ours
    check_folder(folder)
    full = trainable and options.lora is None
    dtype = torch.float32 if full else getattr(torch, options.dtype)
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise SelfsightError(
            f"Model {folder}: transformers cannot load it ({type(error).__name__}: {error}).",
            hint="Check that it is an image-text-to-text model and that no weight file is truncated.",
        ) from error
    model.to(options.device)
    model.eval()
    embed_patches_by_products(model)
    attend_by_length(model)
    model.requires_grad_(full)
    if trainable and options.lora is not None:
        _add_lora(model, options.lora)
    elif full and options.freeze_vision:
        vision_tower(model, folder).requires_grad_(False)
    if trainable and options.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _parts_with_config(model: nn.Module, config: object) -> Iterator[tuple[str, nn.Module]]:
    from transformers import PreTrainedModel

    for name, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and module.config is config:
            yield name, module


def language_model(model: Any) -> tuple[str, nn.Module]:
    """Name and module of the text decoder, found by its configuration object."""
    text_config = model.config.get_text_config()
    found = next(((n, m) for n, m in _parts_with_config(model, text_config) if m is not model), None)
    return found if found is not None else ("", model)


def vision_tower(model: Any, folder: Path) -> nn.Module:
    """The vision encoder, found by its configuration object."""
    found = next((m for _, m in _parts_with_config(model, model.config.vision_config)), None)
    if found is None:
        raise SelfsightError(
            f"Model {folder}: its vision tower was not found, so it cannot be frozen.",
            hint="Set freeze_vision to false.",
        )
    return found


def _add_lora(model: Any, options: LoraOptions) -> None:
    """Adapters are injected into the model in place; they stay float32 on a bfloat16 base."""
    from peft import LoraConfig, inject_adapter_in_model

    name, decoder = language_model(model)
    if options.targets is None:
        head = model.get_output_embeddings()
        targets = [
            f"{name}.{inner}" if name else inner
            for inner, module in decoder.named_modules()
            if isinstance(module, nn.Linear) and module is not head
        ]
    else:
        targets = list(options.targets)
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=0.0, target_modules=targets)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            inject_adapter_in_model(config, model)
    except ValueError as error:
        raise SelfsightError(
            f"LoRA targets {targets}: {error}", hint="Name linear layers of this model, or leave targets out."
        ) from error
    for parameter_name, parameter in model.named_parameters():
        adapter = "lora_" in parameter_name
        parameter.requires_grad_(adapter)
        if adapter:
            parameter.data = parameter.data.float()


@contextmanager
def recomputed_layers(model: Any) -> Iterator[None]:
    """A forward pass in this block keeps the inputs of its layers alone; the backward pass computes the rest again.

    transformers does so in training mode; the flag is set on the layers alone, so that no dropout module inside them
    wakes up. It is set in this block alone: from a layer that has it, transformers drops the cache, and what is decoded
    then is nonsense.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
