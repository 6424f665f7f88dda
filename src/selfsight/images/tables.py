"""Tables that hold images: Parquet files and Arrow files, as the Hugging Face hub and `datasets` write them.

An image in a table is named "FILE#COLUMN[ROW]" (rows from 0, as in `dataset[ROW]`), with a further "[ITEM]" where a
row holds a list of several. Such a name stands wherever else the path of a file stands, and `read_cell` reads it.

A table is never loaded as a whole: rows come in small batches from one row group at a time, and one image is read by
going to its row group. What the file says about its sizes is looked at before anything is unpacked, and values that
are too long are told by their length, not copied.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfsight.images.safe import ImageError, shortened

TABLES: Final = (".parquet", ".arrow")
# Names under which data sets keep their images or the paths of them.
IMAGE_COLUMNS: Final = (
    "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpg", "jpeg", "png", "webp",
    "file_name", "filename", "file_path", "filepath", "file", "image_path", "image_file", "img_path", "path",
)  # fmt: skip
_CELL: Final = re.compile(
    r"(?P<file>.+\.(?:parquet|arrow))#(?P<column>.+?)\[(?P<row>\d{1,12})\](?:\[(?P<item>\d{1,6})\])?",
    re.DOTALL | re.IGNORECASE,
)
MAX_PATH: Final = 4_096
_ROWS_OF_TEXT: Final = 1_024
_ROWS_OF_IMAGES: Final = 16
_TEXT_CHUNK: Final = 256_000_000
_IMAGE_CHUNK: Final = 2_000_000_000
_UNPACKED: Final = 1_000_000_000


@dataclass(frozen=True)
class TooLong:
    """Stands for a value that was not read because of its length."""

    length: int


def cell_name(table: str, column: str, row: int, item: int | None) -> str:
    """The name of an image inside a table."""
    return f"{table}#{column}[{row}]" + ("" if item is None else f"[{item}]")


def table_of(path: Path) -> Path | None:
    """The file of the table when `path` names an image inside one; None for a file of its own."""
    found = _CELL.fullmatch(str(path))
    return None if found is None else Path(found["file"])


def read_cell(path: Path, most: int) -> bytes:
    """The bytes of the image that `path` names; ImageError when the row holds none, or more than `most` bytes."""
    found = _CELL.fullmatch(str(path))
    if found is None:
        raise ImageError(f"{shortened(path)}: names no image in a table", hint="give FILE#COLUMN[ROW]")
    row, item = int(found["row"]), int(found["item"] or 0)
    for _, values in rows(Path(found["file"]), [found["column"]], most=most, first=row):
        pictures = pictures_of(values[0])
        if item < len(pictures) and isinstance(pictures[item], bytes):
            picture = pictures[item]
            assert isinstance(picture, bytes)
            return picture
        break
    raise ImageError(f"{shortened(path)}: holds no image", hint="put the original table back, or start a new run")


def pictures_of(value: object) -> list[bytes | str | TooLong]:
    """The images of a cell: bytes or paths; none for an empty cell. TypeError for what can be no image."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):  # NaN: pandas' empty cell
        return []
    if isinstance(value, bytes | str | TooLong):
        return [value]
    if isinstance(value, list):
        return [picture for one in value for picture in pictures_of(one)]
    if isinstance(value, dict) and value.keys() & {"bytes", "path"}:
        inner = value.get("bytes")
        if isinstance(inner, bytes | TooLong):
            return [inner]
        path = value.get("path")
        if inner is None and (path is None or isinstance(path, str | TooLong)):
            return pictures_of(path)
    raise TypeError(type(value).__name__)


def choose_column(names: Sequence[str], wanted: str | None, where: str, typed: Sequence[str] = ()) -> str | None:
    """The column of images: the one asked for, else `image`, else the only one of the type that the hub gives images
    (`typed`), else the only one with a usual name. None when there is none; ImageError when several could be it.
    """
    if wanted is not None:
        return wanted if wanted in names else None
    if "image" in names:
        return "image"
    usual = [name for name in names if name in typed] or [name for name in names if name in IMAGE_COLUMNS]
    if len(usual) > 1:
        raise ImageError(
            f"{where}: any of the columns {', '.join(usual)} could hold the images",
            hint=f"choose one, for example image_column={usual[0]}",
        )
    return usual[0] if usual else None


def columns_of(path: Path, wanted: str | None) -> tuple[str, bool]:
    """The column of images of a table, and whether it has a column `id`."""
    import pyarrow as pa

    with _readable(path):
        schema = _schema(path)
        typed = [field.name for field in schema if _holds_images(field.type, pa)]
        column = choose_column(schema.names, wanted, shortened(path), typed)
        if column is None:
            names = ", ".join(schema.names)[:1000] or "none"
            raise ImageError(
                f'{shortened(path)}: has no column "{wanted or "image"}", only {names}',
                hint="say which column holds the images or their paths: image_column=NAME",
            )
        kind = schema.field(column).type
        if not _could_hold_images(kind, pa):
            raise ImageError(
                f'{shortened(path)}: column "{column}" holds {kind}, which can be no image',
                hint="say which column holds the images or their paths: image_column=NAME",
            )
    return column, "id" in schema.names


def rows(path: Path, columns: Sequence[str], *, most: int, first: int = 0) -> Iterator[tuple[int, list[object]]]:
    """Rows from `first` on: the row's number, from 0, and its values in the order of `columns`.

    Values longer than `most` bytes come as `TooLong`.
    """
    with _readable(path):
        batches = _arrow_batches(path, columns, first) if _is_arrow(path) else _parquet_batches(path, columns, first)
        for start, batch in batches:
            found = [_values(batch.column(name), most) for name in columns]
            for place in range(batch.num_rows):
                if start + place >= first:
                    yield start + place, [column[place] for column in found]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError, IndexError, UnicodeDecodeError) as error:
        kind = "Arrow" if _is_arrow(path) else "Parquet"
        raise ImageError(
            f"{shortened(path)}: is not a readable {kind} file ({error!s:.300})", hint="download or write it again"
        ) from error


def _is_arrow(path: Path) -> bool:
    return path.suffix.lower() == ".arrow"


def _schema(path: Path) -> Any:
    import pyarrow.parquet

    if _is_arrow(path):
        with _arrow_reader(path) as reader:
            return reader.schema
    with pyarrow.parquet.ParquetFile(path) as file:
        return file.schema_arrow


@contextmanager
def _arrow_reader(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        opened = pa.ipc.open_file if source.read(6) == b"ARROW1" else pa.ipc.open_stream
        source.seek(0)
        with opened(source) as reader:
            yield reader


def _arrow_batches(path: Path, columns: Sequence[str], first: int) -> Iterator[tuple[int, Any]]:
    start = 0
    with _arrow_reader(path) as reader:
        for batch in _record_batches(reader):
            if start + batch.num_rows > first:
                chosen = batch.select(list(columns))
                # The file states where each value begins; nobody has checked that these places exist.
                chosen.validate(full=True)
                skipped = max(0, first - start)
                for place in range(skipped, chosen.num_rows, _ROWS_OF_IMAGES):
                    yield start + place, chosen.slice(place, _ROWS_OF_IMAGES)
            start += batch.num_rows


def _record_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(place) for place in range(reader.num_record_batches))
    else:
        yield from reader


def _parquet_batches(path: Path, columns: Sequence[str], first: int) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as plain:
        schema = plain.schema_arrow
        texts = [name for name in columns if pa.types.is_string(schema.field(name).type)]
        only_text = len(texts) == len(columns) or not _holds_bytes(schema.field(columns[0]).type, pa)
    # Repeated texts stay one text each, however many rows repeat them.
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20) as file:
        start = 0
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            if start + group.num_rows > first:
                size = _rows_at_once(path, group, number, columns, only_text)
                place = start
                for batch in file.iter_batches(size, row_groups=[number], columns=list(columns), use_threads=False):
                    if place + batch.num_rows > first:
                        yield place, batch
                    place += batch.num_rows
            start += group.num_rows


def _rows_at_once(path: Path, group: Any, number: int, columns: Sequence[str], only_text: bool) -> int:
    """How many rows of a row group are unpacked at once, so that no more than 1 GB is, even if a table repeats its
    largest value; ImageError when the group is too large to be read safely.
    """
    most = _TEXT_CHUNK if only_text else _IMAGE_CHUNK
    # pyarrow ends the process on some damaged column metadata, so those are looked at only where they decide.
    if group.total_byte_size > most:
        size = sum(
            column.total_uncompressed_size
            for column in (group.column(place) for place in range(group.num_columns))
            if column.path_in_schema.split(".")[0] in columns
        )
        if size > most:
            raise ImageError(
                f'{shortened(path)}: column "{columns[0]:.100}" has {size:,} bytes in row group {number}, '
                f"more than the limit of {most:,}",
                hint="write the table again with smaller row groups",
            )
    if only_text:
        return _ROWS_OF_TEXT
    return max(1, min(_ROWS_OF_IMAGES, _UNPACKED // max(1, group.total_byte_size)))


def _holds_images(kind: Any, pa: Any) -> bool:
    """Whether a column has the type that the hub gives images: bytes and path."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_images(kind.value_type, pa)
    return pa.types.is_struct(kind) and {"bytes", "path"} <= _parts(kind)


def _parts(kind: Any) -> set[str]:
    return {kind.field(place).name for place in range(kind.num_fields)}


def _holds_bytes(kind: Any, pa: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type, pa)
    return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _could_hold_images(kind: Any, pa: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _could_hold_images(kind.value_type, pa)
    if pa.types.is_struct(kind):
        return bool({"bytes", "path"} & _parts(kind))
    if pa.types.is_dictionary(kind):
        return _could_hold_images(kind.value_type, pa)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    return text or _holds_bytes(kind, pa)


def _values(array: Any, most: int) -> list[object]:
    """A column's values as Python's; what is longer than it may be is not copied out of the table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        known = _values(array.dictionary, most)
        return [None if place is None else known[place] for place in array.indices.to_pylist()]
    if pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        parts = {name: _values(part, most) for name, part in zip(names, array.flatten(), strict=True)
                 if name in ("bytes", "path")}  # fmt: skip
        valid = array.is_valid().to_pylist()
        return [{name: part[row] for name, part in parts.items()} if valid[row] else None for row in range(len(array))]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner, lengths, lists, at = _values(array.flatten(), most), pc.list_value_length(array).to_pylist(), [], 0
        for length in lengths:
            lists.append(None if length is None else inner[at : at + length])
            at += length or 0
        return list(lists)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        limit = 4 * MAX_PATH if text else most
        lengths = pc.binary_length(array).to_pylist()
        if max((length or 0 for length in lengths), default=0) > limit:
            return [
                TooLong(length) if (length or 0) > limit else array[place].as_py()
                for place, length in enumerate(lengths)
            ]
    values: list[object] = array.to_pylist()
    return values
