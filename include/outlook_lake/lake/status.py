"""How the home is doing, in numbers: read only, quick, without an address or an item's id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import Connection, text

from outlook_lake.clock import from_us, graph_us, machine_us
from outlook_lake.lake.engine import connect, sql
from outlook_lake.lake.export import is_over
from outlook_lake.lake.merge import LANE
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["status"]

RECENT_BATCHES = 100
"""Freshness is that of the newest batches."""
MOST_PARKED = 50
LAST_BATCHES = 5
_DAY_US = 86_400_000_000


def status(settings: Settings) -> dict[str, Any]:
    """Freshness, backlog, subscriptions, mailboxes, hours, gaps, refusals, the last batches.

    Keys that end in `_s` are seconds; ages of events are Graph time, ages of work machine time.
    """
    db = Database.open(settings)
    try:
        with db.read() as connection:
            return {
                "graph_now": from_us(graph_us()),
                "freshness": _freshness(connection, settings),
                "hints": _hints(connection),
                "segments": {name: _files(settings.staging / name) for name in ("open", "ready")},
                "subscriptions": _subscriptions(connection),
                "mailboxes": _mailboxes(connection),
                "hours": _hours(connection, settings),
                "gaps": _counts(connection, "SELECT state, count(*) FROM gap GROUP BY state"),
                "quarantine": _quarantine(connection),
                "batches": _batches(connection),
            }
    finally:
        db.close()


def _freshness(connection: Connection, settings: Settings) -> dict[str, Any]:
    rows = connection.execute(
        text(
            "SELECT path, committed_at, committed_machine_at FROM batch WHERE lane <> :merged "
            "ORDER BY seq DESC LIMIT :most"
        ),
        {"most": RECENT_BATCHES, "merged": LANE},
    ).all()
    here = [row for row in rows if (settings.home / row.path).is_file()]
    if not here:
        return {"newest_event_age_s": None, "last_commit_age_s": None, "p50_s": None, "p95_s": None}
    batches = pa.table(
        {
            "filename": [str(settings.home / row.path) for row in here],
            "committed_us": pa.array([row.committed_at for row in here], pa.int64()),
        }
    )
    try:
        with connect(settings) as engine:
            engine.register("batches", batches)
            found = _one(engine, sql("freshness"), {"files": batches["filename"].to_pylist()})
    except duckdb.Error:  # a damaged batch; whoever asks how it stands is told the rest
        found = {"newest_us": None, "p50_s": None, "p95_s": None, "events": None}
    newest = found["newest_us"]
    return {
        "newest_event_age_s": None if newest is None else _seconds(graph_us() - newest),
        "last_commit_age_s": _seconds(machine_us() - rows[0].committed_machine_at),
        "p50_s": found["p50_s"],
        "p95_s": found["p95_s"],
        "events": found["events"],
    }


def _hints(connection: Connection) -> dict[str, Any]:
    now = machine_us()
    row = connection.execute(
        text(
            "SELECT count(*) AS waiting, sum(CASE WHEN due_at <= :now THEN 1 ELSE 0 END) AS due, "
            "min(due_at) AS first_due, sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END) AS retried "
            "FROM hint"
        ),
        {"now": now},
    ).one()
    late = 0 if row.first_due is None else max(0, now - row.first_due)
    return {
        "waiting": row.waiting,
        "due": row.due or 0,
        "retried": row.retried or 0,
        "oldest_due_s": _seconds(late),
    }


def _subscriptions(connection: Connection) -> dict[str, Any]:
    by_state = _counts(connection, "SELECT state, count(*) FROM subscription GROUP BY state")
    first = connection.execute(
        text("SELECT min(expires_at) FROM subscription WHERE state = 'active'")
    ).scalar()
    return {
        "by_state": by_state,
        "first_expiry_s": None if first is None else _seconds(first - graph_us()),
    }


def _mailboxes(connection: Connection) -> dict[str, Any]:
    parked = connection.execute(
        text(
            "SELECT tuid, reason FROM mailbox WHERE state = 'parked' "
            "ORDER BY mailbox_id LIMIT :most"
        ),
        {"most": MOST_PARKED},
    ).mappings()
    return {
        "by_state": _counts(connection, "SELECT state, count(*) FROM mailbox GROUP BY state"),
        "parked": [dict(row) for row in parked],
    }


def _hours(connection: Connection, settings: Settings) -> dict[str, Any]:
    dirty = connection.execute(text("SELECT hour FROM hour WHERE dirty_seq > sealed_seq")).scalars()
    over = [is_over(hour, settings) for hour in dirty]
    sealed = connection.execute(
        text("SELECT count(*), max(hour) FROM hour WHERE sealed_seq >= dirty_seq")
    ).one()
    return {
        "open": over.count(False),
        "dirty": over.count(True),
        "sealed": sealed[0],
        "last_sealed": sealed[1],
    }


def _quarantine(connection: Connection) -> list[dict[str, Any]]:
    rows = connection.execute(
        text(
            "SELECT stage, reason, sum(count) AS count FROM quarantine WHERE minute >= :since "
            "GROUP BY stage, reason ORDER BY stage, reason"
        ),
        {"since": machine_us() - _DAY_US},
    )
    return [dict(row) for row in rows.mappings()]


def _batches(connection: Connection) -> list[dict[str, Any]]:
    rows = connection.execute(
        text(
            "SELECT seq, lane, rows, bytes, committed_at FROM batch ORDER BY seq DESC LIMIT :most"
        ),
        {"most": LAST_BATCHES},
    )
    return [{**row, "committed_at": from_us(row["committed_at"])} for row in rows.mappings()]


def _counts(connection: Connection, query: str) -> dict[str, int]:
    return {str(name): int(count) for name, count in connection.execute(text(query))}


def _files(folder: Path) -> int:
    return sum(1 for path in folder.iterdir()) if folder.is_dir() else 0


def _one(engine: duckdb.DuckDBPyConnection, query: str, params: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = engine.sql(query, params=params).to_arrow_table().to_pylist()[0]
    return found


def _seconds(microseconds: int) -> float:
    return round(microseconds / 1_000_000, 1)
