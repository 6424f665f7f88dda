"""Writing a policy: a plain model folder with the adapters merged in, and a folder of the adapters alone.

What is written is read back and compared with the weights in memory (`read_back`), so that a run never ends with a
folder that holds another model, or none.

Files of the source folder that the trained weights do not change (processor, tokenizer, chat template, generation
settings) are copied byte by byte. transformers would write some of them anew, and refuses to write generation settings
that it loads without a complaint; selfsight never generates by them.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfsight.errors import SelfsightError
from selfsight.policy.vlm import Vlm
from selfsight.policy.weights import adapter_state, plain_state
from selfsight.run.read_back import UnfaithfulFolder, check_holds, weight_files

_COPIED_SUFFIXES: Final = {".json", ".jinja", ".txt", ".model"}
# What save_pretrained of the model writes, or what is not part of a plain model folder.
_NOT_COPIED: Final = {"config.json", "adapter_config.json"}
_REFUSALS: Final = (ValueError, TypeError, RuntimeError, KeyError, AttributeError, ImportError, NotImplementedError)


def save_folder(vlm: Vlm, folder: Path) -> None:
    """Writes a plain model folder and checks that it loads as the model in memory.

    Weights have the adapters merged in; the processor's and the tokenizer's files are those of the source folder.

    Raises:
        SelfsightError: transformers refuses to write the model, or the folder does not hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = vlm.model
    state = plain_state(model) if vlm.options.lora is not None else model.state_dict()
    with _plain_generation(model):
        try:
            model.save_pretrained(folder, state_dict=dict(state))  # save_pretrained empties the dictionary
        except _REFUSALS as error:
            raise UnfaithfulFolder(folder, f"transformers refuses to write it ({error})") from error
    weight_files(folder)  # refused here if they are not those of a whole model
    _state_tie(folder / "config.json", model, state)
    for file in sorted(vlm.folder.iterdir()):
        copied = file.suffix in _COPIED_SUFFIXES and file.name not in _NOT_COPIED
        if copied and file.is_file() and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    check_holds(folder, state, unsaved=frozenset(getattr(model, "_keys_to_ignore_on_save", None) or ()))


def check_savable(vlm: Vlm) -> None:
    """Refuses a model whose configuration transformers will not write, before hours are spent on training it."""
    model: Any = vlm.model
    with tempfile.TemporaryDirectory() as folder, _plain_generation(model):
        try:
            model.config.save_pretrained(folder)
            model.generation_config.save_pretrained(folder)
        except _REFUSALS as error:
            raise SelfsightError(
                f"Model {vlm.folder}: it could be trained but not saved: transformers refuses to write its "
                f"configuration ({error}).",
                hint="Change config.json as the message says.",
            ) from error


def save_adapter(vlm: Vlm, folder: Path, *, base: str, revision: str | None = None) -> None:
    """Writes adapter_config.json and adapter_model.safetensors as peft does, and reads them back.

    The layers are listed by their full names: a short one such as `q_proj` would put adapters on the vision tower of
    some architectures, too, when peft loads the folder.
    """
    options = vlm.options.lora
    if options is None:
        raise SelfsightError(
            f"Model {vlm.folder}: it was not trained with adapters, so there are none to save.",
            hint="Save the model itself, or train with lora options.",
        )
    state = adapter_state(vlm.model)
    layers = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in state}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": True,
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(layers),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "adapter_config.json", config)
    file = folder / "adapter_model.safetensors"
    save_file(state, file, metadata={"format": "pt"})
    with safe_open(file, framework="pt") as opened:
        if set(opened.keys()) != state.keys():
            raise UnfaithfulFolder(file, "it holds other tensors")
        for name, tensor in state.items():
            read = opened.get_tensor(name)
            if read.dtype != tensor.dtype or not torch.equal(read, tensor):
                raise UnfaithfulFolder(file, f"tensor {name!r} holds other values")


@contextmanager
def _plain_generation(model: Any) -> Iterator[None]:
    """Within the block the model's generation settings are its special tokens, which can always be written."""
    from transformers import GenerationConfig

    own = model.generation_config
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    stated = {name: getattr(own, name, None) for name in names}
    model.generation_config = GenerationConfig(**{name: ids for name, ids in stated.items() if ids is not None})
    try:
        yield
    finally:
        model.generation_config = own


def _state_tie(file: Path, model: Any, state: Mapping[str, Tensor]) -> None:
    """Says in config.json that head and embeddings are two matrices, where training has made them two.

    transformers reads one level of the configuration and other readers the other, so both levels say it. Readers that
    believe in a tie drop the head that was trained.
    """
    head, embeddings = (
        _name_of(model, layer) for layer in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    if head not in state or embeddings not in state:
        return
    one, other = state[head], state[embeddings]
    if one.data_ptr() == other.data_ptr() or (one.shape == other.shape and torch.equal(one, other)):
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    text = model.config.get_text_config()
    levels = [config, *(config[key] for key in config if getattr(model.config, key, None) is text)]
    stated = [model.config, text]
    if not any(getattr(level, "tie_word_embeddings", False) for level in stated):
        return
    for level in levels:
        level["tie_word_embeddings"] = False
    _write_json(file, config)


def _name_of(model: torch.nn.Module, layer: torch.nn.Module | None) -> str:
    """The plain name of a layer's weight, without the level that an adapter adds."""
    found = next((name for name, module in model.named_modules() if module is layer), "")
    return f"{found.removesuffix('.base_layer')}.weight"


def _write_json(file: Path, content: object) -> None:
    """As transformers writes its own."""
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
