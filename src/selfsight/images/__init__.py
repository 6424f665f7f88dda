"""Where images come from: folders, manifests and worlds, opened safely, in a fixed seeded order."""

from selfsight.images.files import BadImage
from selfsight.images.folder import Choice, FolderSource
from selfsight.images.heartbeat import telling
from selfsight.images.manifest import ManifestSource
from selfsight.images.pairs import PairFolder
from selfsight.images.resolve import files_below, image_source, spy_images
from selfsight.images.safe import ImageError, Limits, open_image
from selfsight.images.shuffled import ShuffledImages
from selfsight.images.source import ImageRef, ImageSource
from selfsight.images.views import DEGRADATIONS, SPY_VIEWS, BlankView, Degradation, DegradedView, SpyImages, SpyView

__all__ = [
    "DEGRADATIONS",
    "SPY_VIEWS",
    "BadImage",
    "BlankView",
    "Choice",
    "Degradation",
    "DegradedView",
    "FolderSource",
    "ImageError",
    "ImageRef",
    "ImageSource",
    "Limits",
    "ManifestSource",
    "PairFolder",
    "ShuffledImages",
    "SpyImages",
    "SpyView",
    "files_below",
    "image_source",
    "open_image",
    "spy_images",
    "telling",
]
