"""What is refused before torch is loaded, since importing it takes seconds, and what is said as a run starts.

Only what is plainly wrong is refused here. Everything else is checked where it is opened, with the whole reason.
"""

import re
from pathlib import Path

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError

# Patterns, lists, kinds with a colon and ids of a hub are understood where images are opened.
_MORE_THAN_A_PATH = re.compile(r"[*?\[\]{},:|]|^[\w-][\w.-]*/[\w.-]+$")


def check_start(config: EvolveConfig) -> None:
    """Raises SelfsightError for images or a model that are a path to nothing. Imports no torch."""
    images = config.images
    if not images.startswith("worlds") and not _MORE_THAN_A_PATH.search(images) and not _there(images):
        raise SelfsightError(
            f"images: {images!r} does not exist",
            hint="give worlds, worlds:scenes, worlds:charts, or the path of a folder or manifest",
        )
    model = config.model
    if model.startswith(("/", "./", "../", "~")) and not _there(model):
        raise SelfsightError(
            f"Model {model}: no such folder.",
            hint="Give a folder saved with save_pretrained, or a Hugging Face id such as owner/name.",
        )


def surprises(config: EvolveConfig, *, gpu: bool) -> list[str]:
    """What a user who brings a model may not expect: training on the processor, or on drawn pictures."""
    if config.model == "starter":
        return []
    found = []
    if not gpu:
        found.append(f"no GPU was found: {config.model} runs on the processor, which may take very long")
    if config.images.startswith("worlds"):
        found.append(
            f"images={config.images}: the run trains on drawn pictures, not on yours; images=FOLDER gives it yours"
        )
    return found


def _there(path: str) -> bool:
    return Path(path).expanduser().exists()
