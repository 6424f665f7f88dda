"""A data set of the Hugging Face hub: "hub:OWNER/NAME", "hub:OWNER/NAME@REVISION".

It is downloaded into the hub's own cache, or found there, and then read like any folder of tables or images. A run
that is to be repeated names a revision (a commit): without one, what the hub has today is taken.
"""

import re
from pathlib import Path
from typing import Final

from selfsight.images.safe import ImageError

PREFIX: Final = "hub:"
_NAME: Final = re.compile(r"hub:(?P<id>[\w][\w.-]*(?:/[\w][\w.-]*)?)(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)
# What is read of a data set, and no code of it.
_FILES: Final = tuple(
    f"*{suffix}"
    for suffix in (
        ".parquet", ".arrow", ".jsonl", ".csv", "state.json", "dataset_dict.json", ".png", ".jpg", ".jpeg", ".jpe",
        ".jfif", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".heic", ".heif",
    )
)  # fmt: skip


def snapshot(spec: str, *, download: bool = True) -> Path:
    """The local folder of a data set of the hub; ImageError names the data set when it cannot be had.

    Without `download` only the cache is looked at.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    found = _NAME.fullmatch(spec)
    if found is None:
        raise ImageError(f"images: {spec!r} names no data set of the hub", hint="write hub:OWNER/NAME@REVISION")
    try:
        folder: str = snapshot_download(
            found["id"],
            repo_type="dataset",
            revision=found["revision"],
            allow_patterns=list(_FILES),
            local_files_only=not download,
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        raise ImageError(
            f"images: {spec} could not be downloaded ({error!s:.300})",
            hint="check name, revision and network; a private data set needs `hf auth login`; or download it yourself "
            "and give the folder",
        ) from error
    return Path(folder)
