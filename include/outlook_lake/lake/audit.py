"""The audit: is each change a person made one event, named, dated and ordered as it was?

    journal (what people did, what Graph showed)  ─┐
    events_live (what we recorded)                ─┼─▶ acts ─▶ pairs ─▶ a verdict for each row
    mailboxes, gaps (what we promised, and when)  ─┘

Acts on folders and inbox rules are judged beside those on messages, by polls instead of
notifications. What cannot be known is excused by name and counted; everything else is a fault.
When there is nothing to compare, or a mailbox nobody knows, the verdict is not clean.
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
from outlook_lake.tenants.asked import STREAMS
from outlook_lake.tenants.credentials import tenant_from_environment

__all__ = ["FAULTS", "GAP_SCHEMA", "MAILBOX_SCHEMA", "Span", "audit", "judge"]

FAULTS = ("lost", "doubled", "wrong_action", "wrong_hour", "out_of_order")
EXCUSES = ("gap", "gone_unseen", "before_primed", "coalesced")
OBJECTS = ("folders", "rules")
POLLED_EXCUSES = (*EXCUSES, "not_polled_yet")
MOST_EXCUSED = 0.02
"""Share of acts on messages that may be excused outside recorded gaps. Folders and rules have no
such limit: what is made and undone between two polls nobody can see."""

MAILBOX_SCHEMA = pa.schema(
    [
        pa.field("aad_id", pa.string()),
        pa.field("tuid", pa.string()),
        pa.field("state", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("watch_from", pa.int64()),
        pa.field("primed_at", pa.int64()),
        pa.field("streams", pa.list_(pa.string())),
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

_MAILBOXES = text(
    "SELECT aad_id, tuid, mailbox.state, mailbox.reason, mailbox.watch_from, primed_at, conn_id "
    "FROM mailbox JOIN tenant ON tenant.tenant_id = mailbox.tenant_id"
)
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
_SAMPLE_OBJECT_ACTS = (
    "SELECT number, tuid, action, at_us, verdict AS fault FROM object_verdict_act "
    "WHERE verdict = 'lost' AND at_us >= $from_us AND at_us < $to_us ORDER BY number LIMIT $most"
)
_SAMPLE_OBJECT_EVENTS = (
    "SELECT tuid, seq, action, hour, time_basis, at_us, earliest_us, latest_us, number, "
    "CASE WHEN verdict <> 'matched' THEN verdict WHEN is_wrong_hour THEN 'wrong_hour' "
    "ELSE 'out_of_order' END AS fault FROM object_verdict_event "
    "WHERE (verdict <> 'matched' OR is_wrong_hour OR is_out_of_order) "
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
    `wide_intervals` (of messages); the first of these for `folders` and for `rules` alone too;
    `clean` and, in words, `problems`; `outside`: mailboxes of the journal that are not watched;
    `samples`: some faults, by journal number and event order, without addresses or item ids.
    `known_only` leaves mailboxes aside that this home never heard of; otherwise everything done
    in them is lost. `killed`: when workers were killed (from, to; machine time, microseconds):
    what Graph showed them then may have gone with them. Raises AuditError
    when the journal cannot be had.
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
    for statement in ("audit_verdicts", "audit_objects", "audit_object_verdicts"):
        connection.execute(sql(statement))
    where = {"from_us": span.from_us, "to_us": span.to_us}
    figures = _rows(connection, sql("audit_figures"), where)[0]
    excused_by = {name: figures.pop(name) for name in EXCUSES}
    outside = _rows(connection, _OUTSIDE, {})
    sampled = {**where, "most": _SAMPLES}
    messages = _told(figures, excused_by)
    objects = _objects(connection, where)
    answer = _sum([messages, *objects.values()])
    answer["wide_intervals"] = figures["wide_intervals"]
    problems = _problems(answer, messages, outside)
    return {
        **answer,
        **objects,
        "clean": not problems,
        "problems": problems,
        "outside": outside,
        "samples": _rows(connection, _SAMPLE_ACTS, sampled)
        + _rows(connection, _SAMPLE_EVENTS, sampled)
        + _rows(connection, _SAMPLE_OBJECT_ACTS, sampled)
        + _rows(connection, _SAMPLE_OBJECT_EVENTS, sampled),
    }


def _objects(
    connection: duckdb.DuckDBPyConnection, where: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Figures of folders and of rules."""
    rows = {
        f"{row['object_kind']}s": {name: count or 0 for name, count in row.items()}
        for row in _rows(connection, sql("audit_object_figures"), where)
    }
    return {
        kind: _told(
            rows.get(kind, {}), {name: rows.get(kind, {}).get(name, 0) for name in POLLED_EXCUSES}
        )
        for kind in OBJECTS
    }


def _told(figures: dict[str, Any], excused_by: dict[str, int]) -> dict[str, Any]:
    return {
        **{name: figures.get(name, 0) for name in ("journal", "events", *FAULTS)},
        "excused": sum(excused_by.values()),
        "excused_by": {name: count for name, count in excused_by.items() if count},
    }


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for part in parts for name in part["excused_by"]]
    return {
        **{name: sum(p[name] for p in parts) for name in ("journal", "events", *FAULTS, "excused")},
        "excused_by": {n: sum(p["excused_by"].get(n, 0) for p in parts) for n in names},
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


def _problems(
    figures: dict[str, Any], messages: dict[str, Any], outside: list[dict[str, Any]]
) -> list[str]:
    problems = [f"{figures[name]} {name.replace('_', ' ')}" for name in FAULTS if figures[name]]
    if not figures["journal"]:
        problems.append("nothing to compare: the journal holds no act in a watched mailbox")
    inside = messages["excused"] - messages["excused_by"].get("gap", 0)
    if messages["journal"] and inside > MOST_EXCUSED * messages["journal"]:
        problems.append(
            f"{inside} of {messages['journal']} acts are excused outside recorded gaps: "
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
            streams = {name: _streams(name) for name in {row["conn_id"] for row in mailboxes}}
            for row in mailboxes:
                row["streams"] = streams[row.pop("conn_id")]
            gaps = [dict(row) for row in connection.execute(_GAPS).mappings()]
    finally:
        db.close()
    return (
        pa.Table.from_pylist(mailboxes, schema=MAILBOX_SCHEMA),
        pa.Table.from_pylist(gaps, schema=GAP_SCHEMA),
    )


def _streams(conn_id: str) -> list[str]:
    """What a connection asks for; all of it when this environment does not hold it."""
    try:
        return sorted(tenant_from_environment(conn_id).streams)
    except UsageError:
        return sorted(STREAMS)


def _rows(
    connection: duckdb.DuckDBPyConnection, query: str, params: dict[str, Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.sql(query, params=params).to_arrow_table().to_pylist()
    return found
