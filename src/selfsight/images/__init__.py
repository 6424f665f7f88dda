"""Where images come from: folders, manifests and worlds, opened safely, in a fixed seeded order."""

from selfsight.images.files import BadImage
from selfsight.images.folder import FolderSource
from selfsight.images.manifest import ManifestSource
from selfsight.images.resolve import image_source
from selfsight.images.safe import ImageError, Limits, open_image
from selfsight.images.shuffled import ShuffledImages
from selfsight.images.source import ImageRef, ImageSource

__all__ = [
    "BadImage",
    "FolderSource",
    "ImageError",
    "ImageRef",
    "ImageSource",
    "Limits",
    "ManifestSource",
    "ShuffledImages",
    "image_source",
    "open_image",
]
