"""What only the opened model can tell: whether all its weights came from the folder, fit, and are finite.

transformers draws missing weights at random and goes on. Two loads of such a folder are two different models, and
what is measured of them means nothing, so they are refused. Weights that the model does not use are only logged, unless
they show that the configuration declares fewer layers than the files hold.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from selfsight.errors import SelfsightError
from selfsight.policy.weight_headers import StoredWeights
from selfsight.run.progress import plain_text

logger = logging.getLogger(__name__)

# Tied weights are declared twice and stored once, and a few weights may be missing, which is refused later and better.
_DECLARED_PER_STORED = 4
_SLACK_NUMBERS = 2**26
_SLACK_MODULES = 100_000
_MODULES_PER_TENSOR = 50


@contextmanager
def bounded_building(folder: Path, stored: StoredWeights) -> Iterator[None]:
    """Inside, a model is refused while it is built once it declares far more than the weight files hold.

    transformers builds a model without memory for its weights and then allocates what the files lack. A configuration
    that declares a trillion weights, or a million layers, would exhaust memory or time before anything is compared.
    """
    numbers = _DECLARED_PER_STORED * stored.numbers + _SLACK_NUMBERS
    modules = _MODULES_PER_TENSOR * len(stored.shapes) + _SLACK_MODULES
    declared = {"numbers": 0, "modules": 0}

    def count_tensor(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        declared["numbers"] += 0 if tensor is None else tensor.numel()
        if declared["numbers"] > numbers:
            raise _too_large(folder, f"more than {numbers:,} weights", f"{stored.numbers:,}", name)

    def count_module(_: nn.Module, name: str, module: nn.Module | None) -> None:
        declared["modules"] += 1
        if declared["modules"] > modules:
            raise _too_large(folder, f"more than {modules:,} layers", f"{len(stored.shapes):,} tensors", name)

    hooks = [
        torch_module.register_module_parameter_registration_hook(count_tensor),
        torch_module.register_module_buffer_registration_hook(count_tensor),
        torch_module.register_module_module_registration_hook(count_module),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _too_large(folder: Path, declared: str, stored: str, name: str) -> SelfsightError:
    return SelfsightError(
        f"Model {folder}: config.json declares {declared} (up to {plain_text(name)!r}); the files hold {stored}.",
        hint="config.json does not belong to these weights: download or save the model again.",
    )


def require_all_weights(folder: Path, model: nn.Module, report: dict[str, Any]) -> None:
    """Refuses a model of which weights were missing in the folder or had another shape.

    Args:
        folder: The model's folder.
        model: The model that transformers made of it.
        report: What `from_pretrained` returns with `output_loading_info=True`.

    Raises:
        SelfsightError: Weights are missing or have another shape (how many, the first three), or the configuration
            declares fewer layers than the files hold.
    """
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if mismatched := sorted(report["mismatched_keys"]):
        shown = "; ".join(f"{name} has {tuple(has)}, not {tuple(wanted)}" for name, has, wanted in mismatched[:3])
        raise SelfsightError(
            f"Model {folder}: {len(mismatched)} weights have another shape than config.json declares: {shown}.",
            hint="config.json and the weight files belong to different models: download or save the model again.",
        )
    if missing:
        raise SelfsightError(
            f"Model {folder}: {len(missing)} weights are missing: {_first(missing)}.{_renamed(missing, unexpected)}",
            hint="Rename the weights to the model's own names and save it again."
            if unexpected
            else "Download or save the model again; transformers would draw what is missing at random.",
        )
    if cut := next((name for name in unexpected if _is_beyond_a_list(model, name)), None):
        raise SelfsightError(
            f"Model {folder}: config.json declares fewer layers than the weight files hold: {len(unexpected)} weights "
            f"would not be used ({_first(unexpected)}), such as {cut}.",
            hint="Set the number of layers (or the depth) in config.json to that of the weights.",
        )
    if unexpected:
        logger.warning("model %s: %d weights are not used: %s", folder.name, len(unexpected), _first(unexpected))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _renamed(missing: list[str], unexpected: list[str]) -> str:
    """What the unused weights have in common: a wrapper that was saved with the model leaves its name in front."""
    if not unexpected:
        return ""
    first, last = unexpected[0].split("."), unexpected[-1].split(".")  # sorted, so all others lie between the two
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    prefix = "".join(f"{part}." for part in shared) if len(unexpected) > 1 else f"{first[0]}."
    start = f" The folder holds {len(unexpected)} others"
    if prefix and (len(unexpected) > 1 or unexpected[0].removeprefix(prefix) in missing):
        return f"{start}, whose names all begin with {prefix!r}."
    return f"{start}: {_first(unexpected)}."


def _is_beyond_a_list(model: nn.Module, name: str) -> bool:
    """Whether a weight belongs to a layer of a list of layers that is shorter in the model."""
    module: nn.Module = model
    for part in name.split("."):
        if isinstance(module, nn.ModuleList) and part.isdigit():
            if int(part) >= len(module):
                return True
            module = module[int(part)]
        else:
            inner = module._modules.get(part)
            if inner is None:
                return False
            module = inner
    return False


@torch.no_grad()
def require_finite(folder: Path, model: nn.Module) -> None:
    """Refuses weights that are NaN or infinite, by the first one's name.

    A sum is as fast as memory is read, and is finite only for finite weights; where it is not, the weight is looked at
    exactly, because a sum of large weights can overflow, too.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.sum(dtype=torch.float32).isfinite():
            bad = int((~tensor.isfinite()).sum())
            if bad:
                raise SelfsightError(
                    f"Model {folder}: weight {name} holds {bad:,} NaN or infinite values of {tensor.numel():,}.",
                    hint="The file is damaged, or the training that wrote it diverged: use another copy of the model.",
                )


def require_tokens_fit(folder: Path, model: Any, tokenizer: Any) -> None:
    """Refuses a tokenizer with ids beyond the embeddings; rows beyond the tokenizer are usual and fine.

    Such an id would end a run with an IndexError in the first prompt that holds it, hours after the start.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= rows:
        raise SelfsightError(
            f"Model {folder}: its tokenizer has the token {plain_text(token)[:100]!r} of id {largest}, but the model "
            f"has {rows} embeddings only.",
            hint="Use the tokenizer that belongs to the model, or resize the embeddings and train the new ones first.",
        )
