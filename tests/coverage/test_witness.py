"""Graph's counts are compared with the inventory: what lasts becomes a gap and a round."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from sqlalchemy import text

from outlook_lake.clock import graph_us, machine_now
from outlook_lake.coverage import settle
from outlook_lake.coverage.witness import Looked, look, watched
from outlook_lake.graph.client import GraphClient
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import folder, item, mailbox, tenant
from tests.support.coverage import gaps
from tests.support.graph import TENANT, SmallGraph, json_body, small_graph

HOUR = 3_600_000_000
INBOX, NESTED = "AQinbox=", "AQnested="


class Counted:
    """A Graph that has two mailboxes with an inbox and a folder further down."""

    def __init__(
        self, db: Database, settings: Settings, client: GraphClient, server: SmallGraph
    ) -> None:
        self.db, self.settings, self.client, self.server = db, settings, client, server
        self.totals = {(user, folder_id): 2 for user in ("1", "2") for folder_id in (INBOX, NESTED)}
        self.refused: set[str] = set()
        self.largest = 0
        with db.write() as connection:
            connection.execute(
                tenant.insert().values(
                    tenant_id=TENANT,
                    domain_id="contoso",
                    conn_id="c",
                    cloud="global",
                    internal_domains=[],
                    state="live",
                )
            )
            for number in (1, 2):
                connection.execute(
                    mailbox.insert().values(
                        mailbox_id=number,
                        tenant_id=TENANT,
                        aad_id=aad_id(number),
                        tuid=str(number),
                        shard=number,
                        state="live",
                        watch_from=graph_us() - 5 * HOUR,
                        primed_at=graph_us() - 5 * HOUR,
                    )
                )
                for folder_no, folder_id in ((1, INBOX), (2, NESTED)):
                    connection.execute(
                        folder.insert().values(
                            mailbox_id=number,
                            folder_no=folder_no,
                            folder_id=folder_id,
                            kind="other",
                            link="link",
                            link_state="live",
                        )
                    )
                    for n in range(2):
                        self.know(connection, number, folder_no, n)

    def know(self, connection: Any, number: int, folder_no: int, n: int) -> None:
        """The inventory knows an item of this folder."""
        connection.execute(
            item.insert().values(
                shard=number,
                mailbox_id=number,
                item_key=bytes([number, folder_no, n] + [0] * 13),
                folder_no=folder_no,
                seen_at=1,
                bits=0,
                mutable_hash=0,
                recipients=0,
                origin=0,
            )
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read())["requests"]
        self.largest = max(self.largest, len(asked))
        return json_body({"responses": [self.one(part) for part in asked]})

    def one(self, part: dict[str, str]) -> dict[str, Any]:
        user, _, place = part["url"].partition("?")[0].removeprefix("/users/").partition("/")
        number = user[-1]
        if number in self.refused:
            return {"id": part["id"], "status": 429, "body": {"error": {"code": "TooMany"}}}
        if place == "mailFolders":
            return {"id": part["id"], "status": 200, "body": {"value": [self.row(number, INBOX)]}}
        name = place.rpartition("/")[2]
        return {"id": part["id"], "status": 200, "body": self.row(number, name)}

    def row(self, number: str, folder_id: str) -> dict[str, Any]:
        return {"id": folder_id, "totalItemCount": self.totals[number, folder_id]}

    async def look(self) -> Looked:
        """The witness's word about both mailboxes."""
        some = watched(self.db, TENANT)
        return await look(self.client, self.db, self.settings, "test", some)

    async def look_twice(self, *, minutes: int = 11) -> Looked:
        """Its word when it is asked again some minutes later."""
        await self.look()
        self.server.now += timedelta(minutes=minutes)
        return await self.look()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.db.read() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


def aad_id(number: int) -> str:
    return f"7a1e5c00-1111-4222-8333-44445555000{number}"


@pytest.fixture
async def graph(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[Counted]:
    async with small_graph(tmp_path) as server, server.client(settings) as client:
        server.now = machine_now()
        made = Counted(db, settings, client, server)
        server.handler = made.answer
        yield made


async def test_counts_that_agree_are_noted_with_graphs_date(graph: Counted):
    found = await graph.look()

    assert (found.agreed, found.differed, found.opened) == ({1, 2}, {}, set())
    assert found.requests == 4  # a list each, and the folder further down
    assert not graph.rows("SELECT 1 FROM mailbox WHERE witnessed_at IS NULL")
    assert gaps(graph.db) == []


async def test_a_difference_that_lasts_is_a_gap_and_the_folder_is_listed_anew(graph: Counted):
    await graph.look()
    ((agreed,),) = graph.rows("SELECT witnessed_at FROM mailbox WHERE mailbox_id = 2")
    graph.totals["2", NESTED] = 5
    found = await graph.look_twice()

    assert found.agreed == {1}
    assert found.differed == {2: {2: 3}}
    assert found.opened == {2}
    assert graph.rows("SELECT mailbox_id, from_at, cause, loss, state FROM gap") == [
        (2, agreed, "witness", "changes", "open")
    ]
    assert graph.rows(
        "SELECT folder_no, link_state, witness_count FROM folder WHERE mailbox_id = 2 ORDER BY 1"
    ) == [(1, "live", None), (2, "lost", 3)]
    assert graph.rows("SELECT round_reason, lease_until FROM mailbox WHERE mailbox_id = 2") == [
        ("witness", 0)
    ]
    settle(graph.db, graph.settings)
    assert [row[0] for row in gaps(graph.db)] == ["witness"]


async def test_a_message_on_its_way_is_no_difference(graph: Counted):
    graph.totals["1", INBOX] = 3
    soon = await graph.look_twice(minutes=2)  # a notification may take three
    assert (soon.differed, soon.opened) == ({1: {1: 1}}, set())

    graph.totals["1", INBOX] = 4
    other = await graph.look_twice(minutes=9)  # not the same difference, not for long enough
    assert (other.differed, other.opened) == ({1: {1: 2}}, set())

    graph.totals["1", INBOX] = 2
    graph.server.now += timedelta(minutes=5)
    assert (await graph.look()).agreed == {1, 2}
    assert graph.rows("SELECT count(*) FROM mailbox WHERE doubted_at IS NOT NULL") == [(0,)]
    assert gaps(graph.db) == []


async def test_who_has_hints_waiting_or_was_not_answered_is_unclear(graph: Counted):
    graph.totals["1", INBOX] = 7
    graph.refused.add("2")
    with graph.db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO hint (mailbox_id, item_key, item_id, kinds, first_at, last_at, count, "
                "due_at) VALUES (1, x'00', 'x', 1, 0, 0, 1, 0)"
            )
        )
    found = await graph.look_twice()

    assert found.unclear == {1, 2}
    assert not found.opened


async def test_a_folder_that_was_never_read_to_its_end_tells_nothing(graph: Counted):
    with graph.db.write() as connection:
        connection.execute(
            folder.update()
            .where(folder.c.mailbox_id == 1, folder.c.folder_no == 2)
            .values(link_state="none")
        )
    graph.totals["1", NESTED] = 9
    found = await graph.look_twice()

    assert (found.agreed, found.unclear, found.opened) == ({2}, {1}, set())


async def test_a_mailbox_in_somebody_elses_hands_is_left_to_the_next_look(graph: Counted):
    graph.totals["1", INBOX] = 3
    with graph.db.write() as connection:
        connection.execute(text("UPDATE mailbox SET lease_by = 'x', lease_until = 1 << 61"))
    assert (await graph.look_twice()).opened == set()
    assert gaps(graph.db) == []

    with graph.db.write() as connection:
        connection.execute(text("UPDATE mailbox SET lease_until = 0"))
    assert (await graph.look()).opened == {1}


async def test_a_gap_of_the_witness_closes_when_the_counts_agree_after_a_round(graph: Counted):
    graph.totals["1", INBOX] = 3
    await graph.look_twice()
    settle(graph.db, graph.settings)
    with graph.db.write() as connection:  # the round that was wanted
        connection.execute(text("UPDATE folder SET link_state = 'live'"))
        connection.execute(text("UPDATE mailbox SET complete_through = :at"), {"at": graph_us()})
        graph.know(connection, 1, 1, 9)
    settle(graph.db, graph.settings)
    assert [row[1] for row in gaps(graph.db)] == ["open"]

    with graph.db.write() as connection:  # the small Graph's clock stands still
        connection.execute(text("UPDATE gap SET opened_at = 0, from_at = 0"))
    assert (await graph.look()).agreed == {1, 2}
    settle(graph.db, graph.settings)
    assert gaps(graph.db) == [("witness", "partial", "changes", "witness")]


async def test_a_day_of_hours_looks_at_every_mailbox_once_and_again_at_those_that_differed(
    graph: Counted,
):
    def share(hour: int) -> list[int]:
        return [one.mailbox_id for one in watched(graph.db, TENANT, hour)]

    assert {hour: share(hour) for hour in range(24) if share(hour)} == {1: [1], 2: [2]}
    graph.totals["1", INBOX] = 3
    await graph.look()
    assert (share(2), share(3)) == ([1, 2], [1])
