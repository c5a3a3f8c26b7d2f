"""The message trace: whose mail came that nobody recorded, without a word of what it said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text

from outlook_lake.clock import hour_name, hour_start, machine_now
from outlook_lake.coverage import trace
from outlook_lake.coverage.trace import Traced, compare
from outlook_lake.errors import ConsentError
from outlook_lake.graph.client import GraphClient
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import directory
from outlook_lake.tenants.directory import address_key, ensure_key
from tests.support import lake
from tests.support.coverage import gaps, watch
from tests.support.graph import SmallGraph, graph_error, json_body, small_graph

AN_HOUR = timedelta(hours=1)
START = hour_start(machine_now()) - 5 * AN_HOUR
SUBJECT = "a very secret subject"


@pytest.fixture
async def asked(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[Asked]:
    async with small_graph(tmp_path) as server, server.client(settings) as client:
        server.now = machine_now()
        yield Asked(db, settings, server, client)


class Asked:
    """A tenant with two watched people, and a Graph that answers traces page by page."""

    def __init__(
        self, db: Database, settings: Settings, server: SmallGraph, client: GraphClient
    ) -> None:
        self.db, self.settings, self.client = db, settings, client
        self.server = server
        self.rows: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.refused = False
        server.handler = self.answer
        lake.add_tenant(db, watch_from=START)
        key = ensure_key(settings.keys)
        for number, name in enumerate(("one", "two"), start=1):
            watch(db, START, proven=START + 3 * AN_HOUR)
            with db.write() as connection:
                connection.execute(text("UPDATE mailbox SET tuid = 'tuid-' || mailbox_id"))
                connection.execute(
                    directory.insert().values(
                        tenant_id=lake.TENANT,
                        address_key=address_key(key, f"{name}@acme.example"),
                        mailbox_id=number,
                        address=f"{name}@acme.example",
                        domain="acme.example",
                    )
                )
        lake.commit(
            db, settings, [lake.event(n, at=START + n * timedelta(minutes=50)) for n in range(3)]
        )
        export(db, settings)

    def traced(self, number: int, to: str, *, status: str = "delivered") -> None:
        """A message that came when event `number` did."""
        at = START + number * timedelta(minutes=50)
        self.rows.append(
            {
                "messageId": f"<{number}@external.example>",
                "senderAddress": "x@external.example",
                "recipientAddress": to,
                "receivedDateTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                "status": status,
                "subject": SUBJECT,
            }
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.refused:
            return graph_error(403, "Authorization_RequestDenied")
        self.asked.append(request.query.get("$filter", "page"))
        page = int(request.query.get("$skiptoken", "0"))
        body: dict[str, Any] = {"value": self.rows[page : page + 2]}
        if page + 2 < len(self.rows):
            place = "/v1.0/admin/exchange/tracing/messageTraces"
            body["@odata.nextLink"] = f"{self.server.graph_url}{place}?$skiptoken={page + 2}"
        return json_body(body)

    async def compare(self) -> Traced:
        key = ensure_key(self.settings.keys)
        return await compare(self.client, self.db, self.settings, key, lake.TENANT, lake.DOMAIN)


async def test_what_has_an_event_is_known_and_what_has_none_is_a_gap_of_that_mailbox(asked: Asked):
    for number in range(3):
        asked.traced(number, "One@acme.example")
    asked.traced(1, "two@acme.example")
    asked.traced(2, "stranger@external.example")
    asked.traced(2, "two@acme.example", status="failed")
    told = await asked.compare()

    assert told == Traced(hours=3, rows=4, missing=1, mailboxes=1, requests=3)
    assert gaps(asked.db) == [("witness", "open", "created_and_purged", None)]
    with asked.db.read() as connection:
        rows = connection.execute(text("SELECT mailbox_id, round_reason FROM mailbox")).all()
    assert [tuple(row) for row in rows] == [(1, None), (2, "witness")]


async def test_settled_hours_are_compared_once_and_open_ones_not_yet(asked: Asked):
    assert (await asked.compare()).hours == 3
    assert await asked.compare() == Traced()
    (window,) = asked.asked
    assert f"{START:%Y-%m-%dT%H:00:00Z}" in window
    assert f"{START + 3 * AN_HOUR:%Y-%m-%dT%H:00:00Z}" in window

    with asked.db.write() as connection:
        connection.execute(text("UPDATE mailbox SET complete_through = complete_through + :hour"),
                           {"hour": 3_600_000_000})  # fmt: skip
    export(asked.db, asked.settings)
    assert (await asked.compare()).hours == 1
    with asked.db.read() as connection:
        marked = connection.execute(
            text("SELECT value FROM meta WHERE name LIKE 'traced:%'")
        ).scalar()
    assert marked == hour_name(START + 4 * AN_HOUR)


async def test_a_tenant_that_does_not_allow_it_is_asked_again_later(asked: Asked):
    asked.refused = True
    with pytest.raises(ConsentError):
        await asked.compare()
    asked.refused = False
    assert (await asked.compare()).hours == 3


async def test_no_subject_gets_in(asked: Asked):
    asked.traced(1, "two@acme.example")
    await asked.compare()

    assert not [name for name in trace._Row.__struct_fields__ if "subject" in name]
    for path in asked.settings.home.rglob("*"):
        assert not path.is_file() or SUBJECT.encode() not in path.read_bytes()
