"""Images listed in a file: .jsonl (an object per line) or .parquet, with a column `image`.

`image` is a path relative to the manifest's own folder, and must stay inside it: a row with "..", "~", a
URL, a drive or network path, control characters, an absolute path or a link that leads outside is an error
that names the row, for the whole manifest, since such a list is wrong or hostile. A file that is missing or
damaged goes into quarantine instead, as in a folder.

An optional column `id` (letters, digits, ".", "_", "-", at most 64) names the image "m-<id>"; without it
the id is the hash of the content. All other columns are ignored: what a data set says about an image,
answers above all, has no way into training.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from selfsight.images.files import Candidate, FileSource, resolve
from selfsight.images.safe import ImageError, Limits

SUFFIXES: Final = (".jsonl", ".parquet")
_SCHEME_OR_DRIVE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")


class ManifestSource(FileSource):
    """The images listed in `path` in an order fixed by `seed`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        max_bad_fraction: float = 0.01,
    ) -> None:
        manifest = resolve(Path(path))
        if not manifest.is_file():
            raise ImageError(f"{path}: is not a file", hint="give a .jsonl or .parquet manifest")
        root = manifest.parent
        super().__init__(
            name=f"manifest:{manifest.name}",
            root=root,
            candidates=_candidates(manifest, root),
            refused=(),
            seed=seed,
            limits=limits,
            max_bad_fraction=max_bad_fraction,
        )
        if not self._files:
            raise ImageError(f"{path}: lists no images", hint='each row needs a path in its column "image"')


def inside(root: Path, text: str) -> Path:
    """The file a manifest's row means, which is inside `root` (already resolved); ImageError says what is
    wrong.
    """
    shown = repr(text if len(text) <= 200 else text[:200] + "...")
    if not text.strip():
        raise ImageError("the path is empty")
    if _CONTROL.search(text):
        raise ImageError(f"{shown} has control characters")
    if _SCHEME_OR_DRIVE.match(text):
        raise ImageError(f"{shown} is a URL or has a drive letter; only files beside the manifest are read")
    if "\\" in text or text.startswith("//"):
        raise ImageError(f"{shown} is a network or Windows path; write it with single '/'")
    parts = PurePosixPath(text).parts
    if ".." in parts or text.startswith("~"):
        raise ImageError(f"{shown} leaves the manifest's folder")
    path = root / text
    if not resolve(path).is_relative_to(root):
        raise ImageError(f"{shown} leads outside the manifest's folder")
    return path


def _candidates(manifest: Path, root: Path) -> Iterator[Candidate]:
    rows = _parquet_rows(manifest) if manifest.suffix.lower() == ".parquet" else _jsonl_rows(manifest)
    row_of_id: dict[str, int] = {}
    for row, image, given_id in rows:
        if not isinstance(image, str):
            raise ImageError(
                f'{manifest}: row {row}: column "image" holds {type(image).__name__}, not text',
                hint="give a path relative to the manifest's folder; embedded images must be saved to files",
            )
        try:
            path = inside(root, image)
        except ImageError as error:
            raise ImageError(
                f"{manifest}: row {row}: {error.message}",
                hint="give paths relative to the manifest's folder, of files inside it",
            ) from error
        if given_id is not None:
            if not isinstance(given_id, str | int) or not _ID.fullmatch(str(given_id)):
                raise ImageError(
                    f"{manifest}: row {row}: id {given_id!r:.100} cannot name an image",
                    hint='use 1 to 64 letters, digits, ".", "_" or "-"',
                )
            if str(given_id) in row_of_id:
                raise ImageError(
                    f"{manifest}: row {row}: id {given_id!r} was used in row {row_of_id[str(given_id)]}",
                    hint="give each image its own id, or leave the column out",
                )
            row_of_id[str(given_id)] = row
        yield Candidate(image, path, None if given_id is None else f"m-{given_id}")


def _jsonl_rows(manifest: Path) -> Iterator[tuple[int, object, object]]:
    with manifest.open("rb") as lines:
        for row, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ImageError(
                    f"{manifest}: row {row}: is not JSON ({error})", hint="write one JSON object per line"
                ) from error
            if not isinstance(record, dict) or "image" not in record:
                raise ImageError(f'{manifest}: row {row}: has no "image"', hint='write {"image": "folder/picture.jpg"}')
            yield row, record["image"], record.get("id")


def _parquet_rows(manifest: Path) -> Iterator[tuple[int, object, object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(manifest)
        columns = file.schema_arrow.names
        if "image" not in columns:
            raise ImageError(
                f'{manifest}: has no column "image", only {", ".join(columns) or "none"}',
                hint="name the column of relative paths image",
            )
        has_id = "id" in columns
        row = 0
        for batch in file.iter_batches(columns=["image", "id"] if has_id else ["image"]):
            images = batch.column("image").to_pylist()
            ids = batch.column("id").to_pylist() if has_id else [None] * len(images)
            for image, given_id in zip(images, ids, strict=True):
                row += 1
                yield row, image, given_id
    except (pyarrow.ArrowException, OSError) as error:
        raise ImageError(f"{manifest}: is not a readable Parquet file ({error})", hint="write it again") from error
