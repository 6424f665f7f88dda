"""One check of a model folder's files before transformers opens any of them. It needs no torch.

A folder can ask for code, lack what it needs, be quantised, or be made to stall or crash the process that opens it.
Everything that the files alone can tell is refused here, by file and key and with the way out. What only the opened
model can tell (missing or non-finite weights) is checked in `loading`.

`opening_errors` turns whatever transformers, tokenizers and jinja raise for a damaged folder into a SelfsightError.

Left out: whether the chat template can be rendered; that is found when the processor is opened.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.language.model_files import CONFIG_BYTES, read_bytes, read_object
from selfsight.policy.weight_headers import StoredWeights, read_stored_weights
from selfsight.run.progress import plain_text

_TOKENIZER_BYTES = 128 * 2**20  # real tokenizer.json files reach 35 MB
_TEMPLATE_BYTES = 2**20
_CONFIG_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)
_OTHER_OBJECTS = ("generation_config.json", "chat_template.json", "special_tokens_map.json", "added_tokens.json")
_LARGE_OBJECTS = ("tokenizer.json", "vocab.json")
_READ_SUFFIXES = (".json", ".jinja", ".txt", ".model")
_CODE_KEYS = ("auto_map", "_attn_implementation_internal")
# Other values would make transformers import a kernel, from the Hugging Face hub if they look like "owner/name".
_IMPLEMENTATIONS = {
    "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4",
    "grouped_mm", "batched_mm",
}  # fmt: skip
_QUANTISED_KEYS = ("quantization_config", "compression_config")
_WHOLE = "Use the folder of the same model that is not quantised (a name without -bnb-4bit, -AWQ, -GPTQ or -FP8)."
# Depths and numbers of classes or experts: each one is a module or an entry that is made when a model is built.
_COUNTED = re.compile(r"(^|_)(depths?|num_labels|n_layers?|layers?|num_\w*(layers|blocks|experts))$")
_MOST_COUNTED = 10_000
_LARGEST_NUMBER = 2**40


@contextmanager
def opening_errors(folder: Path, what: str, hint: str | None = None) -> Iterator[None]:
    """Turns every error of a library that opens a model folder into a SelfsightError with a clean, short message.

    Args:
        folder: The model's folder, for the message.
        what: What is opened: "model", "tokenizer", "image processor", ...
        hint: What to do about it; None for a general sentence.

    Raises:
        SelfsightError: Whatever the block raised; a SelfsightError itself passes unchanged.

    Example:
        >>> with opening_errors(folder, "tokenizer"):
        ...     tokenizer = AutoTokenizer.from_pretrained(folder)
    """
    try:
        yield
    except SelfsightError:
        raise
    except Exception as error:
        # The files are a stranger's, and each library has errors of its own: the tokenizers library raises plain
        # `Exception`, huggingface_hub StrictDataclassError, jinja2 TemplateError, and transformers whatever Python
        # raises for a wrong type. No list of types would be complete, and none of them may end in a traceback.
        if hint is None:
            hint = "Check that it is an image-text-to-text model and that no file of it is damaged."
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            hint = "Choose a smaller model, dtype=bfloat16, or a machine with more memory."
        raise SelfsightError(
            f"Model {folder}: transformers cannot load it: its {what} fails with {described(error)}.", hint=hint
        ) from error


def described(error: BaseException) -> str:
    """An error's type and message, short and without control characters."""
    text = plain_text(str(error)[:4000])
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def check_folder(folder: Path) -> StoredWeights:
    """Refuses a folder that cannot be trained rightly; names the file and the key.

    Args:
        folder: A local model folder.

    Returns:
        What the headers of the weight files hold.

    Raises:
        SelfsightError: A file is missing, no regular file, too large, not JSON or a Git LFS pointer; the folder is an
            adapter or holds one; the model is quantised; or the configuration asks for code or absurd sizes.
    """
    _refuse_adapters(folder)
    if not (folder / "config.json").exists():
        raise SelfsightError(
            f"Model {folder}: config.json is missing.", hint="Give the folder that holds config.json and *.safetensors."
        )
    _check_files(folder)
    for name in _CONFIG_FILES:
        if (folder / name).exists():
            content = read_object(folder / name)
            _refuse_code(folder / name, content)
            _refuse_quantised(folder / name, content)
    _refuse_absurd_sizes(folder / "config.json", read_object(folder / "config.json"))
    return read_stored_weights(folder)


def _refuse_adapters(folder: Path) -> None:
    config, whole = folder / "adapter_config.json", (folder / "config.json").exists()
    found = sorted(
        file.name for file in folder.glob("adapter_*") if file.name.startswith(("adapter_config", "adapter_model"))
    )
    if not found:
        return
    if whole:
        raise SelfsightError(
            f"Model {folder}: holds a LoRA adapter ({', '.join(found)}) as well as a model.",
            hint="Merge the adapter (merge_and_unload of peft), or remove the adapter_* files if it is merged already.",
        )
    base = read_object(config).get("base_model_name_or_path") if config.exists() else None
    base = plain_text(str(base))[:200] if base else "its base model"
    raise SelfsightError(
        f"Model {folder}: is a LoRA adapter of {base}, not a whole model.",
        hint=f"Merge it into {base} with peft (merge_and_unload, then save_pretrained) and give the merged folder.",
    )


def _check_files(folder: Path) -> None:
    """Every JSON, template and tokenizer file is a regular file of bounded size; those that are read are objects."""
    for file in sorted(folder.iterdir()):
        if file.suffix not in _READ_SUFFIXES:
            continue
        if file.suffix == ".jinja" or file.name == "chat_template.json":
            read_bytes(file, _TEMPLATE_BYTES)
        elif file.name in _OTHER_OBJECTS or file.name in _CONFIG_FILES:
            read_object(file, CONFIG_BYTES)
        elif file.name in _LARGE_OBJECTS or file.name.endswith(".index.json"):
            read_object(file, _TOKENIZER_BYTES)
        else:
            _require_regular(file)
    if (folder / "chat_template.json").exists():
        read_object(folder / "chat_template.json")
    extra = folder / "additional_chat_templates"
    for file in sorted(extra.glob("*")) if extra.is_dir() else []:
        read_bytes(file, _TEMPLATE_BYTES)


def _require_regular(file: Path) -> None:
    """As `read_bytes` without keeping the content: for files of another's that are copied, or read by the tokenizer."""
    if not file.is_file():
        raise SelfsightError(
            f"Model file {file}: cannot be read (it is not a regular file).", hint="Remove it, or download it again."
        )
    if file.stat().st_size < 1024 or file.name in ("tokenizer.model", "spiece.model", "merges.txt", "vocab.txt"):
        read_bytes(file, _TOKENIZER_BYTES)


def _items(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth (`read_object` has bounded it)."""
    if isinstance(content, dict):
        yield from content.items()
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _items(value)


def _refuse_code(file: Path, content: dict[str, Any]) -> None:
    for key, value in _items(content):
        if key in _CODE_KEYS:
            raise SelfsightError(
                f"Model file {file}: asks for code outside transformers (key {key!r}); not loaded.",
                hint="selfsight never runs code from a model folder. Use the architecture's version that "
                "is part of transformers (often the repository whose name ends in -hf).",
            )
        if "attn_implementation" in key or "experts_implementation" in key:
            named = value.values() if isinstance(value, dict) else [value]
            bad = [one for one in named if one is not None and not (isinstance(one, str) and one in _IMPLEMENTATIONS)]
            if bad:
                raise SelfsightError(
                    f"Model file {file}: asks for code outside transformers ({plain_text(key)!r} is "
                    f"{plain_text(str(bad[0]))[:100]!r}); not loaded.",
                    hint=f"Remove the key from {file.name}; selfsight chooses the implementation itself.",
                )


def _refuse_quantised(file: Path, content: dict[str, Any]) -> None:
    for key, value in _items(content):
        if key in _QUANTISED_KEYS and value is not None:
            method = value.get("quant_method", value.get("format")) if isinstance(value, dict) else value
            if method is None and isinstance(value, dict):
                method = "bitsandbytes" if any("load_in_" in name for name in value) else None
            named = plain_text(str(method))[:100] if method else "unknown method"
            raise SelfsightError(
                f"Model file {file}: the model is quantised ({key}: {named}); its weights cannot be trained.",
                hint=_WHOLE,
            )


def _refuse_absurd_sizes(file: Path, content: dict[str, Any]) -> None:
    """Numbers for which building the model would exhaust memory or time before a weight is read."""
    for key, value in _items(content):
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if not isinstance(number, int) or isinstance(number, bool):
                continue
            most = _MOST_COUNTED if _COUNTED.search(key) else _LARGEST_NUMBER
            if abs(number) > most:
                raise SelfsightError(
                    f"Model file {file}: {plain_text(key)!r} is {number:.3g}; the largest number taken is {most:,}.",
                    hint="The file is damaged, or not this model's: download it again.",
                )
