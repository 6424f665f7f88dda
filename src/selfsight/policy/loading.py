"""Opening a vision-language model folder: weights, dtype, LoRA, and what is refused.

Any folder that `AutoModelForImageTextToText` loads will do. `trust_remote_code` stays off, and a folder that
*asks* for code (`auto_map`, or `_attn_implementation_internal`, CVE-2026-4372) is refused by name instead of
being half-loaded. Only safetensors weights are read: a pickled checkpoint can run code when it is opened.

Left out: quantised loading (the gradients of a quantised base need their own parity tests) and dropout in
LoRA (it would make the learner score other probabilities than the sampler drew from).
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from selfsight.errors import SelfsightError
from selfsight.language.model_files import read_object
from selfsight.policy.folder_check import check_folder, opening_errors
from selfsight.policy.hub import download_hint
from selfsight.policy.loaded_check import bounded_building, require_all_weights, require_finite
from selfsight.policy.patches import embed_patches_by_products
from selfsight.policy.windows import attend_by_length
from selfsight.run.progress import plain_text

logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


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


def load_model(folder: Path, options: ModelOptions, *, trainable: bool) -> nn.Module:
    """The Hugging Face model of a checked folder, in eval mode, with `requires_grad` set as the options say.

    Dropout never runs (eval mode also while learning), so that sampler and learner agree on every log-prob.
    """
    from transformers import AutoModelForImageTextToText, GenerationConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # its bars for loading and saving would break ours
    stored = check_folder(folder)
    full = trainable and options.lora is None
    dtype = torch.float32 if full else getattr(torch, options.dtype)
    with opening_errors(folder, "model"), _quiet_reports(), bounded_building(folder, stored):
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            generation_config=_special_tokens(folder),
            ignore_mismatched_sizes=True,  # reported, and then refused by `require_all_weights`
            output_loading_info=True,
        )
    require_all_weights(folder, model, report)
    # Without generation_config.json, transformers has taken one from config.json.
    model.generation_config = _only_special_tokens(GenerationConfig(), vars(model.generation_config))
    with opening_errors(folder, "model"):
        model.to(options.device)
    require_finite(folder, model)
    model.eval()
    embed_patches_by_products(model)
    attend_by_length(model)
    model.requires_grad_(full)
    if trainable and options.lora is not None:
        _add_lora(model, folder, options)
    elif full and options.freeze_vision:
        vision_tower(model, folder).requires_grad_(False)
    if trainable and options.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


@contextmanager
def _quiet_reports() -> Iterator[None]:
    """Inside, transformers' report of odd weights is not printed: it shows a stranger's tensor names as they are.

    What it says is checked by `require_all_weights`. Other messages are printed without control characters.
    """

    def clean(record: logging.LogRecord) -> bool:
        record.msg, record.args = plain_text(record.getMessage()), ()
        return "LOAD REPORT" not in record.msg

    handlers = logging.getLogger("transformers").handlers
    for handler in handlers:
        handler.addFilter(clean)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(clean)


def _special_tokens(folder: Path) -> Any:
    """The folder's generation configuration with the special tokens alone; None where it has no such file.

    Sampling goes by nothing else of it. The rest can hold values that transformers refuses to read, or reads but
    refuses to write when the trained model is saved.
    """
    from transformers import GenerationConfig

    file = folder / "generation_config.json"
    return _only_special_tokens(GenerationConfig(), read_object(file)) if file.exists() else None


def _only_special_tokens(config: Any, found: dict[str, Any]) -> Any:
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, found.get(name))
    return config


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
    return _named_tower(model, folder)[1]


def _named_tower(model: Any, folder: Path) -> tuple[str, nn.Module]:
    config = getattr(model.config, "vision_config", None)
    found = None if config is None else next(_parts_with_config(model, config), None)
    if found is None:
        raise SelfsightError(
            f"Model {folder}: its vision tower was not found, so it cannot be frozen.",
            hint="Set freeze_vision to false.",
        )
    return found


def _lora_targets(model: Any, folder: Path, options: ModelOptions, targets: tuple[str, ...] | None) -> list[str]:
    """Full names of the layers that get adapters; none in the vision tower if that is frozen."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    if targets is None:
        name, decoder = language_model(model)
        head = model.get_output_embeddings()
        return [
            f"{name}.{inner}" if name else inner
            for inner, module in decoder.named_modules()
            if isinstance(module, nn.Linear) and module is not head
        ]
    wanted = LoraConfig(target_modules=list(targets))
    found = [name for name, _ in model.named_modules() if name and check_target_module_exists(wanted, name)]
    if not options.freeze_vision:
        _log_adapters_in_tower(model, found)
        return list(targets)
    tower, _ = _named_tower(model, folder)
    outside = [name for name in found if not name.startswith(f"{tower}.") and name != tower]
    if found and not outside:
        raise SelfsightError(
            f"LoRA targets {list(targets)}: all {len(found)} layers of these names lie in the vision tower, which "
            "optim.freeze_vision=true keeps as it is.",
            hint="Name layers of the language model, leave lora.target_modules out, or set freeze_vision to false.",
        )
    return outside if found else list(targets)  # peft says which of them no layer has


def _log_adapters_in_tower(model: Any, found: list[str]) -> None:
    config = getattr(model.config, "vision_config", None)
    tower = next((name for name, _ in _parts_with_config(model, config)), None) if config is not None else None
    inside = 0 if tower is None else sum(name.startswith(f"{tower}.") for name in found)
    if inside:
        logger.warning(
            "%d of %d LoRA adapters lie in the vision tower; optim.freeze_vision=true leaves it out", inside, len(found)
        )


def _add_lora(model: Any, folder: Path, options: ModelOptions) -> None:
    """Adapters are injected into the model in place; they stay float32 on a bfloat16 base."""
    from peft import LoraConfig, inject_adapter_in_model

    lora = options.lora
    assert lora is not None, "called for models with adapters alone"
    targets = _lora_targets(model, folder, options, lora.targets)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=targets)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(lora.seed)
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
