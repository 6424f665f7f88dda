"""Images listed in a file: .jsonl or .ndjson (an object per line), .csv, .tsv, .parquet or .arrow.

The column `image` holds the images, or the only column with another usual name (`tables.IMAGE_COLUMNS`). A cell is a
path relative to the list's own folder, which must stay inside it, or, in Parquet and Arrow, the image itself: bytes,
or the hub's bytes and path. A cell may hold a list of them. A row with "..", "~", a URL, a drive or network path,
control characters, an absolute path or a link that leads outside is an error that names the row, for the whole list,
since such a list is wrong or hostile. A row that cannot be understood and a file that is missing or damaged go into
quarantine instead, as in a folder.

A row without an image (an empty cell, no such column) is passed over and counted, and is no bad row: data sets for
instruction tuning mix rows of text with rows of images on purpose, often more of them than `max_bad_fraction`.

An optional column `id` (letters, digits, ".", "_", "-", at most 64) names the image "m-<id>"; without it, and for
images inside a table, the id is the hash of the content. All other columns are ignored: what a data set says about an
image, answers above all, has no way into training.
"""

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from selfsight.images.files import BadImage, Candidate, FileSource, Listing, is_inside, resolve
from selfsight.images.heartbeat import Heartbeat
from selfsight.images.safe import ImageError, Limits, check_bytes, content_id, shortened
from selfsight.images.tables import MAX_PATH, TABLES, TooLong, cell_name, choose_column, columns_of, pictures_of, rows

LISTS: Final = (".jsonl", ".ndjson", ".csv", ".tsv")
SUFFIXES: Final = (*LISTS, *TABLES)
MAX_LINE: Final = 1_000_000
_ALL_PATHS: Final = 500_000_000  # bytes of paths in one source
_SCHEME_OR_DRIVE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")


class ManifestSource(FileSource):
    """The images listed in `path`, or held in the table `path`, in an order fixed by `seed`.

    `column` names the column of images where the usual names do not decide it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        max_bad_fraction: float = 0.01,
        column: str | None = None,
    ) -> None:
        manifest = place_of(Path(path))
        if not manifest.is_file():
            raise ImageError(f"{path}: is not a file", hint=f"give a list of images ({', '.join(SUFFIXES)})")
        found = list_manifest(manifest, limits, column)
        super().__init__(
            name=f"manifest:{manifest.name}",
            root=manifest.parent,
            candidates=found.candidates,
            refused=found.refused,
            seed=seed,
            limits=limits,
            max_bad_fraction=max_bad_fraction,
            listing=found,
        )
        if not self._files:
            without = f", only {found.no_image} rows without one" if found.no_image else ""
            raise ImageError(
                f"{path}: lists no images{without}",
                hint="each row needs an image or its path; say in which column it is with image_column=NAME",
            )


def place_of(path: Path) -> Path:
    """The file that a list or table is: what `path` links to, unless that has no extension (as in the hub's cache)."""
    target = resolve(path)
    return target if target.suffix.lower() in SUFFIXES else resolve(path.parent) / path.name


def list_manifest(manifest: Path, limits: Limits, column: str | None) -> Listing:
    """All images of one list or table; their root is its folder."""
    found, collected = Listing(manifest.parent), Rows(limits)
    if manifest.suffix.lower() in TABLES:
        list_table(manifest, manifest.parent, collected, column, ids=True)
    else:
        read = _csv_rows if manifest.suffix.lower() in (".csv", ".tsv") else _jsonl_rows
        for row, image, given_id in read(manifest, column):
            collected.add(manifest, manifest.parent, row, image, given_id, column or "image")
    collected.into(found)
    return found


def list_table(table: Path, root: Path, collected: "Rows", column: str | None, *, ids: bool = False) -> None:
    """Adds the images of a Parquet or Arrow file to `collected`, each looked at while the file is read once."""
    if not is_inside(table, root):
        raise ImageError(f"{shortened(table)}: is a link that leads outside the folder", hint="copy the file itself")
    chosen, has_id = columns_of(table, column)
    columns = [chosen, "id"] if has_id and ids and chosen != "id" else [chosen]
    beat = Heartbeat(table.name)
    for row, values in rows(table, columns, most=collected.limits.max_bytes):
        beat.step()
        collected.add(table, root, row + 1, values[0], values[1] if len(values) > 1 else None, chosen)


class Rows:
    """Collects the images that rows of lists and tables name or hold."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._candidates: list[Candidate] = []
        self._refused: list[BadImage] = []
        self._no_image = self._repeated = self._bytes_of_paths = 0
        self._row_of_id: dict[str, int] = {}
        self._seen: set[str] = set()

    def into(self, found: Listing) -> None:
        """Hands over what was collected."""
        found.candidates += self._candidates
        found.refused += self._refused
        found.no_image += self._no_image
        found.repeated += self._repeated

    def add(self, file: Path, root: Path, row: int, value: object, given_id: object, column: str) -> None:
        """One row (from 1). ImageError when it leaves the folder, or when its id cannot name an image."""
        if isinstance(value, _BadRow):
            self._refuse(file, row, value.reason)
            return
        try:
            pictures = pictures_of(value)
        except TypeError as error:
            self._refuse(file, row, f'column "{column}" holds {error}, no image and no path')
            return
        if not pictures:
            self._no_image += 1
            return
        several = isinstance(value, list) and len(pictures) > 1
        id = None if any(isinstance(one, bytes) for one in pictures) else self._id(file, row, given_id)
        for item, picture in enumerate(pictures):
            if isinstance(picture, TooLong):
                most = self.limits.max_bytes if picture.length > self.limits.max_bytes else 4 * MAX_PATH
                self._refuse(file, row, f"holds {picture.length:,} bytes, more than the limit of {most:,}")
            elif isinstance(picture, bytes):
                name = cell_name(file.relative_to(root).as_posix(), column, row - 1, item if several else None)
                self._add_bytes(name, root / name, picture)
            else:
                self._add_path(file, root, row, picture, None if id is None else f"m-{id}{f'.{item}' * several}")

    def _add_bytes(self, name: str, path: Path, data: bytes) -> None:
        try:
            check_bytes(data, str(path), self.limits)
        except ImageError as error:
            self._refused.append(BadImage(str(path), error.message))
        else:
            self._candidates.append(Candidate(name, path, content=content_id(data), nbytes=len(data)))

    def _add_path(self, file: Path, root: Path, row: int, text: str, id: str | None) -> None:
        key = f"{file.parent}\0{text}"
        if key in self._seen:  # many questions about one image
            self._repeated += 1
            return
        if len(text) > MAX_PATH:
            self._refuse(file, row, f"a path of {len(text):,} characters, more than the limit of {MAX_PATH:,}")
            return
        self._seen.add(key)
        self._bytes_of_paths += len(text)
        if self._bytes_of_paths > _ALL_PATHS:
            raise ImageError(f"{shortened(file)}: lists more than {_ALL_PATHS:,} bytes of paths", hint="split the list")
        try:
            path = inside(file.parent, text)
        except ImageError as error:
            raise ImageError(
                f"{shortened(file)}: row {row}: {error.message}",
                hint="give paths relative to the manifest's folder, of files inside it",
            ) from error
        # Under `root` the name gives the path back.
        name = text if file.parent == root and root / text == path else os.path.relpath(path, root)
        self._candidates.append(Candidate(name, path, id))

    def _id(self, file: Path, row: int, given: object) -> str | None:
        if given is None or given != given:  # NaN: how pandas writes an empty cell
            return None
        if isinstance(given, float) and given.is_integer():
            given = int(given)
        if not isinstance(given, str | int) or not _ID.fullmatch(str(given)):
            raise ImageError(
                f"{shortened(file)}: row {row}: id {given!r:.100} cannot name an image",
                hint='use 1 to 64 letters, digits, ".", "_" or "-"',
            )
        before = self._row_of_id.setdefault(str(given), row)
        if before != row:
            raise ImageError(
                f"{shortened(file)}: row {row}: id {given!r} was used in row {before}",
                hint="give each image its own id, or leave the column out",
            )
        return str(given)

    def _refuse(self, file: Path, row: int, reason: str) -> None:
        self._refused.append(BadImage(f"{file}#row {row}", f"{shortened(file)}: row {row}: {reason}"))


class _BadRow:
    """Stands for a row that could not be read."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def inside(root: Path, text: str) -> Path:
    """The file a manifest's row means, which is inside `root` (already resolved); ImageError says what is
    wrong.
    """
    shown = repr(text if len(text) <= 200 else text[:200] + "...")
    if not text.strip():
        raise ImageError("the path is empty")
    if len(text) > MAX_PATH:
        raise ImageError(f"{shown} has {len(text):,} characters, more than the limit of {MAX_PATH:,}")
    if _CONTROL.search(text):
        raise ImageError(f"{shown} has control characters")
    if text.lower().startswith("file://"):
        text = _path_of_url(text, shown)
    if _SCHEME_OR_DRIVE.match(text):
        raise ImageError(f"{shown} is a URL or has a drive letter; only files beside the manifest are read")
    if "\\" in text or text.startswith("//"):
        raise ImageError(f"{shown} is a network or Windows path; write it with single '/'")
    parts = PurePosixPath(text).parts
    if ".." in parts or text.startswith("~"):
        raise ImageError(f"{shown} leaves the manifest's folder")
    path = root / text
    if not is_inside(path, root):
        raise ImageError(f"{shown} leads outside the manifest's folder")
    return path


def _path_of_url(url: str, shown: str) -> str:
    """The absolute path that a file:// URL means, checked further like any other."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ImageError(f"{shown} is no URL ({error})") from error
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or _CONTROL.search(path):
        raise ImageError(f"{shown} is a URL that is not a file of this machine")
    return path


def _jsonl_rows(manifest: Path, wanted: str | None) -> Iterator[tuple[int, object, object]]:
    beat = Heartbeat(manifest.name)
    for row, line in _lines(manifest):
        beat.step()
        if line is None:
            yield row, _BadRow(f"is longer than {MAX_LINE:,} bytes"), None
            continue
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield row, _BadRow(f"is not JSON ({error})"), None
            continue
        if not isinstance(record, dict):
            yield row, _BadRow('is no object; write {"image": "folder/picture.jpg"}'), None
            continue
        filled = [name for name, value in record.items() if value not in (None, "", [])]
        column = choose_column(filled, wanted, f"{shortened(manifest)}: row {row}")
        yield row, None if column is None else record[column], record.get("id")


def _csv_rows(manifest: Path, wanted: str | None) -> Iterator[tuple[int, object, object]]:
    def texts() -> Iterator[str]:
        for row, line in _lines(manifest):
            if line is None:
                raise ImageError(
                    f"{shortened(manifest)}: row {row}: is longer than {MAX_LINE:,} bytes", hint="split or remove it"
                )
            yield line.decode("utf-8-sig" if row == 1 else "utf-8")

    try:
        reader = csv.DictReader(texts(), delimiter="\t" if manifest.suffix.lower() == ".tsv" else ",", strict=True)
        names = list(reader.fieldnames or [])
        column = choose_column(names, wanted, shortened(manifest))
        if column is None:
            raise ImageError(
                f'{shortened(manifest)}: has no column "{wanted or "image"}", only {", ".join(names)[:1000] or "none"}',
                hint="the first line names the columns; say which one holds the paths: image_column=NAME",
            )
        for record in reader:
            yield reader.line_num, record[column], record.get("id") or None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ImageError(f"{shortened(manifest)}: is not readable CSV ({error})", hint="save it as UTF-8") from error


def _lines(manifest: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file with their numbers, from 1; None for one that is too long, which is not held in memory."""
    with manifest.open("rb") as stream:
        row = 0
        while line := stream.readline(MAX_LINE + 1):
            row += 1
            if len(line) <= MAX_LINE:
                yield row, line
                continue
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield row, None
