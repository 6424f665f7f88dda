"""The control `images: shuffled`: every question is asked about one image and shown another.

If a method still "improves" on such pairs, what it learned was format or priors, not sight. The pairing is
a derangement (no image meets itself) inside blocks of 64 along the source's own order, so it depends on the
seed only and works on endless streams. Sattolo's algorithm draws it: one random cycle per block. An image
that cannot be decoded is passed over, and who would have met it meets the next one of the cycle: a cycle
without some of its members is still one, so no image meets itself and none is shown twice.
"""

import hashlib
import random
from typing import Final

from PIL import Image

from selfsight.images.safe import ImageError
from selfsight.images.source import ImageRef, ImageSource, Wrapped

BLOCK: Final = 64
_LONGEST_SEARCH: Final = 1 << 20


class ShuffledImages(Wrapped):
    """`source` with its references as they are and the pixels of another image behind each."""

    def __init__(self, source: ImageSource, seed: int) -> None:
        size = source.size()
        if size is not None and size < 2:
            raise ImageError(f"{source.name}: shuffled images need at least 2 images, it has {size}")
        super().__init__(source, "shuffled")
        self._seed = seed
        self._refs: list[ImageRef | None] = []  # by place; None: in quarantine
        self._index_of: dict[str, int] = {}

    def describe(self) -> dict[str, object]:
        return {"source": self.name, "seed": self._seed, "block": BLOCK, "of": self.original.describe()}

    def open(self, ref: ImageRef) -> Image.Image:
        """The pixels of the partner of `ref`."""
        return self.original.open(self.partner(ref))

    def partner(self, ref: ImageRef) -> ImageRef:
        """The image whose pixels `open(ref)` gives."""
        index = self._find(ref)
        start, length = self._block_around(index)
        self._extend(start + length)
        cycle = _cycle(self._seed, start, length)
        place = cycle[index - start]
        while place != index - start:
            partner = self._refs[start + place]
            if partner is not None and self.original.usable(partner):
                return partner
            place = cycle[place]
        raise ImageError(
            f"{ref.origin}: no other image of its block of {length} can be shown in its place",
            hint="mend the images in quarantine, or add more",
        )

    def _block_around(self, index: int) -> tuple[int, int]:
        """Start and length of the block of `index`. A last block of one image would have no derangement, so
        it joins the one before.
        """
        start = index - index % BLOCK
        size = self.original.size()
        if size is None:
            return start, BLOCK
        if size - start == 1:
            start -= BLOCK
        length = min(BLOCK, size - start)
        return start, length + 1 if size - start - length == 1 else length

    def _find(self, ref: ImageRef) -> int:
        while ref.id not in self._index_of:
            known = len(self._refs)
            if known < _LONGEST_SEARCH:
                self._extend(known + BLOCK)
            if len(self._refs) == known:
                raise ImageError(
                    f"image {ref.id} is not among the first {known} of {self.original.name}",
                    hint="open only references that this source gave",
                )
        return self._index_of[ref.id]

    def _extend(self, end: int) -> None:
        size = self.original.size()
        for place in range(len(self._refs), end if size is None else min(end, size)):
            found = self.original.take(place, 1)
            if found:
                self._index_of[found[0].id] = place
            self._refs.append(found[0] if found else None)


def _cycle(seed: int, start: int, length: int) -> list[int]:
    digest = hashlib.blake2b(f"shuffled\0{seed}\0{start}".encode(), digest_size=8).digest()
    draw = random.Random(int.from_bytes(digest, "big"))
    order = list(range(length))
    for last in range(length - 1, 0, -1):
        other = draw.randrange(last)
        order[last], order[other] = order[other], order[last]
    return order
