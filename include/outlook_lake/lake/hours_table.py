"""`lake/hours/` and `lake/gaps/`: how complete the lake is, for readers who have only the lake.

One file per tenant, replaced in one step by every export and by whatever settles hours. They say
what is known now and are no part of an hour's file: that stays a function of its batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from outlook_lake.events.manifest import locked
from outlook_lake.lake import layout
from outlook_lake.lake.maturity import mature
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["GAPS_SCHEMA", "HOURS_SCHEMA", "write"]

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
GAPS_SCHEMA = pa.schema(
    [
        pa.field("domain_id", pa.string()),
        pa.field("gap_id", pa.int64()),
        pa.field("tuid", pa.string()),
        pa.field("from_at", pa.timestamp("us", tz="UTC")),
        pa.field("to_at", pa.timestamp("us", tz="UTC")),
        pa.field("cause", pa.string()),
        pa.field("loss", pa.string()),
        pa.field("state", pa.string()),
        pa.field("opened_at", pa.timestamp("us", tz="UTC")),
        pa.field("closed_at", pa.timestamp("us", tz="UTC")),
        pa.field("closed_by", pa.string()),
        pa.field("note", pa.string()),
    ]
)
SIGNATURE = b"signature"
"""Footer key: what a file of gaps was made from, so that an unchanged one is left alone."""

_HOURS = text(
    "SELECT domain_id, hour, rows, bytes, digest, sealed_at, maturity, mailboxes, complete, gaps, "
    "dirty_seq > sealed_seq AS is_dirty FROM hour ORDER BY domain_id, hour"
)
_OF_TENANT = (
    "FROM gap g JOIN mailbox m ON m.mailbox_id = g.mailbox_id "
    "JOIN tenant t ON t.tenant_id = m.tenant_id"
)
_GAPS = text(
    "SELECT t.domain_id, g.gap_id, g.from_at, g.to_at, "
    "m.tuid, g.cause, g.loss, g.state, g.opened_at, g.closed_at, g.closed_by, g.note "
    f"{_OF_TENANT} WHERE t.domain_id = :domain_id ORDER BY g.from_at, g.gap_id"
)
_SIGNATURES = text(
    "SELECT t.domain_id, count(*), max(g.gap_id), sum(g.from_at / 1000), sum(g.to_at / 1000), "
    "count(g.to_at), count(g.closed_at), sum(length(g.loss) + length(coalesce(g.note, ''))) "
    f"{_OF_TENANT} GROUP BY t.domain_id"
)


def write(db: Database, settings: Settings) -> dict[str, int]:
    """Let hours mature, and replace the tables of hours and gaps; how many hours became what."""
    became = mature(db)
    settings.lake_root.mkdir(parents=True, exist_ok=True)
    with locked(settings.lake_root / ".tables.lock"):
        with db.read() as connection:
            hours = _hours(connection)
            for domain_id, rows in hours.items():
                table = pa.Table.from_pylist(rows, schema=HOURS_SCHEMA)
                _replace(layout.hours_file(settings, domain_id), table)
            gaps = _gaps(connection, settings)
        _forget(layout.hours_files(settings), hours)
        _forget(layout.gaps_files(settings), gaps)
    return became


def _hours(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(_HOURS).mappings():
        told = {**row, "is_dirty": bool(row["is_dirty"])}  # SQLite has no booleans
        found.setdefault(row["domain_id"], []).append(told)
    return found


def _gaps(connection: Connection, settings: Settings) -> Mapping[str, object]:
    signatures = {row[0]: repr(tuple(row[1:])).encode() for row in connection.execute(_SIGNATURES)}
    for domain_id, signature in signatures.items():
        target = layout.gaps_file(settings, domain_id)
        if _signature(target) == signature:
            continue
        rows = connection.execute(_GAPS, {"domain_id": domain_id}).mappings().all()
        columns = [
            pa.array([row[one.name] for row in rows], pa.int64()).cast(one.type)
            if pa.types.is_timestamp(one.type)
            else pa.array([row[one.name] for row in rows], one.type)
            for one in GAPS_SCHEMA
        ]
        schema = GAPS_SCHEMA.with_metadata({SIGNATURE: signature})
        _replace(target, pa.table(columns, schema))
    return signatures


def _signature(path: Path) -> bytes | None:
    try:
        return (pq.read_metadata(path).metadata or {}).get(SIGNATURE)
    except (OSError, pa.ArrowException):
        return None


def _replace(target: Path, table: pa.Table) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.stem}.tmp")
    pq.write_table(table, staged, compression="zstd")
    staged.replace(target)


def _forget(there: Mapping[str, Path], wanted: Mapping[str, object]) -> None:
    """A tenant whose hours were removed has no table."""
    for domain_id in there.keys() - wanted.keys():
        there[domain_id].unlink(missing_ok=True)
        with suppress(OSError):
            there[domain_id].parent.rmdir()
