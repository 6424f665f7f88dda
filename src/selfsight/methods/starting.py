"""What can be refused before torch is loaded: importing it takes seconds, in which a mistyped path would wait.

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


def _there(path: str) -> bool:
    return Path(path).expanduser().exists()
