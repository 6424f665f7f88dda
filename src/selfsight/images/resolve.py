"""From what a user writes after `images=` to a source.

    worlds, worlds:scenes, worlds:charts   drawn pictures
    photos                                 a folder of images, or of Parquet or Arrow tables with images
    list.jsonl  shards/train.parquet       a list of paths, or a table with images
    photo.jpg                              one image
    photos/*.jpg  data/**/*.parquet        a pattern (quote it, so that the shell leaves it alone)
    hub:owner/name  hub:owner/name@rev     a data set of the Hugging Face hub, downloaded into its cache
    a,b  or  [a, b]                        several of these, without worlds, as one source

Nothing else uses the network: a path that does not exist is an error, and never looked for elsewhere.
"""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from selfsight.images.files import Candidate, FileSource, Listing, resolve
from selfsight.images.folder import Choice, FolderSource, add_file, list_folder, list_tables, no_images
from selfsight.images.hub import PREFIX, snapshot
from selfsight.images.manifest import SUFFIXES, ManifestSource, list_manifest, place_of
from selfsight.images.pairs import PairFolder
from selfsight.images.safe import ImageError, Limits
from selfsight.images.source import ImageSource
from selfsight.images.views import SPY_VIEWS, BlankView, Degradation, DegradedView, SpyImages, SpyView

WORLDS = {"worlds": "mixed", "worlds:mixed": "mixed", "worlds:scenes": "scenes", "worlds:charts": "charts"}
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".rar", ".7z")
_CHOICES: Final = (
    f"give one of {', '.join(WORLDS)}, a folder, an image, a pattern such as 'photos/*.jpg', a list or table "
    f"({', '.join(SUFFIXES)}), hub:OWNER/NAME, or several of them with commas"
)


def image_source(
    spec: str,
    *,
    seed: int,
    size: int = 112,
    split: str = "train",
    limits: Limits = Limits(),  # noqa: B008 - frozen
    max_bad_fraction: float = 0.01,
    choice: Choice = Choice(),  # noqa: B008 - frozen
) -> ImageSource:
    """A source from what a user writes: see the head of this module.

    `size` is the side in pixels of drawn worlds and `split` their stream; `limits`, `max_bad_fraction` and `choice`
    concern files.

    Example:
        >>> image_source("photos/*.jpg,more/list.parquet", seed=0).size()
        120
    """
    if spec in WORLDS:
        from selfsight.images.worlds import WorldSource

        return WorldSource(WORLDS[spec], seed=seed, size=size, split=split)
    parts = parts_of(spec)
    if len(parts) == 1 and not _is_pattern(parts[0]):
        path = local_path(parts[0])
        if path.is_dir():
            return FolderSource(path, seed=seed, limits=limits, max_bad_fraction=max_bad_fraction, choice=choice)
        if path.suffix.lower() in SUFFIXES:
            return ManifestSource(
                path, seed=seed, limits=limits, max_bad_fraction=max_bad_fraction, column=choice.column
            )
    listings = [_listing(part, limits, choice) for part in parts]
    found = _joined(listings)
    name = f"files:{found.root.name}" if len(parts) > 1 or _is_pattern(spec) else f"file:{Path(spec).name}"
    source = FileSource(
        name=name,
        root=found.root,
        candidates=found.candidates,
        refused=found.refused,
        seed=seed,
        limits=limits,
        max_bad_fraction=max_bad_fraction,
        listing=found,
    )
    if not source.size():
        raise no_images(f"images: {spec!r}", found)
    return source


def files_below(spec: str, root: Path | None, limits: Limits) -> FileSource:
    """A source that opens references of a run on `spec` and gives out none: for reports on what a run has shown.

    `root` is where the run's files lay by its record; without it, where `spec` says, from here.
    """
    if root is None:
        roots = [_root_of(part) for part in parts_of(spec)]
        root = Path(os.path.commonpath(roots))
    elif root.is_file():
        root = root.parent
    return FileSource(
        name=spec, root=resolve(root), candidates=(), refused=(), seed=0, limits=limits, max_bad_fraction=0.0
    )


def parts_of(spec: str) -> list[str]:
    """The sources of a text with commas between them; one that exists as it stands is one path."""
    if _exists(spec):
        return [spec]
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    worlds = [part for part in parts if part.startswith("worlds")]
    if worlds and (len(parts) > 1 or worlds[0] not in WORLDS):
        reason = "worlds stand alone" if worlds[0] in WORLDS else f"there is no world {worlds[0]!r}"
        raise ImageError(f"images: {reason}", hint=_CHOICES)
    if not parts:
        raise ImageError(f"images: {spec!r} names nothing", hint=_CHOICES)
    return parts


def local_path(part: str) -> Path:
    """The file or folder that a source is; of the hub, downloaded if it is not there yet."""
    if part.startswith(PREFIX):
        return snapshot(part)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", part):
        raise ImageError(f"images: {part} is a URL; nothing is downloaded", hint=_CHOICES)
    if _exists(part):
        return Path(part).expanduser()
    name = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", part)  # ./photos is no name
    hub = f"; if it is a data set of the hub, write images={PREFIX}{part}" if name else ""
    raise ImageError(f"images: {part!r} does not exist", hint=_CHOICES + hub)


def _is_pattern(part: str) -> bool:
    return any(mark in part for mark in "*?[") and not _exists(part)


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a zero byte, no such user's home
        return False


def _root_of(part: str) -> Path:
    """The folder that a source's files lie in. Nothing is downloaded, and nothing need be there any more."""
    if _is_pattern(part):
        return resolve(_fixed_folder(part))
    try:
        path = snapshot(part, download=False) if part.startswith(PREFIX) else local_path(part)
    except ImageError:
        path = Path(part).expanduser()
    return place_of(path).parent if path.is_file() else resolve(path)


def _fixed_folder(pattern: str) -> Path:
    """The folder in front of the first wildcard of a pattern."""
    fixed = []
    for piece in Path(pattern).expanduser().parts[:-1]:
        if any(mark in piece for mark in "*?["):
            break
        fixed.append(piece)
    return Path(*fixed)


def _listing(part: str, limits: Limits, choice: Choice) -> Listing:
    if _is_pattern(part):
        return _matching(part, limits, choice)
    path = local_path(part)
    if path.is_dir():
        return list_folder(resolve(path), limits, choice)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return list_manifest(place_of(path), limits, choice.column)
    if suffix in _ARCHIVES:
        raise ImageError(f"images: {part!r} is an archive", hint="unpack it and give the folder that comes out")
    if suffix == ".json":
        raise ImageError(
            f"images: {part!r} is a JSON file; a list has one object per line",
            hint=f"for a JSON array: jq -c '.[]' {path.name} > {path.stem}.jsonl",
        )
    if suffix == ".txt":
        raise ImageError(
            f"images: {part!r} is a text file",
            hint=f"for a path in each line: (echo image; cat {path.name}) > {path.stem}.csv; or {_CHOICES}",
        )
    file = place_of(path)
    return Listing(file.parent, [Candidate(file.name, file)])


def _matching(pattern: str, limits: Limits, choice: Choice) -> Listing:
    """What a pattern matches: files as in a folder; a folder that it matches is left to patterns with `**`."""
    root = resolve(_fixed_folder(pattern))
    found, tables = Listing(root), list[Path]()
    inner = Path(pattern).expanduser().relative_to(_fixed_folder(pattern)).as_posix()
    # Path.glob would match hidden files, too.
    for name in sorted(set(glob.iglob(inner, root_dir=root, recursive=True))):  # noqa: PTH207
        path = root / name
        if not path.is_dir():
            add_file(found, path, tables, check_links=True)
        elif path.is_symlink():
            found.links += 1
    if not found.candidates and not found.refused and not tables:
        if not found.not_read:
            raise ImageError(f"images: {pattern!r} matches no file", hint="quote the pattern, and check its folder")
        raise no_images(f"images: {pattern!r}", found)
    list_tables(tables, found, limits, choice)
    return found


def _joined(listings: Sequence[Listing]) -> Listing:
    """Several listings as one, below the folder that holds all of them; a file that two of them name counts once."""
    if len(listings) == 1:
        return listings[0]
    joined = Listing(Path(os.path.commonpath([found.root for found in listings])))
    seen: set[Path] = set()
    for found in listings:
        joined.candidates += _new(found, joined.root, seen)
        joined.refused += found.refused
        joined.not_read += found.not_read
        joined.links += found.links
        joined.no_image += found.no_image
        joined.repeated += found.repeated
    return joined


def _new(found: Listing, root: Path, seen: set[Path]) -> Iterator[Candidate]:
    for one in found.candidates:
        if one.path not in seen:
            seen.add(one.path)
            yield replace(one, name=os.path.relpath(one.path, root))


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
    choice: Choice = Choice(),  # noqa: B008 - frozen
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
    source = image_source(
        spec, seed=seed, size=size, split=split, limits=limits, max_bad_fraction=max_bad_fraction, choice=choice
    )
    return BlankView(source) if spy_view == "blank" else DegradedView(source, degradation, seed=seed)
