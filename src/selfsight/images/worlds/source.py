"""Worlds as an image source: an endless seeded stream of pictures, and nothing but pictures.

A reference names world, split, seed and index; the pixels follow from it, and so does the picture's modified twin
(see modified.py), whose id ends in "-modified". The scene behind a picture is not reachable from a WorldSource:
`scene_of` in truth.py is for evaluation and for building the starter only.
"""

import hashlib
import re

import numpy as np
from PIL import Image

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.images.worlds.draw import draw
from selfsight.images.worlds.modified import Twin, modify
from selfsight.images.worlds.scene import Picture, sample_chart, sample_scene

WORLDS = ("scenes", "charts", "mixed")
SPLITS = ("train", "heldout", "audit", "build")
# No leading zeros, no other script's digits: a picture has one id.
_ID = re.compile(rf"w-({'|'.join(WORLDS)})-({'|'.join(SPLITS)})-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)")
_SIZE = re.compile(r"&size=([1-9][0-9]*)(?:&|$)")
MODIFIED = "-modified"
LARGEST = 4096  # pixels a side


def picture_rng(world: str, split: str, seed: int, index: int) -> np.random.Generator:
    """The generator of one picture; streams of different splits or seeds never meet."""
    digest = hashlib.blake2b(f"{world}/{split}/{seed}/{index}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def sample_picture(world: str, rng: np.random.Generator) -> Picture:
    """One picture of a world; `mixed` holds two scenes for each chart."""
    if world == "mixed":
        world = "scenes" if rng.random() < 2 / 3 else "charts"
    return sample_scene(rng) if world == "scenes" else sample_chart(rng)


def parse_world_id(image_id: str) -> tuple[str, str, int, int]:
    """World, split, seed and index of a reference made by a WorldSource."""
    found = _ID.fullmatch(image_id)
    if found is None:
        raise SelfsightError(
            f"{image_id!r} does not name a picture of a world",
            hint="ids of worlds are made by WorldSource, such as w-mixed-train-0-17",
        )
    return found[1], found[2], int(found[3]), int(found[4])


def picture_and_nuisances(image_id: str) -> tuple[Picture, np.random.Generator]:
    """What a reference shows, and the generator that draws it.

    A twin is drawn by the generator of its original in the same state, so nothing but the changes differs.
    """
    original_id = image_id.removesuffix(MODIFIED)
    world, split, seed, index = parse_world_id(original_id)
    rng = picture_rng(world, split, seed, index)
    picture = sample_picture(world, rng)
    return (picture if original_id == image_id else twin_of(original_id, picture).picture), rng


def twin_of(original_id: str, picture: Picture) -> Twin:
    """The modified twin of the picture of an original's id, with its log of changes."""
    digest = hashlib.blake2b(f"{original_id}{MODIFIED}".encode(), digest_size=16).digest()
    return modify(picture, np.random.default_rng(int.from_bytes(digest, "big")))


class WorldSource:
    """An endless stream of pictures of one world, `size` pixels a side."""

    def __init__(self, world: str = "mixed", *, seed: int, size: int = 112, split: str = "train") -> None:
        if world not in WORLDS:
            raise SelfsightError(f"there is no world named {world!r}", hint=f"choose one of: {', '.join(WORLDS)}")
        if split not in SPLITS:
            raise SelfsightError(f"there is no split named {split!r}", hint=f"choose one of: {', '.join(SPLITS)}")
        if seed < 0:
            raise SelfsightError(f"the seed of a world must be 0 or more, not {seed}")
        self.world, self.seed, self.pixels, self.split = world, seed, size, split
        self.name = f"worlds:{world}"

    def describe(self) -> dict[str, object]:
        """World, seed, size and split."""
        return {
            "kind": "worlds",
            "world": self.world,
            "seed": self.seed,
            "size": self.pixels,
            "split": self.split,
        }

    def size(self) -> None:
        """None: a world never ends."""

    def take(self, start: int, count: int) -> list[ImageRef]:
        """References `start` to `start + count`."""
        origin = f"world:{self.world}?split={self.split}&seed={self.seed}&size={self.pixels}&index="
        return [
            ImageRef(f"w-{self.world}-{self.split}-{self.seed}-{i}", f"{origin}{i}")
            for i in range(start, start + count)
        ]

    def usable(self, ref: ImageRef) -> bool:
        """Always: a picture that is drawn cannot be damaged."""
        return True

    def open(self, ref: ImageRef) -> Image.Image:
        """Draws the picture of a reference."""
        return _draw(ref, self.pixels)

    @staticmethod
    def open_any(ref: ImageRef) -> Image.Image:
        """Draws the picture of a reference in the size that its origin states, whichever source made it."""
        found = _SIZE.search(ref.origin)
        if found is None:
            raise SelfsightError(
                f"the origin {ref.origin!r} of {ref.id} states no size",
                hint="references to worlds are made by WorldSource.take",
            )
        if len(found[1]) > 4 or int(found[1]) > LARGEST:  # an origin may come from a file that nobody vouches for
            raise SelfsightError(
                f"the origin of {ref.id} states {found[1][:9]} pixels a side", hint=f"at most {LARGEST} are drawn"
            )
        return _draw(ref, int(found[1]))

    def spy_view(self, ref: ImageRef) -> ImageRef:
        """The modified twin of an original's reference; any WorldSource opens it."""
        parse_world_id(ref.id)
        return ImageRef(f"{ref.id}{MODIFIED}", f"{ref.origin}{MODIFIED}")


def _draw(ref: ImageRef, size: int) -> Image.Image:
    picture, nuisances = picture_and_nuisances(ref.id)
    return draw(picture, nuisances, size)
