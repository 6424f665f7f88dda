"""From what a user writes after `images=` to a source."""

import re
from pathlib import Path

from selfsight.images.folder import FolderSource
from selfsight.images.manifest import SUFFIXES, ManifestSource
from selfsight.images.pairs import PairFolder
from selfsight.images.safe import ImageError, Limits
from selfsight.images.source import ImageSource
from selfsight.images.views import SPY_VIEWS, BlankView, Degradation, DegradedView, SpyImages, SpyView

WORLDS = {"worlds": "mixed", "worlds:mixed": "mixed", "worlds:scenes": "scenes", "worlds:charts": "charts"}


def image_source(
    spec: str,
    *,
    seed: int,
    size: int = 112,
    split: str = "train",
    limits: Limits = Limits(),  # noqa: B008 - frozen
    max_bad_fraction: float = 0.01,
) -> ImageSource:
    """ "worlds", "worlds:scenes", "worlds:charts", a folder, or a .jsonl or .parquet manifest.

    `size` is the side in pixels of drawn worlds and `split` their stream; `limits` and `max_bad_fraction` concern
    files.
    """
    if spec in WORLDS:
        from selfsight.images.worlds import WorldSource

        return WorldSource(WORLDS[spec], seed=seed, size=size, split=split)
    choices = f"give one of {', '.join(WORLDS)}, a folder, or a {' or '.join(SUFFIXES)} manifest"
    if spec.startswith("worlds"):
        raise ImageError(f"images: there is no world {spec!r}", hint=choices)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", spec):
        raise ImageError(f"images: {spec} is a URL; nothing is downloaded", hint=choices)
    path = Path(spec).expanduser()
    if path.is_dir():
        return FolderSource(path, seed=seed, limits=limits, max_bad_fraction=max_bad_fraction)
    if not path.exists():
        raise ImageError(f"images: {spec!r} does not exist", hint=choices)
    if path.suffix.lower() in SUFFIXES:
        return ManifestSource(path, seed=seed, limits=limits, max_bad_fraction=max_bad_fraction)
    raise ImageError(f"images: {spec!r} is a file that is not a manifest", hint=choices)


def spy_images(
    spec: str,
    spy_view: SpyView,
    *,
    seed: int,
    degradation: Degradation = "mask",
    size: int = 112,
    split: str = "train",
    limits: Limits = Limits(),  # noqa: B008 - frozen
    max_bad_fraction: float = 0.01,
) -> SpyImages:
    """The source of `image_source` with what the spy sees; `modified` needs a world or a folder of pairs."""
    if spy_view not in SPY_VIEWS:
        raise ImageError(f"there is no spy view {spy_view!r}", hint=f"use one of: {', '.join(SPY_VIEWS)}")
    if spy_view == "modified":
        if spec in WORLDS:
            from selfsight.images.worlds import WorldSource

            return WorldSource(WORLDS[spec], seed=seed, size=size, split=split)
        if Path(spec).expanduser().is_dir():
            path = Path(spec).expanduser()
            return PairFolder(path, seed=seed, limits=limits, max_bad_fraction=max_bad_fraction)
        raise ImageError(
            f"images: {spec!r} has no modified twins",
            hint=f"give one of {', '.join(WORLDS)} or a folder of *_original and *_modified images, or let the spy "
            "see a blank or degraded image",
        )
    source = image_source(spec, seed=seed, size=size, split=split, limits=limits, max_bad_fraction=max_bad_fraction)
    return BlankView(source) if spy_view == "blank" else DegradedView(source, degradation, seed=seed)
