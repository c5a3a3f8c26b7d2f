"""The digest of an hour: a number for its rows, whatever way they came.

SHA-256 over the sorted rows in parts of 20,480, column by column in schema order:
1. a column with nulls in this part first gives one byte a row (1 = there, 0 = null);
2. then its values as Arrow lays them out, little-endian, null slots as zero or empty;
   booleans and words as one byte and as text; texts, bytes and lists as 32-bit lengths, then
   content.
Nothing that depends on batches, threads, dictionaries or the writing library goes in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from outlook_lake.errors import ForeignFileError
from outlook_lake.events.schema import EVENT_SCHEMA

__all__ = ["PLAIN_SCHEMA", "Footer", "RowDigest", "read_digest", "read_footer"]


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


PLAIN_SCHEMA = pa.schema([pa.field(field.name, _plain(field.type)) for field in EVENT_SCHEMA])
"""EVENT_SCHEMA with words as text: what is digested."""


class RowDigest:
    """Takes the rows of an hour in order, in parts of ROW_GROUP rows of PLAIN_SCHEMA."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, part: pa.RecordBatch) -> None:
        """Take the next part."""
        for column in part.columns:
            self._feed(column)

    def hexdigest(self) -> str:
        """The digest of everything taken so far."""
        return self._hash.hexdigest()

    def _feed(self, array: pa.Array) -> None:
        kind = array.type
        if array.null_count:
            self._bytes(pc.is_valid(array).cast(pa.int8()))
        if pa.types.is_struct(kind):
            for child in array.flatten():  # children of a null struct are null here
                self._feed(child)
        elif pa.types.is_list(kind):
            self._bytes(pc.fill_null(pc.list_value_length(array), 0))
            self._feed(pc.list_flatten(array))
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._bytes(pc.fill_null(pc.binary_length(array), 0))
            self._text(array)
        else:
            self._bytes(_without_nulls(array))

    def _bytes(self, array: pa.Array) -> None:
        if len(array):
            width = array.type.bit_width // 8
            start = array.offset * width
            self._hash.update(memoryview(array.buffers()[1])[start : start + len(array) * width])

    def _text(self, array: pa.Array) -> None:
        whole = array.drop_null() if array.null_count else array
        if len(whole):
            offsets = memoryview(whole.buffers()[1]).cast("i")
            first, last = offsets[whole.offset], offsets[whole.offset + len(whole)]
            if last > first:
                self._hash.update(memoryview(whole.buffers()[2])[first:last])


def _without_nulls(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    if not array.null_count:
        return array
    if pa.types.is_fixed_size_binary(kind):
        zero = pa.scalar(bytes(kind.byte_width), kind)
    else:
        zero = pa.scalar(0, pa.int64()).cast(array.type)
    return pc.fill_null(array, zero)


@dataclass(frozen=True, slots=True)
class Footer:
    """What an hour's file says of itself."""

    domain_id: str
    hour: str
    rows: int
    digest: str
    schema_version: int

    def as_metadata(self) -> dict[str, str]:
        """Key-value pairs of the Parquet footer."""
        return {
            "domain_id": self.domain_id,
            "hour": self.hour,
            "rows": str(self.rows),
            "digest": self.digest,
            "schema_version": str(self.schema_version),
        }


def read_footer(path: Path) -> Footer:
    """The footer of an hour's file; ForeignFileError when it is not one of ours."""
    try:
        file = pq.ParquetFile(path)
        found = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
        return Footer(
            domain_id=found["domain_id"],
            hour=found["hour"],
            rows=int(found["rows"]),
            digest=found["digest"],
            schema_version=int(found["schema_version"]),
        )
    except (pa.ArrowInvalid, AttributeError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ForeignFileError(
            f"a file in the place of an hour is not an hour's file ({type(error).__name__}): "
            "move it away and export the hour again"
        ) from error


def read_digest(path: Path) -> str:
    """The digest of the rows that stand in a file, computed anew."""
    digest = RowDigest()
    try:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, PLAIN_SCHEMA.names).cast(PLAIN_SCHEMA)
            for part in rows.combine_chunks().to_batches():
                digest.update(part)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, ValueError) as error:
        raise ForeignFileError(
            f"an hour's file cannot be read ({type(error).__name__}): export the hour again"
        ) from error
    return digest.hexdigest()
