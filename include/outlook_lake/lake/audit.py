"""The audit: is each change a person made one event, named, dated and ordered as it was?

    journal (what people did, what Graph showed)  ─┐
    events_live (what we recorded)                ─┼─▶ acts ─▶ pairs ─▶ a verdict for each row
    mailboxes, gaps (what we promised, and when)  ─┘

What cannot be known is excused by name and counted; everything else is a fault. When there is
nothing to compare, or a mailbox nobody knows, the verdict is not clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import text

from outlook_lake.errors import UsageError
from outlook_lake.lake import journal as journal_file
from outlook_lake.lake.engine import sql
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["FAULTS", "GAP_SCHEMA", "MAILBOX_SCHEMA", "Span", "audit", "judge"]

FAULTS = ("lost", "doubled", "wrong_action", "wrong_hour", "out_of_order")
EXCUSES = ("gap", "gone_unseen", "before_primed", "coalesced")
MOST_EXCUSED = 0.02
"""Share of acts that may be excused outside recorded gaps."""

MAILBOX_SCHEMA = pa.schema(
    [
        pa.field("aad_id", pa.string()),
        pa.field("tuid", pa.string()),
        pa.field("state", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("watch_from", pa.int64()),
        pa.field("primed_at", pa.int64()),
    ]
)
GAP_SCHEMA = pa.schema(
    [
        pa.field("tuid", pa.string()),
        pa.field("from_us", pa.int64()),
        pa.field("to_us", pa.int64()),
        pa.field("loss", pa.string()),
    ]
)

KILLED_SCHEMA = pa.schema([pa.field("from_us", pa.int64()), pa.field("to_us", pa.int64())])

_MAILBOXES = text("SELECT aad_id, tuid, state, reason, watch_from, primed_at FROM mailbox")
_GAPS = text(
    "SELECT mailbox.tuid, gap.from_at AS from_us, gap.to_at AS to_us, gap.loss FROM gap "
    "JOIN mailbox ON mailbox.mailbox_id = gap.mailbox_id"
)
_OUTSIDE = (
    "SELECT mailbox, scope, count(*) AS acts FROM act WHERE observable AND scope <> 'watched' "
    "GROUP BY mailbox, scope ORDER BY mailbox"
)
_SAMPLE_ACTS = (
    "SELECT number, tuid, seen_action AS action, at_us, verdict AS fault FROM verdict_act "
    "WHERE verdict = 'lost' AND at_us >= $from_us AND at_us < $to_us ORDER BY number LIMIT $most"
)
_SAMPLE_EVENTS = (
    "SELECT tuid, seq, action, hour, time_basis, at_us, earliest_us, latest_us, number, "
    "CASE WHEN verdict IN ('doubled', 'wrong_action') THEN verdict WHEN is_wrong_hour "
    "THEN 'wrong_hour' ELSE 'out_of_order' END AS fault FROM verdict_event "
    "WHERE (verdict IN ('doubled', 'wrong_action') OR is_wrong_hour OR is_out_of_order) "
    "AND at_us >= $from_us AND at_us < $to_us ORDER BY tuid, seq LIMIT $most"
)
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Span:
    """The time that is judged: half-open, Graph time, microseconds."""

    from_us: int = 0
    to_us: int = 1 << 62


def audit(
    settings: Settings,
    simulator: str | None = None,
    *,
    journal: Path | None = None,
    span: Span | None = None,
    known_only: bool = False,
    killed: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """Compare the lake of this home with the journal of a simulator, or with one in a file.

    Returns the figures of `FAULTS` with `journal`, `events`, `excused`, `excused_by`,
    `wide_intervals`; `clean` and, in words, `problems`; `outside`: mailboxes of the journal
    that are not watched; `samples`: some faults, by journal number and event order, without
    addresses or item ids. `known_only` leaves mailboxes aside that this home never heard of;
    otherwise everything done in them is lost. `killed`: when workers were killed (from, to;
    machine time, microseconds): what Graph showed them then may have gone with them. Raises
    AuditError when the journal cannot be had.
    """
    if (simulator is None) == (journal is None):
        raise UsageError("the audit compares with one journal: give --simulator or --journal")
    with ExitStack() as stack:
        connection = stack.enter_context(open_lake(settings))
        # Events first: whatever they tell of is in the journal by the time it is fetched.
        connection.execute(sql("audit_events"))
        if journal is None:
            run = settings.home / "run"
            run.mkdir(parents=True, exist_ok=True)
            journal = stack.enter_context(journal_file.fetched(str(simulator), run))
        journal_file.load(connection, journal)
        mailboxes, gaps = _promises(settings)
        return judge(
            connection,
            mailboxes,
            gaps,
            span=span or Span(),
            known_only=known_only,
            killed=killed,
        )


def judge(
    connection: duckdb.DuckDBPyConnection,
    mailboxes: pa.Table,
    gaps: pa.Table,
    *,
    span: Span,
    known_only: bool = False,
    killed: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """The comparison itself, over the tables `raw_journal`, `item_keys` and `event`."""
    connection.register("mailbox", mailboxes)
    connection.register("gap", gaps)
    connection.execute(sql("audit_journal"))
    if known_only:
        connection.execute(
            "DELETE FROM journal WHERE mailbox IS NOT NULL "
            "AND mailbox NOT IN (SELECT aad_id FROM mailbox)"
        )
    _match(connection, killed)
    connection.execute(sql("audit_verdicts"))
    where = {"from_us": span.from_us, "to_us": span.to_us}
    figures = _rows(connection, sql("audit_figures"), where)[0]
    excused_by = {name: figures.pop(name) for name in EXCUSES}
    outside = _rows(connection, _OUTSIDE, {})
    sampled = {**where, "most": _SAMPLES}
    answer = {
        **{name: figures[name] for name in ("journal", "events", *FAULTS)},
        "excused": sum(excused_by.values()),
        "excused_by": {name: count for name, count in excused_by.items() if count},
        "wide_intervals": figures["wide_intervals"],
    }
    problems = _problems(answer, outside)
    return {
        **answer,
        "clean": not problems,
        "problems": problems,
        "outside": outside,
        "samples": _rows(connection, _SAMPLE_ACTS, sampled)
        + _rows(connection, _SAMPLE_EVENTS, sampled),
    }


def _match(connection: duckdb.DuckDBPyConnection, killed: Sequence[tuple[int, int]]) -> None:
    """Match acts and events; again without the answers that turn out to be void, till none does.

    What a dead worker saw, the next may have seen and died too: void answers come to light one
    after the other.
    """
    connection.register("killed", pa.Table.from_arrays(_columns(killed), schema=KILLED_SCHEMA))
    connection.execute("CREATE OR REPLACE TEMP TABLE void (number BIGINT)")
    connection.execute(f"INSERT INTO void {sql('audit_pushed')}")
    while True:
        connection.execute(sql("audit_acts"))
        connection.execute(sql("audit_pairs"))
        known = _count(connection, "void")
        connection.execute(f"INSERT INTO void {sql('audit_void')}")
        if _count(connection, "void") == known:
            return


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _columns(spans: Sequence[tuple[int, int]]) -> list[pa.Array]:
    return [pa.array([span[place] for span in spans], pa.int64()) for place in (0, 1)]


def _problems(figures: dict[str, Any], outside: list[dict[str, Any]]) -> list[str]:
    problems = [f"{figures[name]} {name.replace('_', ' ')}" for name in FAULTS if figures[name]]
    if not figures["journal"]:
        problems.append("nothing to compare: the journal holds no act in a watched mailbox")
    inside = figures["excused"] - figures["excused_by"].get("gap", 0)
    if figures["journal"] and inside > MOST_EXCUSED * figures["journal"]:
        problems.append(
            f"{inside} of {figures['journal']} acts are excused outside recorded gaps: "
            f"more than {MOST_EXCUSED:.0%}"
        )
    for scope in ("unknown", "not watched"):
        count = sum(1 for row in outside if row["scope"] == scope)
        if count:
            problems.append(f"{count} mailbox(es) of the journal are {scope} here")
    return problems


def _promises(settings: Settings) -> tuple[pa.Table, pa.Table]:
    db = Database.open(settings)
    try:
        with db.read() as connection:
            mailboxes = [dict(row) for row in connection.execute(_MAILBOXES).mappings()]
            gaps = [dict(row) for row in connection.execute(_GAPS).mappings()]
    finally:
        db.close()
    return (
        pa.Table.from_pylist(mailboxes, schema=MAILBOX_SCHEMA),
        pa.Table.from_pylist(gaps, schema=GAP_SCHEMA),
    )


def _rows(
    connection: duckdb.DuckDBPyConnection, query: str, params: dict[str, Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.sql(query, params=params).to_arrow_table().to_pylist()
    return found
