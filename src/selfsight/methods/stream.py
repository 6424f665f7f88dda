"""Images by their place in a source: what every method's stream is made of.

Every image is decoded when it is taken. One that cannot be leaves its place empty: a substitute would have to come
from another place, and moving all later images up would make them depend on what was found before, which a resumed
run would have to remember and could get wrong.
"""

from typing import TypedDict

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError
from selfsight.images import Choice, Limits
from selfsight.images.source import ImageRef, ImageSource
from selfsight.images.views import files_behind


class ImageOptions(TypedDict):
    """What the settings say about images that are files."""

    limits: Limits
    choice: Choice
    max_bad_fraction: float


def image_options(config: EvolveConfig) -> ImageOptions:
    """The settings about images that are files, as `image_source` and `spy_images` take them."""
    return {
        "limits": Limits(max_pixels=config.max_image_pixels),
        "choice": Choice(config.image_column, config.image_split),
        "max_bad_fraction": config.max_bad_fraction,
    }


def images_at(source: ImageSource, start: int, count: int) -> list[tuple[int, ImageRef]]:
    """Places `start` to `start + count` and their usable images; a finite source starts again from its beginning."""
    size = source.size()
    if size is not None and size < 1:
        raise SelfsightError(f"{source.name} holds no images", hint="give a folder with images")
    places = range(start, start + count)
    taken = [(place, ref) for place in places for ref in source.take(place if size is None else place % size, 1)]
    return [(place, ref) for place, ref in taken if source.usable(ref)]


def refuse_too_many_bad(source: ImageSource, reached: int) -> None:
    """Raises ImageError when too many of the files up to place `reached` are in quarantine."""
    files = files_behind(source)
    if files is not None:
        files.refuse_too_many(min(reached, files.size() or 0))
