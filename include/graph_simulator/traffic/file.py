"""Read a traffic file, and say plainly what is wrong with it.

    Parquet ─▶ columns and types checked ─▶ row groups read one by one ─▶ one Arrow table

A row group that cannot be decoded is counted and left out; the rest of the file still plays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from graph_simulator.traffic.errors import TrafficFileError

__all__ = ["TrafficFile", "read_traffic_file"]


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_text_list(kind: pa.DataType) -> bool:
    is_list = types.is_list(kind) or types.is_large_list(kind)
    return bool(is_list and (_is_text(kind.value_type) or types.is_null(kind.value_type)))


@dataclass(frozen=True, slots=True)
class _Column:
    expected: str
    fits: Callable[[pa.DataType], bool]
    target: pa.DataType
    required: bool = True


_LIST = pa.list_(pa.string())
_COLUMNS = {
    "message_id": _Column("string", _is_text, pa.string()),
    "sent_at": _Column(
        "timestamp (UTC)", lambda kind: bool(types.is_timestamp(kind)), pa.timestamp("us", "UTC")
    ),
    "sender": _Column("string", _is_text, pa.string()),
    "sender_internal": _Column("boolean", lambda kind: bool(types.is_boolean(kind)), pa.bool_()),
    "to": _Column("list of strings", _is_text_list, _LIST),
    "cc": _Column("list of strings", _is_text_list, _LIST),
    "clock": _Column("string", _is_text, pa.string(), required=False),
    "date_ok": _Column(
        "boolean", lambda kind: bool(types.is_boolean(kind)), pa.bool_(), required=False
    ),
    "conversation_id": _Column("string", _is_text, pa.string(), required=False),
    "attachment_hints": _Column(
        "integer", lambda kind: bool(types.is_integer(kind)), pa.int64(), required=False
    ),
}


@dataclass(frozen=True, slots=True)
class TrafficFile:
    """The columns a replay needs, with missing optional ones filled with nulls."""

    table: pa.Table
    unreadable_rows: int


def read_traffic_file(path: Path) -> TrafficFile:
    """Read `path`, checked.

    Raises TrafficFileError when the file is missing, is not Parquet, lacks a column, has a
    column of the wrong type, or has no readable row.
    """
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise TrafficFileError(
            f"there is no file {path.name!r} in {path.parent}", "Check the path after --traffic"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise TrafficFileError(
            f"{path.name!r} cannot be opened as Parquet ({type(error).__name__})",
            "Copy the file again, or write it with pyarrow, DuckDB or pandas",
        ) from None
    with file:
        present = _check_schema(file.schema_arrow, path.name)
        tables: list[pa.Table] = []
        unreadable = 0
        for group in range(file.num_row_groups):
            try:
                tables.append(_shaped(file.read_row_group(group, columns=present)))
            except (pa.ArrowException, OSError):
                unreadable += file.metadata.row_group(group).num_rows
        rows = file.metadata.num_rows
    if not any(len(table) for table in tables):
        why = f"none of its {rows} rows can be read" if rows else "it has no rows"
        raise TrafficFileError(f"{path.name!r}: {why}", "Copy or export the file again")
    return TrafficFile(pa.concat_tables(tables), unreadable)


def _check_schema(schema: pa.Schema, name: str) -> list[str]:
    missing = [c for c, want in _COLUMNS.items() if want.required and c not in schema.names]
    if missing:
        raise TrafficFileError(
            f"{name!r} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}",
            "A traffic file has one row a message with the columns "
            + ", ".join(f"{c} ({want.expected})" for c, want in _COLUMNS.items() if want.required),
        )
    for column, want in _COLUMNS.items():
        if column in schema.names:
            kind = schema.field(column).type
            if not (want.fits(kind) or (not want.required and types.is_null(kind))):
                raise TrafficFileError(
                    f"column {column} of {name!r} is {kind}, not {want.expected}",
                    f"Write it as {want.expected}",
                )
    return [column for column in _COLUMNS if column in schema.names]


def _shaped(table: pa.Table) -> pa.Table:
    """Give every row group the same columns and types."""
    columns = []
    for name, want in _COLUMNS.items():
        if name not in table.column_names:
            columns.append(pa.nulls(len(table), want.target))
            continue
        columns.append(_decoded(table.column(name).combine_chunks(), want.target))
    return pa.table(columns, names=list(_COLUMNS))


def _decoded(column: pa.Array, target: pa.DataType) -> pa.Array:
    """The column in its target type; a text that is not UTF-8 becomes null, its row is judged
    with the others."""
    cast = column.cast(target)
    try:
        cast.validate(full=True)
    except pa.ArrowInvalid:
        if types.is_list(target):
            texts = _decoded(cast.values, target.value_type)
            return pa.ListArray.from_arrays(cast.offsets, texts, mask=cast.is_null())
        raw = cast.cast(pa.binary()).to_pylist()
        return pa.array([_text(value) for value in raw], target)
    return cast


def _text(raw: bytes | None) -> str | None:
    try:
        return raw.decode() if raw is not None else None
    except UnicodeDecodeError:
        return None
