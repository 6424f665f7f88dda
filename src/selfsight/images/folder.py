"""A folder of photographs, or of tables that hold them, with all folders inside it.

Files are found by extension (in any case) and believed by content. Hidden files and folders (a leading dot, among
them macOS's "._" companions) are skipped, and so are the thumbnails that network storage keeps (@eaDir) and what
macOS puts into archives (__MACOSX). A symbolic link may point to a file inside the folder; one that leads outside is
put into quarantine like a damaged file. Links to folders are not followed. Every other file is counted by kind.

A folder without images whose files are Parquet or Arrow tables is a data set as the hub has it, or as `datasets`
saves it to disk; its tables are read. Of several splits one is taken: `train`, unless another is asked for.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfsight.images.files import BadImage, Candidate, FileSource, Listing, in_words, is_inside, is_utf8, resolve
from selfsight.images.manifest import Rows, list_table
from selfsight.images.safe import ImageError, Limits, readable_formats, shortened
from selfsight.images.tables import TABLES

EXTENSIONS: Final = (
    ".png", ".jpg", ".jpeg", ".webp", ".jpe", ".jfif", ".tif", ".tiff", ".gif", ".bmp",
    *((".avif",) if "AVIF" in readable_formats() else ()),
    *((".heic", ".heif", ".hif") if "HEIC" in readable_formats() else ()),
)  # fmt: skip
_SKIPPED_FOLDERS: Final = ("@eaDir", "__MACOSX")
_SKIPPED_FILES: Final = ("Thumbs.db", "desktop.ini")
_KIND: Final = re.compile(r"\.([A-Za-z0-9]{1,12}~?)")
_SHARD: Final = re.compile(r"(?:.*-)?(?P<split>[A-Za-z][A-Za-z0-9_.]*)-\d+-of-\d+")
_SPLITS: Final = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")
_STATE: Final = 1_000_000


@dataclass(frozen=True)
class Choice:
    """What a user may say about a data set: the column of its images, and the split to take."""

    column: str | None = None
    split: str | None = None


class FolderSource(FileSource):
    """The images below `path` in an order fixed by `seed`; ids are "f-" and a hash of the content.

    Files that cannot be used are listed in `.quarantined`; more of them than `allowed_bad` says is an
    error, and so is a folder without images.

    Example:
        >>> source = FolderSource("photos", seed=0)
        >>> source.open(source.take(0, 1)[0]).mode
        'RGB'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        max_bad_fraction: float = 0.01,
        choice: Choice = Choice(),
    ) -> None:
        root = resolve(Path(path))
        if not root.is_dir():
            raise ImageError(f"{path}: is not a folder", hint="give the folder that holds the images")
        found = list_folder(root, limits, choice)
        super().__init__(
            name=f"folder:{root.name}",
            root=root,
            candidates=found.candidates,
            refused=found.refused,
            seed=seed,
            limits=limits,
            max_bad_fraction=max_bad_fraction,
            listing=found,
        )
        if not self._files:
            raise no_images(str(path), found)


def no_images(path: str, found: Listing) -> ImageError:
    """The error for a place in which nothing can be read: what is there instead, and the way out."""
    if found.no_image:
        return ImageError(
            f"{path}: lists no images, only {found.no_image} rows without one",
            hint="say which column holds the images or their paths: image_column=NAME",
        )
    hint = "check the path; other formats must be converted first"
    if found.not_read:
        hint = f"not read: {in_words(found.not_read)}; " + (
            "unpack the archives first" if found.not_read.keys() & {"ZIP", "TAR", "GZ", "TGZ"} else hint
        )
    if found.not_read.keys() & {"HEIC", "HEIF", "HIF"}:
        hint += "; pip install pillow-heif reads HEIC"
    if found.not_read.keys() & {"JSONL", "CSV", "TSV", "NDJSON"}:
        hint += "; a list of images is given as a file: images=FOLDER/LIST.jsonl"
    if found.links:
        hint += f"; {found.links} links to folders were not followed: name the folders themselves"
    others = sum(found.not_read.values())
    return ImageError(f"{path}: holds no {', '.join(EXTENSIONS)} images ({others} other files)", hint=hint)


def list_folder(root: Path, limits: Limits, choice: Choice) -> Listing:
    """All images of a folder, or, when it has none, those of its tables."""
    found, tables = walk(root)
    if found.candidates or found.refused or not tables:
        for table in tables:
            found.not_read[_kind(table.name)] += 1
        if choice.split is not None:
            _keep_split(found, choice.split)
        return found
    list_tables(tables, found, limits, choice)
    return found


def list_tables(tables: Sequence[Path], found: Listing, limits: Limits, choice: Choice) -> None:
    """Adds the images of tables to what was `found`; of several splits, those of one."""
    if not tables:
        return
    shards, left = _of_one_split(found.root, tables, choice.split)
    for split, count in left.items():
        found.not_read[f"{split} split"] += count
    rows = Rows(limits)
    for shard in shards:
        list_table(shard, found.root, rows, choice.column)
    rows.into(found)


def walk(root: Path) -> tuple[Listing, list[Path]]:
    """Image files by extension, what is not read, and the tables among it (which are not counted yet)."""
    found = Listing(root)
    tables: list[Path] = []
    for folder, subfolders, names in os.walk(root, onerror=_unreadable_folder):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and n not in _SKIPPED_FOLDERS)
        found.links += sum(Path(folder, name).is_symlink() for name in subfolders)
        for name in sorted(names):
            if name.startswith(".") or name in _SKIPPED_FILES:
                continue
            path = Path(folder, name)
            add_file(found, path, tables)
    return found, tables


def add_file(found: Listing, path: Path, tables: list[Path], *, check_links: bool = False) -> None:
    """Puts a file where it belongs by its name. `check_links`: a folder on the way to it may be a link."""
    relative = path.relative_to(found.root).as_posix()
    suffix = path.suffix.lower()
    if suffix in TABLES and is_utf8(relative):
        tables.append(path)
    elif suffix not in EXTENSIONS:
        found.not_read[_kind(path.name)] += 1
    elif not is_utf8(relative):
        found.refused.append(BadImage(repr(relative), f"{relative!r}: the name is not UTF-8"))
    elif (check_links or path.is_symlink()) and not is_inside(path, found.root):
        found.refused.append(BadImage(str(path), f"{shortened(path)}: is a link that leads outside the folder"))
    else:
        found.candidates.append(Candidate(relative, path))


def _kind(name: str) -> str:
    """What a file is called that is not read: its extension in capitals."""
    suffix = Path(name).suffix
    kind = _KIND.fullmatch(suffix)
    return kind[1].upper() if kind is not None else "with an odd extension" if suffix else "without extension"


def _keep_split(found: Listing, split: str) -> None:
    """Of a folder with a folder of images for each split, the images of one."""
    kept = [one for one in found.candidates if Path(one.name).parts[0] == split and len(Path(one.name).parts) > 1]
    if not kept:
        raise ImageError(
            f"{found.root}: has no split {split!r}", hint=f"image_split={split} needs a folder {split} inside it"
        )
    found.not_read["images of other splits"] += len(found.candidates) - len(kept)
    found.candidates = kept


def _of_one_split(root: Path, tables: Sequence[Path], wanted: str | None) -> tuple[list[Path], dict[str, int]]:
    """The tables of the split to take, and how many there are of each other one."""
    named = _saved_splits(root)
    tables = _of_saved_state(tables)
    by_split: dict[str | None, list[Path]] = {}
    for table in tables:
        by_split.setdefault(_split(root, table, named), []).append(table)
    names = sorted(name for name in by_split if name is not None)
    if wanted is None and len(by_split) == 1:
        return list(tables), {}
    chosen = wanted if wanted is not None else "train"
    if chosen not in by_split:
        if wanted is None and not names:
            return list(tables), {}
        what = f"has no split {chosen!r}" if wanted else f"has the splits {', '.join(names)} and no train"
        way_out = f"choose one: image_split={names[0]}" if names else "its tables have no splits: leave image_split out"
        raise ImageError(f"{root}: {what}", hint=way_out)
    return by_split[chosen], {name or "unnamed": len(by_split[name]) for name in by_split if name != chosen}


def _split(root: Path, table: Path, named: Sequence[str]) -> str | None:
    """The split that a table belongs to by its name or its folder, as the hub and `datasets` name them."""
    shard = _SHARD.fullmatch(table.stem)
    if shard is not None and shard["split"] != "data":
        return shard["split"]
    folders = table.relative_to(root).parts[:-1]
    for folder in reversed(folders):
        if folder in named or folder.lower() in _SPLITS:
            return folder
    return next((part for part in re.split(r"[-_.]", table.stem) if part.lower() in _SPLITS), None)


def _saved_splits(root: Path) -> list[str]:
    """The splits that `DatasetDict.save_to_disk` wrote down."""
    found = _json(root / "dataset_dict.json").get("splits")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _of_saved_state(tables: Iterable[Path]) -> list[Path]:
    """Without the cache files that `datasets` leaves beside the tables which `save_to_disk` wrote down."""
    states: dict[Path, set[str] | None] = {}
    kept = []
    for table in tables:
        if table.parent not in states:
            files = _json(table.parent / "state.json").get("_data_files")
            names = {one.get("filename") for one in files if isinstance(one, dict)} if isinstance(files, list) else None
            states[table.parent] = None if names is None else {str(name) for name in names}
        named = states[table.parent]
        if named is None or table.name in named:
            kept.append(table)
    return kept


def _json(path: Path) -> dict[str, object]:
    try:
        if not path.is_file() or path.stat().st_size > _STATE:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{path}: cannot be read ({error})", hint="save the data set again") from error
    return found if isinstance(found, dict) else {}


def _unreadable_folder(error: OSError) -> None:
    raise ImageError(f"{error.filename}: cannot be listed ({error.strerror})", hint="check its permissions") from error
