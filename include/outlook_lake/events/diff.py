"""Observations × inventory = events: the comparison itself, in DuckDB.

    observation ─┐
    inventory  ──┼─▶ compare.sql ─▶ events.sql     → the batch
    mailbox, folder, people, waiting ┘  ├─▶ inventory.sql → what is known afterwards
                                        └─▶ answers.sql   → what becomes of the hints

Pure: nothing is read or written but the tables that come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa

from outlook_lake.events.schema import BATCH_SCHEMA
from outlook_lake.settings import Settings

__all__ = ["Diff", "Known", "diff", "engine"]


@dataclass(frozen=True, slots=True)
class Known:
    """What the state database says about the items and mailboxes of a batch."""

    inventory: pa.Table
    mailboxes: pa.Table
    folders: pa.Table
    waiting: pa.Table
    people: pa.Table


@dataclass(frozen=True, slots=True)
class Diff:
    """The outcome of one comparison."""

    events: pa.Table
    inventory: pa.Table
    answers: pa.Table


def engine(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A private in-memory DuckDB for comparisons; one per thread that compares."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": settings.lake.threads,
            "memory_limit": f"{settings.lake.memory_mb}MB",
        },
    )
    connection.execute(_sql("macros"))
    return connection


def diff(
    connection: duckdb.DuckDBPyConnection,
    observations: pa.Table,
    known: Known,
    *,
    keep_recipients: bool = True,
    horizon_at: int = 0,
) -> Diff:
    """Compare; an item must occur once in `observations`. Times in and out: microseconds."""
    tables: dict[str, Any] = {
        "observation": observations,
        "inventory": known.inventory,
        "mailbox": known.mailboxes,
        "folder": known.folders,
        "waiting": known.waiting,
        "people": known.people,
    }
    for name, table in tables.items():
        connection.register(name, table)
    try:
        connection.execute(_sql("compare"), {"horizon": horizon_at})
        events = connection.sql(
            _sql("events"), params={"recipients": keep_recipients}
        ).to_arrow_table()
        inventory = connection.sql(_sql("inventory")).to_arrow_table()
        answers = connection.sql(_sql("answers")).to_arrow_table()
    finally:
        for name in tables:
            connection.unregister(name)
    return Diff(_as_batch(events), inventory, answers)


def _as_batch(events: pa.Table) -> pa.Table:
    columns = []
    for wanted in BATCH_SCHEMA:
        column = events.column(wanted.name)
        if pa.types.is_timestamp(wanted.type):
            column = column.cast(pa.int64()).cast(wanted.type)
        elif pa.types.is_null(column.type):
            column = pa.nulls(len(column), wanted.type)
        columns.append(column.cast(wanted.type))
    return pa.table(columns, schema=BATCH_SCHEMA)


@cache
def _sql(name: str) -> str:
    return (files("outlook_lake.events") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
