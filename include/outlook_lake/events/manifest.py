"""The manifest: which batches exist, which hours they touched, and the list readers follow.

`record` runs inside apply's one transaction; `write_live` after it. The number of a batch is
taken under one row lock, so numbers become visible in the order they were given: whoever
reads "everything up to N" misses nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from outlook_lake.clock import machine_us
from outlook_lake.errors import StorageError
from outlook_lake.events.log import BatchFile, sync_folder
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["LAST_SEQ", "LIVE_SCHEMA", "last_seq", "live_path", "locked", "record", "write_live"]

LIVE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string()),  # relative to the home
        pa.field("domain_id", pa.string()),
        pa.field("hour", pa.string()),
        pa.field("seq", pa.int64()),
        pa.field("rows", pa.int64()),
    ]
)
"""`log/live.parquet`: batch-hours that are not in the sealed file of their hour."""

LAST_SEQ = b"last_seq"
"""Footer key of `live.parquet`: the highest batch that was committed when it was written."""

_LAST_SEQ = text("SELECT value FROM meta WHERE name = 'batch_seq'")
_NEXT_SEQ = text(
    "INSERT INTO meta (name, value) VALUES ('batch_seq', '1') "
    "ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) "
    "RETURNING value"
)
_INSERT_BATCH = text(
    "INSERT INTO batch "
    "(seq, path, lane, rows, bytes, digest, run_id, committed_at, committed_machine_at) "
    "VALUES (:seq, :path, :lane, :rows, :bytes, :digest, :run_id, :committed_at, :machine_at)"
)
_INSERT_BATCH_HOUR = text(
    "INSERT INTO batch_hour (seq, domain_id, hour, rows) VALUES (:seq, :domain_id, :hour, :rows)"
)
_MARK_DIRTY = text(
    "INSERT INTO hour (domain_id, hour, dirty_seq, maturity) "
    "VALUES (:domain_id, :hour, :seq, 'open') "
    "ON CONFLICT (domain_id, hour) DO UPDATE SET dirty_seq = excluded.dirty_seq"
)
_LIVE = text(
    "SELECT batch.path, part.domain_id, part.hour, part.seq, part.rows "
    "FROM hour JOIN batch_hour AS part "
    "  ON part.domain_id = hour.domain_id AND part.hour = hour.hour AND part.seq > hour.sealed_seq "
    "JOIN batch ON batch.seq = part.seq "
    "WHERE hour.dirty_seq > hour.sealed_seq "
    "ORDER BY part.domain_id, part.hour, part.seq"
)


def record(
    connection: Connection, batch: BatchFile, lane: str, run_id: str, committed_at: int
) -> int:
    """Make a batch exist, inside the caller's transaction; returns its number.

    Every hour the batch touches becomes dirty. `committed_at` is Graph time in microseconds;
    machine time is stamped beside it. The counter never goes back, also after old batches
    were cleared away.
    """
    seq = int(connection.execute(_NEXT_SEQ).scalar_one())
    connection.execute(
        _INSERT_BATCH,
        {
            "seq": seq,
            "path": batch.path,
            "lane": lane,
            "rows": batch.rows,
            "bytes": batch.bytes,
            "digest": batch.digest,
            "run_id": run_id,
            "committed_at": committed_at,
            "machine_at": machine_us(),
        },
    )
    parts = [
        {"seq": seq, "domain_id": part.domain_id, "hour": part.hour, "rows": part.rows}
        for part in batch.hours
    ]
    connection.execute(_INSERT_BATCH_HOUR, parts)
    connection.execute(_MARK_DIRTY, parts)
    return seq


def last_seq(connection: Connection) -> int:
    """The number of the newest batch; 0 before the first."""
    return int(connection.execute(_LAST_SEQ).scalar() or 0)


def live_path(settings: Settings) -> Path:
    """Where the list of committed, unsealed batches stands."""
    return settings.log / "live.parquet"


def write_live(db: Database, settings: Settings) -> int:
    """Replace `log/live.parquet` by the manifest's present state; returns its rows.

    The lock is taken before the manifest is read, so an older list never replaces a newer.
    """
    target = live_path(settings)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            with db.read() as connection:
                rows = [tuple(row) for row in connection.execute(_LIVE)]
                last = str(last_seq(connection))
            columns = list(zip(*rows, strict=True)) if rows else [()] * len(LIVE_SCHEMA)
            table = pa.table(
                [
                    pa.array(column, field.type)
                    for column, field in zip(columns, LIVE_SCHEMA, strict=True)
                ],
                schema=LIVE_SCHEMA.with_metadata({LAST_SEQ: last}),
            )
            staged = target.with_suffix(".tmp")
            with staged.open("wb") as handle:
                pq.write_table(table, handle, compression="zstd")
                handle.flush()
                os.fsync(handle.fileno())
            staged.replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"log/live.parquet cannot be replaced ({error.strerror}): what was committed is safe, "
            "readers see it with the next commit that finds space."
        ) from error
    return len(rows)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for one machine's processes: waits, and a killed holder lets go."""
    with path.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, also when the process dies
