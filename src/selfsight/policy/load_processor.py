"""A model's processor, without torchvision, and its chat template.

Most vision-language processors need torchvision only for *video*. Here the processor class of the model is
built from its image processor (PIL backend) and its tokenizer alone. The PIL backend is used even where
torchvision is installed: the two differ by up to 0.03 in normalised pixels once an image is resized, so the
sampler and the learner must share one. Video is left out.
"""

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfsight.errors import SelfsightError
from selfsight.policy.chat_template import ChatTemplate, load_template
from selfsight.run.progress import plain_text

logger = logging.getLogger(__name__)

# SmolVLM's own class wants num2words for its video captions; its image prompts are those of Idefics3.
_IMAGE_PROCESSOR_OF = {"smolvlm": "idefics3"}
# Image processors that transformers has renamed: what folders of then say, and the name of today.
_RENAMED = {"Qwen2_5_VLImageProcessor": "Qwen2VLImageProcessor"}


def load_processor(folder: Path, config: Any) -> Any:
    """The model's processor without its video part, PIL image backend, for whoever has no torchvision.

    Example:
        >>> processor = load_processor(Path("FOLDER"), AutoConfig.from_pretrained("FOLDER"))
    """
    return load_processor_and_template(folder, config)[0]


def load_processor_and_template(folder: Path, config: Any) -> tuple[Any, ChatTemplate]:
    """The model's processor without its video part, PIL image backend; and its chat template."""
    from transformers import AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

    model_type = config.model_type
    name = PROCESSOR_MAPPING_NAMES.get(_IMAGE_PROCESSOR_OF.get(model_type, model_type))
    base: Any = processor_class_from_name(name) if name is not None else None
    if base is None:
        raise SelfsightError(
            f"Model {folder}: transformers has no processor for model type {model_type!r}.",
            hint="Use an image-text-to-text model that is part of transformers.",
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        image_processor = _load_image_processor(folder, model_type)
        template = load_template(folder, tokenizer)
        arguments = _processor_arguments(folder, base)
        return _image_only(base)(image_processor, tokenizer, chat_template=template.text, **arguments), template
    except (OSError, ValueError, ImportError, TypeError, AttributeError, KeyError) as error:
        hint = "The folder needs tokenizer.json and preprocessor_config.json beside the weights."
        if "torchvision" in str(error).lower():
            # Some families need it for images too; more of them did before 5.19.
            hint = f"Install transformers 5.19 or newer (this is {version('transformers')}), or torchvision."
        elif all((folder / name).is_file() for name in ("tokenizer.json", "preprocessor_config.json")):
            hint = "Compare preprocessor_config.json and processor_config.json with those of the model's publisher."
        raise SelfsightError(
            f"Model {folder}: its tokenizer or image processor cannot be loaded ({plain_text(str(error))}).",
            hint=hint,
        ) from error


def _load_image_processor(folder: Path, model_type: str) -> Any:
    """The folder's image processor, also where it is described in a way that transformers no longer reads.

    Early Qwen2.5-VL folders name a class that was renamed (`Qwen2_5_VLImageProcessor`), and some folders state the
    bounds of an image's area as `min_pixels` and `max_pixels` inside `size`.
    """
    # By its own name: under the package's, older versions say that it needs torchvision, even for the PIL backend.
    from transformers.models.auto import image_processing_auto as auto

    stated = auto.get_image_processor_config(folder)
    overrides: dict[str, Any] = {}
    size = stated.get("size")
    if isinstance(size, dict) and {"min_pixels", "max_pixels"} & size.keys():
        edges = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
        overrides["size"] = {edges.get(name, name): value for name, value in size.items()}
    stated_name = stated.get("image_processor_type") or ""
    name = str(stated_name).removesuffix("Fast").removesuffix("Pil")
    known = {str(one) for several in auto.IMAGE_PROCESSOR_MAPPING_NAMES.values() for one in several.values()}
    if name and not {name, f"{name}Pil", f"{name}Fast"} & known:
        own = auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {}).get("pil")
        if own is None or own.removesuffix("Pil") != _RENAMED.get(name):
            raise SelfsightError(
                f"Model file {folder / 'preprocessor_config.json'}: names the image processor "
                f"{plain_text(str(stated_name))[:80]!r}, which transformers does not have.",
                hint=f"Set image_processor_type to {(own or 'that of the family').removesuffix('Pil')}, if that one "
                "prepares images as the model wants them.",
            )
        logger.info("Model %s: the image processor %s is called %s now", folder.name, name, own)
        return auto.get_image_processor_class_from_name(own).from_pretrained(folder, **overrides)
    return auto.AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False, **overrides)


def _image_only(base: Any) -> Any:
    class ImageOnlyProcessor(base):
        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

        def __init__(self, image_processor: Any, tokenizer: Any, **arguments: Any) -> None:
            if "video_processor" in _init_names(base):
                arguments["video_processor"] = None
            super().__init__(image_processor=image_processor, tokenizer=tokenizer, **arguments)

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    return ImageOnlyProcessor


def _init_names(base: Any) -> list[str]:
    import inspect

    return list(inspect.signature(base.__init__).parameters)


def _processor_arguments(folder: Path, base: Any) -> dict[str, Any]:
    file = folder / "processor_config.json"
    if not file.is_file():
        return {}
    stored = json.loads(file.read_text(encoding="utf-8"))
    taken = {"self", "image_processor", "tokenizer", "video_processor", "chat_template", "kwargs"}
    return {name: stored[name] for name in _init_names(base) if name in stored and name not in taken}
