"""Settings as they may be shown to others: without the folders of the machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_NAMES: Final = ("model", "images", "recipe")


def without_folders(name: str) -> str:
    """The last part of a path, so that it can be shown to others; ids of a hub and names of worlds stay whole.

    Of several paths with commas between them, the last part of each.
    """
    parts = (part.strip() for part in name.split(","))
    return ",".join(Path(part).name if part.startswith(("/", ".", "~")) else part for part in parts)


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run, model and images named without the folders that they lie in."""
    shown = {name: value for name, value in settings.items() if name != "output_dir"}
    return shown | {name: without_folders(str(shown[name])) for name in _NAMES if name in shown}
