"""The figures of the Coverage page and of `outlook-lake coverage`, from the state database alone.

Counted, not listed: the answer has one cell per tenant and hour and comes in well under a second
at 100,000 mailboxes. No address, no id of an item.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from outlook_lake.clock import from_us, graph_us, machine_us, parse_hour, to_us
from outlook_lake.coverage.budget import BUDGET
from outlook_lake.coverage.window import Window
from outlook_lake.lake.completeness import HOUR_US, Completeness
from outlook_lake.state import Database

__all__ = ["list_gaps", "overview"]

MOST_GAPS = 1000

_TENANTS = text(
    "SELECT t.tenant_id, t.domain_id, t.state, t.reason, t.watch_from, "
    "min(CASE WHEN m.state = 'live' THEN m.complete_through END) AS complete_through, "
    "sum(CASE WHEN m.state = 'parked' THEN 1 ELSE 0 END) AS parked, "
    "sum(CASE WHEN m.state = 'live' THEN 1 ELSE 0 END) AS live, "
    "sum(CASE WHEN m.state = 'live' AND m.unannounced > 0 THEN 1 ELSE 0 END) AS doubted, "
    "sum(CASE WHEN m.round_wanted_at IS NOT NULL THEN 1 ELSE 0 END) AS rounds_wanted, "
    "sum(CASE WHEN m.pause_until > :now THEN 1 ELSE 0 END) AS throttled, "
    "max(CASE WHEN m.pause_until > :now THEN m.pause_until - :now ELSE 0 END) AS longest_pause "
    "FROM tenant t LEFT JOIN mailbox m ON m.tenant_id = t.tenant_id "
    "GROUP BY t.tenant_id, t.domain_id, t.state, t.reason, t.watch_from ORDER BY t.domain_id"
)
_PARKED = text(
    "SELECT reason, count(*) AS mailboxes FROM mailbox WHERE state = 'parked' "
    "GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 50"
)
_HOURS = text(
    "SELECT domain_id, hour, maturity, rows, sealed_seq >= 0 AS is_sealed, "
    "dirty_seq > sealed_seq AS is_dirty FROM hour WHERE hour >= :since AND hour < :until"
)
_GAPS = text(
    "SELECT state, cause, loss, count(*) AS gaps, count(DISTINCT mailbox_id) AS mailboxes, "
    "min(from_at) AS from_at, max(coalesce(to_at, :now)) AS to_at FROM gap "
    "WHERE state <> 'filled' AND from_at < :until AND coalesce(to_at, :now) >= :since "
    "GROUP BY state, cause, loss ORDER BY state, cause, loss"
)
_SILENT = text(
    "SELECT count(DISTINCT mailbox_id) FROM gap WHERE cause = 'silent' AND state = 'open'"
)
_LAST_BATCH = text("SELECT max(committed_machine_at) FROM batch")
_BACKLOG = text(
    "SELECT count(*) AS hints, sum(CASE WHEN due_at <= :now THEN 1 ELSE 0 END) AS due FROM hint"
)
_LIST = (
    "SELECT g.gap_id, t.domain_id, m.tuid, g.from_at, g.to_at, g.cause, g.loss, g.state, "
    "g.opened_at, g.closed_at, g.closed_by, g.note FROM gap g "
    "JOIN mailbox m ON m.mailbox_id = g.mailbox_id JOIN tenant t ON t.tenant_id = m.tenant_id "
    "WHERE {which} ORDER BY g.from_at DESC, g.gap_id DESC LIMIT :most"
)


def overview(
    db: Database, from_hour: str | None = None, to_hour: str | None = None
) -> dict[str, Any]:
    """How complete the hours of a window are, and what stands in the way.

    Hours `YYYY-MM-DDTHH`, the end not included; default: the last 48 hours. `cells` has for each
    tenant one entry per hour since it was first watched. Raises UsageError for a window that
    cannot be.
    """
    window = Window.of(from_hour, to_hour)
    span = {"since": window.from_us, "until": window.to_us, "now": graph_us()}
    with db.read() as connection:
        tenants = [
            dict(row) for row in connection.execute(_TENANTS, {"now": machine_us()}).mappings()
        ]
        return {
            "from": window.start,
            "to": window.end,
            "graph_now": from_us(span["now"]),
            "tenants": [_tenant(row) for row in tenants],
            "cells": _cells(connection, window, tenants),
            "gaps": [_gap_group(row) for row in connection.execute(_GAPS, span).mappings()],
            "parked": [dict(row) for row in connection.execute(_PARKED).mappings()],
            "silent": {
                "mailboxes": connection.execute(_SILENT).scalar_one(),
                "doubted": sum(row["doubted"] or 0 for row in tenants),
            },
            "freshness": _freshness(connection),
            "budget": {
                **BUDGET,
                "throttled_mailboxes": sum(row["throttled"] or 0 for row in tenants),
                "longest_pause_s": round(
                    max((row["longest_pause"] or 0 for row in tenants), default=0) / 1e6, 1
                ),
                "rounds_wanted": sum(row["rounds_wanted"] or 0 for row in tenants),
            },
        }


def list_gaps(
    db: Database, *, tenant: str | None = None, cause: str | None = None, closed: bool = False
) -> list[dict[str, Any]]:
    """Gaps one by one, the latest first, at most 1,000: open and partial ones, or all."""
    conditions = ["TRUE" if closed else "g.state <> 'filled'"]
    values: dict[str, object] = {"most": MOST_GAPS}
    for name, column, value in (("tenant", "t.domain_id", tenant), ("cause", "g.cause", cause)):
        if value is not None:
            conditions.append(f"{column} = :{name}")
            values[name] = value
    with db.read() as connection:
        rows = connection.execute(text(_LIST.format(which=" AND ".join(conditions))), values)
        return [_timed(dict(row)) for row in rows.mappings()]


def _cells(
    connection: Connection, window: Window, tenants: list[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    completeness = Completeness(connection)
    names = list(window.names())
    known = {
        (row["domain_id"], row["hour"]): row
        for row in connection.execute(
            _HOURS, {"since": names[0], "until": _after(names[-1])}
        ).mappings()
    }
    first = to_us(window.start) // HOUR_US
    now = graph_us() // HOUR_US
    cells: dict[str, list[dict[str, Any]]] = {}
    for one in tenants:
        if one["watch_from"] is None:
            continue
        begun = one["watch_from"] // HOUR_US
        made = cells.setdefault(one["domain_id"], [])
        for number, name in enumerate(names, start=first):
            if not begun <= number <= now:
                continue
            row = known.get((one["domain_id"], name))
            counts = completeness.at(one["domain_id"], number)
            made.append(
                {
                    "hour": name,
                    "maturity": row["maturity"] if row else "open",
                    "mailboxes": counts.mailboxes,
                    "complete": counts.complete,
                    "gaps": counts.gaps,
                    "open_gaps": counts.open_gaps,
                    "rows": row["rows"] if row else 0,
                    "sealed": bool(row and row["is_sealed"]),
                    "dirty": bool(row and row["is_dirty"]),
                }
            )
    return cells


def _after(name: str) -> str:
    return from_us(to_us(parse_hour(name)) + HOUR_US).strftime("%Y-%m-%dT%H")


def _tenant(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "domain_id": row["domain_id"],
        "state": row["state"],
        "reason": row["reason"],
        "live": row["live"] or 0,
        "parked": row["parked"] or 0,
        "doubted": row["doubted"] or 0,
        "rounds_wanted": row["rounds_wanted"] or 0,
        "watch_from": _moment(row["watch_from"]),
        "complete_through": _moment(row["complete_through"]),
    }


def _gap_group(row: Any) -> dict[str, Any]:
    return {**row, "from_at": _moment(row["from_at"]), "to_at": _moment(row["to_at"])}


def _freshness(connection: Connection) -> dict[str, Any]:
    now = machine_us()
    last = connection.execute(_LAST_BATCH).scalar()
    backlog = connection.execute(_BACKLOG, {"now": now}).one()
    return {
        "last_commit_age_s": None if last is None else round((now - last) / 1e6, 1),
        "hints_waiting": backlog.hints,
        "hints_due": backlog.due or 0,
    }


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _moment(value) if name.endswith("_at") else value for name, value in row.items()}


def _moment(at: int | None) -> Any:
    return None if at is None else from_us(at)
