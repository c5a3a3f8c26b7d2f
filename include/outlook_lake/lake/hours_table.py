"""`lake/hours/hours.parquet`: one row per tenant-hour, for readers who have only the lake."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, text

from outlook_lake.clock import HOUR, parse_hour, to_us
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
    "SELECT domain_id, hour, rows, bytes, digest, sealed_at, maturity, "
    "dirty_seq > sealed_seq AS is_dirty FROM hour ORDER BY domain_id, hour"
)
# A mailbox that left is in scope for as long as it was proven, and no longer.
_SPANS = text(
    "SELECT t.domain_id, m.watch_from, coalesce(m.complete_through, m.watch_from) AS proven, "
    "m.state IN ('leaving', 'erased') AS has_left "
    "FROM mailbox m JOIN tenant t ON t.tenant_id = m.tenant_id WHERE m.watch_from IS NOT NULL"
)
_GAPS = text(
    "SELECT t.domain_id, g.from_at, g.to_at FROM gap g "
    "JOIN mailbox m ON m.mailbox_id = g.mailbox_id JOIN tenant t ON t.tenant_id = m.tenant_id "
    "WHERE g.state <> 'filled' AND g.from_at IS NOT NULL"
)


def write(db: Database, settings: Settings) -> int:
    """Replace the table of hours by the manifest's present state; returns its rows."""
    target = layout.hours_file(settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(".hours.tmp")
    with locked(target.with_name(".hours.lock")):
        with db.read() as connection:
            rows = [dict(row) for row in connection.execute(_HOURS).mappings()]
            coverage = _Coverage(connection)
        for row in rows:
            row["is_dirty"] = bool(row["is_dirty"])  # SQLite has no booleans
            row.update(coverage.of(row["domain_id"], row["hour"]))
        pq.write_table(pa.Table.from_pylist(rows, schema=HOURS_SCHEMA), staged, compression="zstd")
        staged.replace(target)
    return len(rows)


class _Coverage:
    """How many mailboxes an hour has, how many are proven, how many gaps touch it.

    Counted from sorted times: mailboxes × hours would be 876 million a year at 100,000.
    """

    def __init__(self, connection: Connection) -> None:
        spans = connection.execute(_SPANS).all()
        gaps = connection.execute(_GAPS).all()
        self._began = _sorted((row.domain_id, row.watch_from) for row in spans)
        self._proven = _sorted((row.domain_id, row.proven) for row in spans)
        self._left = _sorted((row.domain_id, row.proven) for row in spans if row.has_left)
        self._opened = _sorted((row.domain_id, row.from_at) for row in gaps)
        self._closed = _sorted((row.domain_id, row.to_at) for row in gaps if row.to_at is not None)

    def of(self, domain_id: str, hour: str) -> dict[str, int]:
        """The three counts of a tenant's hour."""
        start = to_us(parse_hour(hour))
        end = to_us(parse_hour(hour) + HOUR)
        began = _before(self._began, domain_id, end)
        return {
            "mailboxes": began - _before(self._left, domain_id, end),
            "complete": began - _before(self._proven, domain_id, end),
            "gaps": _before(self._opened, domain_id, end)
            - _before(self._closed, domain_id, start + 1),
        }


def _sorted(moments: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for domain_id, moment in moments:
        found.setdefault(domain_id, []).append(moment)
    for one in found.values():
        one.sort()
    return found


def _before(moments: dict[str, list[int]], domain_id: str, bound: int) -> int:
    return bisect_left(moments.get(domain_id, []), bound)
