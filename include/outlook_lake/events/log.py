"""The event log: closed files of events, each whole or not there at all.

    events of one apply ─▶ sorted ─▶ <lane>-<uuid>.parquet.tmp ─▶ fsync ─▶ rename ─▶ fsync folder
                                                              (then its manifest row commits)

A file without a manifest row does not exist: `manifest.record` makes it real. No row group
crosses an hour, so export reads only its own.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from outlook_lake.clock import graph_now
from outlook_lake.errors import StorageError
from outlook_lake.events.schema import BATCH_SCHEMA, ROW_GROUP, SORT_ORDER
from outlook_lake.settings import Settings

__all__ = ["BatchFile", "HourRows", "file_digest", "sync_folder", "write_batch"]

COMPRESSION = "zstd"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class HourRows:
    """How many rows of a batch belong to one hour of one tenant."""

    domain_id: str
    hour: str
    rows: int


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A closed file of the event log; `path` is relative to the home, `digest` of its bytes."""

    path: str
    rows: int
    bytes: int
    digest: str
    hours: tuple[HourRows, ...]


def write_batch(table: pa.Table, settings: Settings, lane: str = "0") -> BatchFile:
    """Write one batch and make it durable; raises StorageError when the disk refuses.

    `table` has the columns of BATCH_SCHEMA in any row order. The folder is the Graph-time
    date of writing. A batch needs at least one row: ValueError otherwise.
    """
    if table.num_rows == 0:
        raise ValueError("a batch without events is not written")
    ordered = _in_order(table)
    folder = settings.log / f"date={graph_now():%Y-%m-%d}"
    final = folder / f"{lane}-{uuid.uuid4()}.parquet"
    staged = final.with_suffix(".parquet.tmp")
    hours: list[HourRows] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with staged.open("wb") as handle:
            with pq.ParquetWriter(handle, BATCH_SCHEMA, compression=COMPRESSION) as writer:
                for part, piece in _by_hour(ordered):
                    writer.write_table(piece, row_group_size=ROW_GROUP)
                    hours.append(part)
            handle.flush()
            os.fsync(handle.fileno())
        size = staged.stat().st_size
        digest = file_digest(staged)
        staged.rename(final)
        sync_folder(folder)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise StorageError(
            f"the event log cannot be written ({error.strerror}): nothing was committed. "
            "Check the space and the rights of the folder 'log' under OUTLOOK_LAKE_HOME."
        ) from error
    return BatchFile(
        path=final.relative_to(settings.home).as_posix(),
        rows=ordered.num_rows,
        bytes=size,
        digest=digest,
        hours=tuple(hours),
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is safe only after this."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _in_order(table: pa.Table) -> pa.Table:
    typed = table.select(BATCH_SCHEMA.names).cast(BATCH_SCHEMA)
    keys = [(name, "ascending") for name in ("domain_id", "hour", *SORT_ORDER)]
    # One chunk with one dictionary a column: slices of it then encode alike.
    return typed.sort_by(keys).combine_chunks().unify_dictionaries()


def _by_hour(ordered: pa.Table) -> Iterator[tuple[HourRows, pa.Table]]:
    counts = ordered.group_by(["domain_id", "hour"], use_threads=False).aggregate(
        [([], "count_all")]
    )
    parts = sorted(
        HourRows(row["domain_id"], row["hour"], row["count_all"]) for row in counts.to_pylist()
    )
    start = 0
    for part in parts:
        yield part, ordered.slice(start, part.rows)
        start += part.rows
