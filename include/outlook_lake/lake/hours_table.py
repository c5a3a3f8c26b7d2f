"""`lake/hours/hours.parquet`: one row per tenant-hour, for readers who have only the lake."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from outlook_lake.events.manifest import locked
from outlook_lake.lake import layout
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["HOURS_SCHEMA", "write"]

HOURS_SCHEMA = pa.schema(
    [
        pa.field("domain_id", pa.string()),
        pa.field("hour", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("digest", pa.string()),
        pa.field("sealed_at", pa.timestamp("us", tz="UTC")),
        pa.field("maturity", pa.string()),
        pa.field("mailboxes", pa.int64()),
        pa.field("complete", pa.int64()),
        pa.field("gaps", pa.int64()),
        pa.field("is_dirty", pa.bool_()),  # events came after the file was written
    ]
)

_HOURS = text(
    "SELECT domain_id, hour, rows, bytes, digest, sealed_at, maturity, mailboxes, complete, gaps, "
    "dirty_seq > sealed_seq AS is_dirty FROM hour ORDER BY domain_id, hour"
)


def write(db: Database, settings: Settings) -> int:
    """Replace the table of hours by the manifest's present state; returns its rows."""
    target = layout.hours_file(settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(".hours.tmp")
    with locked(target.with_name(".hours.lock")):
        with db.read() as connection:
            rows = [dict(row) for row in connection.execute(_HOURS).mappings()]
        for row in rows:
            row["is_dirty"] = bool(row["is_dirty"])  # SQLite has no booleans
        pq.write_table(pa.Table.from_pylist(rows, schema=HOURS_SCHEMA), staged, compression="zstd")
        staged.replace(target)
    return len(rows)
