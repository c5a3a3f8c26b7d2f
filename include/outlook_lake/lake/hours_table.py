"""How complete the lake is, for readers who have only the lake.

    lake/hours/      each hour: rows, mailboxes, complete, gaps, maturity
    lake/gaps/       who may have lost what, from when to when
    lake/rounds/     each mailbox: how far it is proven, and by what
    lake/outcomes/   what was announced and could not be looked at any more

One file per tenant, replaced in one step by every export and by whatever settles hours. They say
what is known now and are no part of an hour's file: that stays a function of its batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, TextClause, text

from outlook_lake.events.manifest import locked
from outlook_lake.lake import layout
from outlook_lake.lake.maturity import mature
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["GAPS_SCHEMA", "HOURS_SCHEMA", "OUTCOMES_SCHEMA", "ROUNDS_SCHEMA", "SCHEMAS", "write"]

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
ROUNDS_SCHEMA = pa.schema(
    [
        pa.field("domain_id", pa.string()),
        pa.field("tuid", pa.string()),
        pa.field("state", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("watch_from", pa.timestamp("us", tz="UTC")),
        pa.field("primed_at", pa.timestamp("us", tz="UTC")),
        pa.field("complete_through", pa.timestamp("us", tz="UTC")),
        pa.field("full_at", pa.timestamp("us", tz="UTC")),
        pa.field("witnessed_at", pa.timestamp("us", tz="UTC")),
    ]
)
OUTCOMES_SCHEMA = pa.schema(
    [
        pa.field("domain_id", pa.string()),
        pa.field("tuid", pa.string()),
        pa.field("item_key", pa.binary(16)),
        pa.field("kind", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),
        pa.field("first_hint_at", pa.timestamp("us", tz="UTC")),
        pa.field("count", pa.int64()),
    ]
)
SCHEMAS = {
    "hours": HOURS_SCHEMA,
    "gaps": GAPS_SCHEMA,
    "rounds": ROUNDS_SCHEMA,
    "outcomes": OUTCOMES_SCHEMA,
}
SIGNATURE = b"signature"
"""Footer key: what a file was made from, so that an unchanged one is left alone."""

_HOURS = text(
    "SELECT domain_id, hour, rows, bytes, digest, sealed_at, maturity, mailboxes, complete, gaps, "
    "dirty_seq > sealed_seq AS is_dirty FROM hour ORDER BY domain_id, hour"
)


@dataclass(frozen=True, slots=True)
class _Told:
    """A table told to readers, tenant by tenant, when it changed."""

    name: str
    schema: pa.Schema
    columns: str
    source: str
    order: str
    signature: str
    """Aggregates that change when a row does."""

    def rows(self) -> TextClause:
        return text(
            f"SELECT {self.columns} {self.source} WHERE t.domain_id = :domain_id "
            f"ORDER BY {self.order}"
        )

    def signatures(self) -> TextClause:
        return text(
            f"SELECT t.domain_id, count(*), {self.signature} {self.source} GROUP BY t.domain_id"
        )


_TOLD = (
    _Told(
        "gaps",
        GAPS_SCHEMA,
        "t.domain_id, g.gap_id, m.tuid, g.from_at, g.to_at, g.cause, g.loss, g.state, "
        "g.opened_at, g.closed_at, g.closed_by, g.note",
        "FROM gap g JOIN mailbox m ON m.mailbox_id = g.mailbox_id "
        "JOIN tenant t ON t.tenant_id = m.tenant_id",
        "g.from_at, g.gap_id",
        "max(g.gap_id), sum(g.from_at / 1000), sum(g.to_at / 1000), count(g.to_at), "
        "count(g.closed_at), sum(length(g.loss) + length(coalesce(g.note, '')))",
    ),
    _Told(
        "rounds",
        ROUNDS_SCHEMA,
        "t.domain_id, m.tuid, m.state, m.reason, m.watch_from, m.primed_at, m.complete_through, "
        "m.full_at, m.witnessed_at",
        "FROM mailbox m JOIN tenant t ON t.tenant_id = m.tenant_id "
        "AND m.watch_from IS NOT NULL AND m.state <> 'erased'",
        "m.tuid",
        "max(m.mailbox_id), sum(m.complete_through / 1000), sum(m.full_at / 1000), "
        "sum(m.witnessed_at / 1000), count(m.primed_at), "
        "sum(length(m.state) + length(coalesce(m.reason, '')))",
    ),
    _Told(
        "outcomes",
        OUTCOMES_SCHEMA,
        "t.domain_id, m.tuid, o.item_key, o.kind, o.at, o.first_hint_at, o.count",
        "FROM outcome o JOIN mailbox m ON m.mailbox_id = o.mailbox_id "
        "JOIN tenant t ON t.tenant_id = m.tenant_id",
        "o.at, m.tuid, o.item_key, o.kind",
        "sum(o.count), max(o.at), sum(o.at / 1000)",
    ),
)


def write(db: Database, settings: Settings) -> dict[str, int]:
    """Let hours mature, and replace the tables; returns how many hours became what."""
    became = mature(db)
    settings.lake_root.mkdir(parents=True, exist_ok=True)
    with locked(settings.lake_root / ".tables.lock"):
        with db.read() as connection:
            hours = _hours(connection)
            for domain_id, rows in hours.items():
                table = pa.Table.from_pylist(rows, schema=HOURS_SCHEMA)
                _replace(layout.table_file(settings, "hours", domain_id), table)
            told = {one.name: _tell(connection, settings, one) for one in _TOLD}
        for name, there in {"hours": hours, **told}.items():
            _forget(layout.table_files(settings, name), there)
    return became


def _hours(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(_HOURS).mappings():
        told = {**row, "is_dirty": bool(row["is_dirty"])}  # SQLite has no booleans
        found.setdefault(row["domain_id"], []).append(told)
    return found


def _tell(connection: Connection, settings: Settings, told: _Told) -> Mapping[str, object]:
    signatures = {
        row[0]: repr(tuple(row[1:])).encode() for row in connection.execute(told.signatures())
    }
    for domain_id, signature in signatures.items():
        target = layout.table_file(settings, told.name, domain_id)
        if _signature(target) == signature:
            continue
        rows = connection.execute(told.rows(), {"domain_id": domain_id}).all()
        values = zip(*rows, strict=True) if rows else [()] * len(told.schema)
        columns = [
            pa.array(column, pa.int64()).cast(field.type)
            if pa.types.is_timestamp(field.type)
            else pa.array(column, field.type)
            for column, field in zip(values, told.schema, strict=True)
        ]
        _replace(target, pa.table(columns, told.schema.with_metadata({SIGNATURE: signature})))
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
