"""The pictures of a run as small copies, named by their content: equal pictures are one, however often they occur.

Drawn pictures are kept without loss (they are small that way), photographs are not. The more pictures there are, the
smaller each one, so that a report stays a file that opens at once.

Files are opened as a run opens them: below the folder that the run drew from, under the same limits, and only while
they are what they were. What cannot be opened is named once and shown as missing.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.images import BlankView, DegradedView, ImageRef, ImageSource, Limits, files_below
from selfsight.images.views import files_behind
from selfsight.images.worlds import WorldSource
from selfsight.report.reading import Trouble

# Up to this many pictures, the longer side of each in pixels.
_SIDES: Final = ((1_000, 256), (3_000, 160))
_SMALLEST: Final = 112
_NAMED: Final = 3


@dataclass(frozen=True)
class Thumbnail:
    """A small copy as a WebP file; `name` is a hash of `data`."""

    name: str
    width: int
    height: int
    data: bytes


class _Drawn(WorldSource):
    """Opens any world's picture in the size it had: a run may have trained and measured in different ones."""

    def open(self, ref: ImageRef) -> Image.Image:
        return self.open_any(ref)


class Copies:
    """Small copies of a source's pictures. `expected` is how many different ones will be asked for; `drawn` ones are
    kept without loss.
    """

    def __init__(self, source: ImageSource, expected: int, *, drawn: bool) -> None:
        self.missing: list[str] = []
        self._source = source
        files = files_behind(self._source)
        self._root = None if files is None else files.root
        self._drawn = drawn
        self._side = next((side for most, side in _SIDES if expected <= most), _SMALLEST)
        self._names: dict[str, str | None] = {}
        self._thumbnails: dict[str, Thumbnail] = {}

    def add(self, ref: ImageRef) -> str | None:
        """The name of the small copy of `ref`; None when it cannot be opened."""
        if ref.id not in self._names:
            found = self.make(ref)
            self._names[ref.id] = None if found is None else self._thumbnails.setdefault(found.name, found).name
        return self._names[ref.id]

    @property
    def thumbnails(self) -> tuple[Thumbnail, ...]:
        """All different copies, in the order of their first use."""
        return tuple(self._thumbnails.values())

    def troubles(self) -> list[Trouble]:
        """The pictures that are missing, in one line."""
        if not self.missing:
            return []
        more = f"; and {len(self.missing) - _NAMED} more" if len(self.missing) > _NAMED else ""
        return [Trouble("images", f"{len(self.missing)} cannot be shown ({'; '.join(self.missing[:_NAMED])}{more})")]

    def make(self, ref: ImageRef) -> Thumbnail | None:
        """A small copy of `ref` that is not kept here; None when it cannot be opened, which is noted."""
        try:
            image = self._source.open(ref)
        except SelfsightError as error:
            self.missing.append(_without(self._root, error.message))
            return None
        return thumbnail(image, self._side, lossless=self._drawn or ref.id.startswith("blank-"))


class Pictures(Copies):
    """Small copies of a run's pictures."""

    def __init__(self, config: EvolveConfig, root: str | None, expected: int) -> None:
        super().__init__(picture_source(config, root), expected, drawn=config.images.startswith("worlds"))


def copies_of_worlds(expected: int) -> Copies:
    """Small copies of pictures of any worlds, each drawn from its reference alone."""
    return Copies(_Drawn(seed=0), expected, drawn=True)


def thumbnail(image: Image.Image, side: int, *, lossless: bool) -> Thumbnail:
    """`image` with its longer side at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if lossless:
        small.save(buffer, "WEBP", lossless=True, method=1)
    else:
        small.save(buffer, "WEBP", quality=72, method=2)
    data = buffer.getvalue()
    return Thumbnail(hashlib.blake2b(data, digest_size=8).hexdigest(), small.width, small.height, data)


def _without(root: Path | None, message: str) -> str:
    """A message that does not tell where on the machine the images lie."""
    return message if root is None else message.replace(f"{root}/", "").replace(str(root), root.name)


def picture_source(config: EvolveConfig, root: str | None) -> ImageSource:
    """What opens a run's references, without looking through its files again.

    `root` is where the run's files lay by its summary; without it, where the settings say, from here.
    """
    source: ImageSource
    if config.images.startswith("worlds"):
        source = _Drawn(seed=0)
    else:
        limits = Limits(max_pixels=config.max_image_pixels)
        source = files_below(config.images, None if root is None else Path(root), limits)
    if config.method != "visplay" and config.vision_zero.spy_view == "blank":
        return BlankView(source)
    if config.method != "visplay" and config.vision_zero.spy_view == "degraded":
        return DegradedView(source, config.vision_zero.degradation, seed=0)
    return source
