"""What the spy sees: a source of images in which every reference has a second one, the spy's.

    blank       white, of the size and mode of the image; needs nothing but images
    degraded    the image itself, masked, cropped or blurred; seeded by the image's id
    modified    an edited twin; such pairs come from worlds (worlds.WorldSource) and from files (pairs.PairFolder)

A view is again an ImageRef: it can be written down, opened and cached by id. All blank views of one size are one
image ("blank-112x112"), so a batch of games encodes it once and its name tells nothing about the citizens' image. A
degraded view is "<degradation>-<seed>~<id of the image>".

Source: arXiv 2509.25541 (blank in its second version, modified in its first); partial degradation as in SpyRL, the
first author's successor. Left out: diffusion edits, which need a model of their own.
"""

import hashlib
import re
from typing import Final, Literal, Protocol, get_args

import numpy as np
from PIL import Image, ImageFilter

from selfsight.images.files import FileSource
from selfsight.images.safe import ImageError, Limits
from selfsight.images.source import ImageRef, ImageSource, Wrapped

SpyView = Literal["blank", "modified", "degraded"]
Degradation = Literal["mask", "crop", "blur"]
SPY_VIEWS: Final[tuple[SpyView, ...]] = get_args(SpyView)
DEGRADATIONS: Final[tuple[Degradation, ...]] = get_args(Degradation)

_BLANK = re.compile(r"blank-([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
_CELLS: Final = 8
_MASKED: Final = (0.2, 0.4)  # share of the cells
_KEPT: Final = (0.5, 0.7)  # share of each side
_BLURRED: Final = (0.04, 0.08)  # radius over the shorter side
_JOINT: Final = "~"


class SpyImages(ImageSource, Protocol):
    """An image source that also has what the spy sees; `open` opens both."""

    def spy_view(self, ref: ImageRef) -> ImageRef:
        """The spy's reference for the game about `ref`; never `ref` itself."""


def blank(image: Image.Image) -> Image.Image:
    """A white image of the same size and mode."""
    return Image.new(image.mode, image.size, "white")


def degraded(image: Image.Image, degradation: Degradation, rng: np.random.Generator) -> Image.Image:
    """The image with a part of what it shows taken away; size and mode stay (RGB, as sources give)."""
    return _DEGRADE[degradation](image, rng)


def _mask(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """20 to 40 % of an 8 x 8 grid of cells turned grey."""
    width, height = image.size
    count = round(rng.uniform(*_MASKED) * _CELLS * _CELLS)
    covered = np.zeros(_CELLS * _CELLS, dtype=bool)
    covered[rng.choice(covered.size, size=count, replace=False)] = True
    rows, columns = np.arange(height) * _CELLS // height, np.arange(width) * _CELLS // width
    pixels = np.array(image)
    pixels[covered.reshape(_CELLS, _CELLS)[rows][:, columns]] = 128
    return Image.fromarray(pixels)


def _crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A window of 50 to 70 % of each side, enlarged to the whole."""
    width, height = image.size
    share = rng.uniform(*_KEPT)
    kept_x, kept_y = max(1, round(share * width)), max(1, round(share * height))
    left, top = int(rng.integers(width - kept_x + 1)), int(rng.integers(height - kept_y + 1))
    window = (left, top, left + kept_x, top + kept_y)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=window)


def _blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A Gaussian blur of 4 to 8 % of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(*_BLURRED) * min(image.size)))


_DEGRADE: Final = {"mask": _mask, "crop": _crop, "blur": _blur}


class BlankView(Wrapped):
    """`source` with a blank spy."""

    def __init__(self, source: ImageSource) -> None:
        super().__init__(source, "blank")

    def describe(self) -> dict[str, object]:
        return {"source": self.name, "spy_view": "blank", "of": self.original.describe()}

    def spy_view(self, ref: ImageRef) -> ImageRef:
        """The blank image of the size of `ref`, which is opened to learn it."""
        width, height = self.original.open(ref).size
        return ImageRef(f"blank-{width}x{height}", f"blank:{width}x{height}")

    def open(self, ref: ImageRef) -> Image.Image:
        found = _BLANK.fullmatch(ref.id)
        if found is None:
            return self.original.open(ref)
        width, height = int(found[1]), int(found[2])
        files = files_behind(self.original)
        limits = Limits() if files is None else files.limits
        if width * height > limits.max_pixels:  # an id may come from a file that nobody vouches for
            raise ImageError(
                f"{ref.id}: is larger than any image that is opened", hint="the record that names it is damaged"
            )
        return Image.new("RGB", (width, height), "white")


class DegradedView(Wrapped):
    """`source` with a spy whose copy of the image lacks something; the same for the same seed and image."""

    def __init__(self, source: ImageSource, degradation: Degradation, *, seed: int) -> None:
        if degradation not in DEGRADATIONS:
            raise ImageError(f"there is no degradation {degradation!r}", hint=f"use one of: {', '.join(DEGRADATIONS)}")
        super().__init__(source, degradation)
        self._degradation = degradation
        self._seed = seed
        self._prefix = f"{degradation}-{seed}{_JOINT}"
        self._copy = re.compile(rf"{degradation}-\d+{re.escape(_JOINT)}")

    def describe(self) -> dict[str, object]:
        return {
            "source": self.name,
            "spy_view": "degraded",
            "degradation": self._degradation,
            "seed": self._seed,
            "of": self.original.describe(),
        }

    def spy_view(self, ref: ImageRef) -> ImageRef:
        return ImageRef(self._prefix + ref.id, self._prefix + ref.origin)

    def open(self, ref: ImageRef) -> Image.Image:
        """Also a copy of another seed, which is drawn from its id alone: held-out games have a seed of their own."""
        found = self._copy.match(ref.id)
        if found is None:
            return self.original.open(ref)
        original = ImageRef(ref.id.removeprefix(found[0]), ref.origin.removeprefix(found[0]))
        digest = hashlib.blake2b(ref.id.encode(), digest_size=16).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "big"))
        return degraded(self.original.open(original), self._degradation, rng)


def files_behind(source: ImageSource) -> FileSource | None:
    """The files that a source draws from, whatever the spy sees of them; None for a world."""
    while isinstance(source, Wrapped):
        source = source.original
    return source if isinstance(source, FileSource) else None
