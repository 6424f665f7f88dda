"""Why a model of the Hugging Face hub is not here, and which ones are."""

import os
from pathlib import Path
from typing import Final

_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_SHOWN: Final = 6  # cached models in one message


def offline_variable() -> str | None:
    """The environment variable that forbids downloads, as `NAME=value`; None when none does."""
    set_to = ((name, os.environ.get(name, "")) for name in _OFFLINE)
    return next((f"{name}={value}" for name, value in set_to if value.upper() in ("1", "ON", "YES", "TRUE")), None)


def cached_models(cache: Path | None = None) -> list[str]:
    """Ids of the models in the local cache, sorted; `cache` is the hub's own folder if not given."""
    if cache is None:
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE)
    if not cache.is_dir():
        return []
    folders = (entry for entry in cache.iterdir() if entry.name.startswith("models--"))
    # A folder without a snapshot is a download that failed.
    return sorted(
        entry.name.removeprefix("models--").replace("--", "/") for entry in folders if (entry / "snapshots").is_dir()
    )


def download_hint(cache: Path | None = None) -> str:
    """What to do about a model that could not be fetched.

    Args:
        cache: the cache of the hub; its own if not given.
    """
    known = cached_models(cache)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    listed = f"cached models: {', '.join(known[:_SHOWN]) or 'none'}{more}"
    variable = offline_variable()
    if variable is not None:
        return f"{variable} forbids downloads: unset it, or give a folder or a cached model; {listed}"
    return f"Check the spelling and the network, or download the model first and give its folder; {listed}"
