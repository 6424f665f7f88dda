"""The images of an exported data set: files named by their content, so that equal pictures are one.

A file holds the pixels that the model saw, as PNG and nothing else: no camera data, no places, no names. Worlds are
drawn by this package and may go anywhere. Photographs are somebody's: they are copied only when the user says that they
may be.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.images import ImageRef
from selfsight.run.hashing import hash_bytes

FOLDER: Final = "images"


class ImageFiles:
    """Writes images into `folder`/images. `open_image` gives the pixels of a reference."""

    def __init__(self, folder: Path, open_image: Callable[[ImageRef], Image.Image]) -> None:
        self._folder, self._open = folder / FOLDER, open_image
        self._names: dict[str, str | None] = {}
        self.missing: list[ImageRef] = []

    def add(self, ref: ImageRef) -> str | None:
        """The file of an image, relative to `folder`; None when it cannot be opened any more."""
        if ref.id not in self._names:
            self._names[ref.id] = self._write(ref)
        return self._names[ref.id]

    @property
    def count(self) -> int:
        """Different pictures written."""
        return len({name for name in self._names.values() if name is not None})

    def _write(self, ref: ImageRef) -> str | None:
        try:
            image = self._open(ref)
        except SelfsightError:  # counted and told: a run outlives its photographs
            self.missing.append(ref)
            return None
        name = f"{hash_bytes(f'{image.mode} {image.width}x{image.height} '.encode() + image.tobytes())[:16]}.png"
        path = self._folder / name
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            buffer = io.BytesIO()
            Image.frombytes(image.mode, image.size, image.tobytes()).save(buffer, "PNG")
            path.write_bytes(buffer.getvalue())
        return f"{FOLDER}/{name}"
