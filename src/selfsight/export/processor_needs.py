"""Which packages `AutoProcessor` needs for an exported model.

Most processors of vision-language models have a part for videos, and transformers builds that part with torchvision,
which selfsight does not need: it builds the processor from its image part and the tokenizer alone. A folder cannot
change that, because the class in transformers asks for the part whatever the files say. So the card and the terminal
name the package.
"""

import json
from pathlib import Path
from typing import Any

_FILES = ("processor_config.json", "preprocessor_config.json")


def processor_needs(folder: Path) -> tuple[str, ...]:
    """Packages that `AutoProcessor.from_pretrained(folder)` needs besides transformers and Pillow, in order.

    A folder without files of a processor, or of a model type that transformers does not know, needs nothing that can
    be named. transformers is imported only for a folder that has such a file.

    Example:
        >>> processor_needs(Path("out/model"))
        ('torchvision',)
    """
    found = [json.loads((folder / name).read_text(encoding="utf-8")) for name in _FILES if (folder / name).is_file()]
    if not found:
        return ()
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    stated = (content.get("processor_class") for content in found if isinstance(content, dict))
    name = next((str(one) for one in stated if one), None) or PROCESSOR_MAPPING_NAMES.get(model_type)
    if name is None:
        return ()
    try:
        processor: Any = processor_class_from_name(name)
        parts = [] if processor is None else processor.get_attributes()
    except ImportError as error:  # the whole class stands behind a package
        return ("torchvision",) if "torchvision" in str(error).lower() else ()
    needs = ["torchvision"] if "video_processor" in parts else []
    # SmolVLM writes the length of a video in words.
    return (*needs, "num2words") if name == "SmolVLMProcessor" else tuple(needs)
