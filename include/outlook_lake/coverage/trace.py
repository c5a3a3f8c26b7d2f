"""The second witness, if wanted: the tenant's message trace against what was recorded.

    settled hours not compared yet ─▶ traces of these hours: message id, recipient, when
      ─▶ the directory says whose they are ─▶ no event of that message and mailbox?
      ─▶ gap `witness` (it came, and nobody saw it) and a wanted round

It alone can tell of mail that came and was purged before anybody looked. It says nothing of what
people did with their mail, and senders prove nothing: programs send without a copy in Sent Items.
Subjects come with the rows and are never decoded.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import pyarrow as pa
from sqlalchemy import Connection, bindparam, text

from outlook_lake.clock import HOUR, graph_now, hour_name, hour_start, parse_hour, to_us
from outlook_lake.errors import UnreachableError
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.resources import message_traces_path
from outlook_lake.lake.engine import sql
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.gaps import open_gap
from outlook_lake.tenants.directory import DirectoryKey, address_keys

__all__ = ["Traced", "compare"]

MOST_HOURS = 24
OLDEST = timedelta(days=9)
"""Graph takes windows of ten days at most."""
MARGIN = timedelta(hours=1)
"""An event lies in the hour of its own date, which may not be the trace's to the second."""

_SETTLED = text(
    "SELECT hour, maturity FROM hour WHERE domain_id = :domain AND hour >= :since ORDER BY hour"
)
_OWNERS = text(
    "SELECT d.address_key, m.mailbox_id, m.tuid, m.watch_from, m.complete_through "
    "FROM directory d JOIN mailbox m ON m.mailbox_id = d.mailbox_id "
    "WHERE d.tenant_id = :tenant AND m.state = 'live' AND m.watch_from IS NOT NULL"
)
_TOLD = text(
    "SELECT 1 FROM gap WHERE mailbox_id = :mailbox_id AND cause = 'witness' "
    "AND from_at <= :at AND (to_at IS NULL OR to_at >= :at) LIMIT 1"
)
_WANT = text(
    "UPDATE mailbox SET round_reason = 'witness', round_wanted_at = "
    "CASE WHEN round_wanted_at > :at THEN round_wanted_at ELSE :at END "
    "WHERE mailbox_id IN :some AND state = 'live'"
).bindparams(bindparam("some", expanding=True))
_MARK = text(
    "INSERT INTO meta (name, value) VALUES (:name, :value) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


class _Row(msgspec.Struct, rename="camel", gc=False):
    """What is taken from one trace; every other key never materialises."""

    message_id: str = ""
    recipient_address: str = ""
    received_date_time: datetime | None = None
    status: str = ""


class _Page(msgspec.Struct):
    value: list[_Row]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)


_pages = msgspec.json.Decoder(_Page)


@dataclass(frozen=True, slots=True)
class Traced:
    """What the trace said of some hours: rows about our mailboxes, and those without an event."""

    hours: int = 0
    rows: int = 0
    missing: int = 0
    mailboxes: int = 0
    requests: int = 0


async def compare(
    client: GraphClient,
    db: Database,
    settings: Settings,
    key: DirectoryKey,
    tenant_id: str,
    domain_id: str,
) -> Traced:
    """Compare the settled hours that follow those compared before, at most a day of them.

    Raises the GraphError tree: ConsentError when the application may not read traces.
    """
    window = await asyncio.to_thread(_window, db, tenant_id, domain_id)
    if window is None:
        return Traced()
    start, end = window
    rows, requests = await _traces(client, start, end)
    return await asyncio.to_thread(
        _judge, db, settings, key, tenant_id, domain_id, window, rows, requests
    )


def _window(db: Database, tenant_id: str, domain_id: str) -> tuple[datetime, datetime] | None:
    earliest = hour_start(graph_now() - OLDEST)
    with db.read() as connection:
        marked = connection.execute(
            text("SELECT value FROM meta WHERE name = :name"), {"name": _mark(tenant_id)}
        ).scalar()
        start = max(earliest, parse_hour(str(marked))) if marked else None
        rows = connection.execute(
            _SETTLED, {"domain": domain_id, "since": hour_name(start or earliest)}
        ).all()
    settled = []
    for row in rows:
        if row.maturity == "open":
            break
        settled.append(parse_hour(row.hour))
    if not settled or (start is not None and settled[0] != start):
        return None
    return settled[0], settled[:MOST_HOURS][-1] + HOUR


async def _traces(client: GraphClient, start: datetime, end: datetime) -> tuple[list[_Row], int]:
    rows: list[_Row] = []
    requests = 0
    link: str | None = message_traces_path(start, end)
    while link is not None:
        answer = await client.get(link)
        requests += 1
        try:
            page = _pages.decode(answer.body)
        except msgspec.DecodeError:
            raise UnreachableError("Graph answered a message trace with something else") from None
        rows += [row for row in page.value if row.status.lower() == "delivered"]
        link = page.next_link
    return rows, requests


def _judge(
    db: Database,
    settings: Settings,
    key: DirectoryKey,
    tenant_id: str,
    domain_id: str,
    window: tuple[datetime, datetime],
    rows: list[_Row],
    requests: int,
) -> Traced:
    with db.read() as connection:
        owners = {
            row.address_key: row for row in connection.execute(_OWNERS, {"tenant": tenant_id})
        }
    wanted: dict[tuple[str, str], tuple[int, int]] = {}
    keys = address_keys(key, [row.recipient_address for row in rows]).to_pylist() if rows else []
    for row, hashed in zip(rows, keys, strict=True):
        owner = owners.get(hashed)
        if owner is None or row.received_date_time is None or not row.message_id:
            continue
        at = to_us(row.received_date_time)
        # What came before watching is not ours, what no round has proven may still be on its way.
        if owner.watch_from <= at < (owner.complete_through or 0):
            wanted[owner.tuid, row.message_id] = (owner.mailbox_id, at)
    missing = _without_event(settings, domain_id, window, wanted)
    with db.write() as connection:
        found = _open(connection, missing)
        connection.execute(_MARK, {"name": _mark(tenant_id), "value": hour_name(window[1])})
    hours = (window[1] - window[0]) // HOUR
    return Traced(hours, len(wanted), len(missing), len(found), requests)


def _without_event(
    settings: Settings,
    domain_id: str,
    window: tuple[datetime, datetime],
    wanted: dict[tuple[str, str], tuple[int, int]],
) -> list[tuple[int, int]]:
    """(mailbox, when) of the messages no event tells of."""
    if not wanted:
        return []
    asked = pa.table(
        {
            "tuid": [tuid for tuid, _ in wanted],
            "internet_message_id": [message for _, message in wanted],
            "mailbox_id": pa.array([place[0] for place in wanted.values()], pa.int64()),
            "at": pa.array([place[1] for place in wanted.values()], pa.int64()),
        }
    )
    with open_lake(settings) as lake:
        lake.register("traced", asked)
        rows = lake.execute(
            sql("untraced"),
            {
                "domain_id": domain_id,
                "since": hour_name(window[0] - MARGIN),
                "until": hour_name(window[1] + MARGIN),
            },
        ).fetchall()
    return [(int(mailbox_id), int(at)) for mailbox_id, at in rows]


def _open(connection: Connection, missing: list[tuple[int, int]]) -> set[int]:
    by_mailbox: dict[int, list[int]] = defaultdict(list)
    for mailbox_id, at in missing:
        if connection.execute(_TOLD, {"mailbox_id": mailbox_id, "at": at}).first() is None:
            by_mailbox[mailbox_id].append(at)
    for mailbox_id, times in by_mailbox.items():
        open_gap(
            connection,
            mailbox_id,
            from_at=min(times),
            to_at=max(times) + 1_000_000,
            cause="witness",
            loss="created_and_purged",
            note=f"the message trace tells of {len(times)} message(s) without an event",
        )
    for some in _parts(sorted(by_mailbox)):
        connection.execute(_WANT, {"some": some, "at": to_us(graph_now())})
    return set(by_mailbox)


def _parts(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), 500):
        yield ids[start : start + 500]


def _mark(tenant_id: str) -> str:
    return f"traced:{tenant_id}"
