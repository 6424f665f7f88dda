"""Records as Parquet tables: an explicit schema, strict in both directions, the same bytes for the same
records.

Arrow fills what a record lacks with nulls and drops what the schema lacks, both silently; here either is an
error, since a question that lost its label must not look like one that has none. Kept out of
`selfsight.run`'s door because importing pyarrow takes a quarter of a second.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from selfsight.errors import SelfsightError
from selfsight.run.atomic import write_atomic

_RESTORE: Final = (
    "restore it from a copy; `selfsight resume` of its run repeats the stage that wrote it if a checkpoint from before "
    "that stage is left, and says so if not"
)


def write_table(path: Path, records: Sequence[Mapping[str, object]], schema: pa.Schema) -> None:
    """Replace `path` by a table of `records`, in their order. Errors name the row and the column."""
    names = set(schema.names)
    for row, record in enumerate(records):
        if record.keys() != names:
            missing, unknown = sorted(names - record.keys()), sorted(record.keys() - names)
            raise SelfsightError(
                f"{path}: row {row}: columns missing {missing}, unknown {unknown}",
                hint="the record and the table's schema must have the same columns",
            )
    columns = [_column(path, records, column) for column in schema]
    write_columns(path, pa.Table.from_arrays(columns, schema=schema))


def write_columns(path: Path, table: pa.Table) -> None:
    """Replace `path` by a table that is held as columns: one that is too long for its rows to be Python's."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.combine_chunks(),  # where its pieces met must not show in the bytes
        sink,
        version="2.6",
        compression="zstd",
        compression_level=3,
        row_group_size=65_536,
        write_statistics=True,
        write_page_checksum=True,  # Parquet's own CRC-32 of every page: other readers ignore or verify it
    )
    write_atomic(path, sink.getvalue().to_pybytes())


def _column(path: Path, records: Sequence[Mapping[str, object]], column: pa.Field) -> pa.Array:
    try:
        array = pa.array([record[column.name] for record in records], type=column.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SelfsightError(f"{path}: column {column.name!r}: {error}", hint=f"its type is {column.type}") from error
    if array.null_count and not column.nullable:
        row = next(row for row, record in enumerate(records) if record[column.name] is None)
        raise SelfsightError(f"{path}: row {row}: column {column.name!r} must not be empty")
    return array


def read_table(path: Path, schema: pa.Schema) -> list[dict[str, object]]:
    """The records of a table with this very schema."""
    table = read_columns(path, schema)
    try:
        records: list[dict[str, object]] = table.to_pylist()
    except UnicodeDecodeError as error:  # a text column that is not UTF-8, which Arrow does not look at
        raise _damaged(path, error) from error
    return records


def read_columns(path: Path, schema: pa.Schema) -> pa.Table:
    """The same as columns."""
    try:
        # Pages without a checksum (written by earlier versions) are read as they are.
        table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise SelfsightError(f"{path}: does not exist", hint=_RESTORE) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        # Damage in the footer can ask for any amount of memory.
        raise _damaged(path, error) from error
    if not table.schema.equals(schema):
        try:
            names = table.schema.names
        except UnicodeDecodeError as error:
            raise _damaged(path, error) from error
        raise SelfsightError(
            f"{path}: has the columns {names}, expected {schema.names} with the schema's types",
            hint="it was written by another version; use that version, or start a new run",
        )
    return table


def _damaged(path: Path, error: Exception) -> SelfsightError:
    return SelfsightError(f"{path}: is damaged ({error})", hint=_RESTORE)
