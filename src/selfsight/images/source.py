"""What an image source is: a fixed, seeded stream of image references that can be opened.

A reference is a name, not pixels: it can be written to the journal, compared and joined by id.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class ImageRef:
    """`id` is stable across runs and machines; `origin` says where the pixels come from."""

    id: str
    origin: str


class ImageSource(Protocol):
    """A stream of images in a fixed order that depends on the seed only."""

    name: str

    def describe(self) -> dict[str, object]:
        """JSON-ready facts about the source, for the run's record."""

    def size(self) -> int | None:
        """Number of images, or None when the stream is endless."""

    def take(self, start: int, count: int) -> list[ImageRef]:
        """References `start` to `start + count`; fewer only at the stream's end or where one is in quarantine."""

    def usable(self, ref: ImageRef) -> bool:
        """Whether a reference can be opened. What cannot is in quarantine from then on, and is False ever after."""

    def open(self, ref: ImageRef) -> Image.Image:
        """The pixels of a reference, RGB, EXIF orientation applied."""


class Wrapped(ABC):
    """A source with another one behind it, whose stream it keeps; what it shows of each reference is its own."""

    def __init__(self, original: ImageSource, name: str) -> None:
        self.original, self.name = original, f"{name}({original.name})"

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """JSON-ready facts, those of the original under `of`."""

    def size(self) -> int | None:
        """Number of images of the original."""
        return self.original.size()

    def take(self, start: int, count: int) -> list[ImageRef]:
        """References of the original."""
        return self.original.take(start, count)

    def usable(self, ref: ImageRef) -> bool:
        """Whether the original can open a reference."""
        return self.original.usable(ref)
