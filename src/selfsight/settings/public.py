"""Settings as they may be shown to others: without the folders of the machine."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel


def without_folders(name: str) -> str:
    """The last part of a path, so that it can be shown to others; ids of a hub and names of worlds stay whole."""
    return Path(name).name if name.startswith(("/", ".", "~")) else name


def public_settings(config: BaseModel) -> dict[str, Any]:
    """All settings of a run, model and images named without the folders that they lie in."""
    settings = config.model_dump(mode="json")
    del settings["output_dir"]
    return settings | {name: without_folders(settings[name]) for name in ("model", "images", "recipe")}
