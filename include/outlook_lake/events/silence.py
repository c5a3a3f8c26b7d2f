"""Silence: what rounds find in a mailbox whose subscription should have told of it.

Counted are changes that delta showed, that are dated at least ten minutes before, and that lie
in the life of a subscription which is active, outside of gaps that explain them. Landing a
notification sets the count back; what follows from it is `subscriptions.plan`'s to decide.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, bindparam, text

__all__ = ["TOLD_BY_US", "count"]

TOLD_BY_US = 600_000_000
"""Graph time: Graph tells of a change within three minutes (graph-facts 2.7), with a margin."""

EXPLAINS = ("lapsed", "missed", "receiver_down", "parked")
"""Causes of gaps in which nothing was to be told."""

LIVES = text(
    """
    SELECT m.tuid, m.mailbox_id, s.created_at, s.expires_at FROM mailbox m
    JOIN subscription s ON s.mailbox_id = m.mailbox_id
    WHERE m.tuid IN :tuids AND s.state = 'active'
    """
).bindparams(bindparam("tuids", expanding=True))

GAPS = text(
    """
    SELECT m.tuid, g.from_at, g.to_at FROM gap g JOIN mailbox m ON m.mailbox_id = g.mailbox_id
    WHERE m.tuid IN :tuids AND g.cause IN :causes
    """
).bindparams(bindparam("tuids", expanding=True), bindparam("causes", expanding=True))

ADD = text(
    """
    UPDATE mailbox SET unannounced = unannounced + 1,
        unannounced_since = CASE WHEN unannounced_since < :at THEN unannounced_since ELSE :at END
    WHERE tuid = :tuid
    """
)


def count(connection: Connection, events: pa.Table) -> None:
    """Count the unannounced changes among a batch's events; in apply's transaction."""
    found = _late(events)
    if not found:
        return
    tuids = sorted({tuid for tuid, _ in found})
    for start in range(0, len(tuids), 500):
        some = tuids[start : start + 500]
        told = _spans(connection, LIVES, {"tuids": some})
        excused = _spans(connection, GAPS, {"tuids": some, "causes": EXPLAINS})
        rows = [
            {"tuid": tuid, "at": at}
            for tuid, at in found
            if _inside(told.get(tuid, []), at) and not _inside(excused.get(tuid, []), at)
        ]
        if rows:
            connection.execute(ADD, rows)


def _late(events: pa.Table) -> list[tuple[str, int]]:
    """(tuid, timestamp) of what delta showed and a notification should have told."""
    if not events.num_rows:
        return []
    at = events.column("timestamp").cast(pa.int64())
    age = pc.subtract(events.column("observed_at").cast(pa.int64()), at)
    late = pc.and_(
        pc.equal(events.column("sighting").cast(pa.string()), "delta"),
        pc.and_(
            pc.greater_equal(age, TOLD_BY_US),
            pc.equal(events.column("object_kind").cast(pa.string()), "message"),
        ),
    )
    chosen = events.append_column("at", at).filter(late).select(["tuid", "at"])
    return [(row["tuid"], row["at"]) for row in chosen.to_pylist()]


def _spans(
    connection: Connection, query: object, values: dict[str, object]
) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for row in connection.execute(query, values):  # type: ignore[call-overload]
        found.setdefault(row[0], []).append((row[-2] or 0, row[-1] or 1 << 62))
    return found


def _inside(spans: list[tuple[int, int]], at: int) -> bool:
    return any(since <= at < until for since, until in spans)
