"""The tenant's users become mailboxes once, keep their tuid, and are parked with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from outlook_lake.errors import UnreachableError, UsageError
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import directory, gap, mailbox
from outlook_lake.tenants.directory import DirectoryKey
from outlook_lake.tenants.registry import pause, register_tenant, tenants
from outlook_lake.tenants.scope import refresh_mailboxes, shard_of
from tests.support.graph import graph_error, json_body, small_graph

KEY = DirectoryKey(b"k" * 32)


def user_id(number: int) -> str:
    return f"7a1e5c00-1111-4222-8333-{number:012d}"


def user(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": user_id(number),
        "displayName": f"Person {number}",
        "mail": f"person{number}@contoso.example",
        "proxyAddresses": [f"SMTP:person{number}@contoso.example", f"smtp:p{number}@alias.example"],
        "userType": "Member",
        "department": "Sales",
        "officeLocation": "Bern",
    } | changes


class Office:
    """A small tenant: users in pages of two, and their settings."""

    def __init__(self, *users: dict[str, Any]) -> None:
        self.users = list(users)
        self.without_mailbox: set[str] = set()
        self.settings_answer: web.Response | None = None
        self.base = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("$batch"):
            asked = (await request.json())["requests"]
            return json_body({"responses": [self._settings(part) for part in asked]})
        start = int(request.query.get("$skiptoken", 0))
        body: dict[str, Any] = {"value": self.users[start : start + 2]}
        if start + 2 < len(self.users):
            body["@odata.nextLink"] = f"{self.base}/v1.0/users?$skiptoken={start + 2}"
        return json_body(body)

    def _settings(self, part: dict[str, Any]) -> dict[str, Any]:
        if part["url"].split("/")[2] in self.without_mailbox:
            error = {"code": "MailboxNotEnabledForRESTAPI", "message": ""}
            return {"id": part["id"], "status": 404, "body": {"error": error}}
        body = {
            "timeZone": "W. Europe Standard Time",
            "userPurpose": "user",
            "workingHours": {"daysOfWeek": ["monday"], "startTime": "08:00:00.0000000"},
            "automaticRepliesSetting": {"internalReplyMessage": "CANARY"},
        }
        return {"id": part["id"], "status": 200, "body": body}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), home=tmp_path)


@pytest.fixture
def db(settings: Settings):
    database = Database.open(settings)
    yield database
    database.close()


async def refresh(db: Database, folder: Path, office: Office) -> dict[str, int]:
    async with small_graph(folder, office) as graph, graph.client() as client:
        office.base = graph.graph_url
        tenant = register_tenant(db, "acme", graph.credentials, "acme")
        return await refresh_mailboxes(db, client, tenant, KEY)


def mailboxes(db: Database):
    with db.read() as connection:
        return connection.execute(select(mailbox).order_by(mailbox.c.aad_id)).all()


async def test_every_user_of_every_page_becomes_a_new_mailbox(db: Database, tmp_path: Path):
    counts = await refresh(db, tmp_path, Office(*(user(n) for n in range(5))))

    rows = mailboxes(db)
    assert counts == {"users": 5, "added": 5, "back": 0, "parked": 0, "gone": 0}
    assert [row.state for row in rows] == ["new"] * 5
    assert len({row.tuid for row in rows}) == 5
    assert rows[0].shard == shard_of(user_id(0))
    assert rows[0].time_zone == "W. Europe Standard Time"
    assert rows[0].working_hours["startTime"] == "08:00:00.0000000"
    assert rows[0].peer_group == "Sales/Bern"


async def test_running_twice_changes_nothing(db: Database, tmp_path: Path):
    office = Office(user(0), user(1))
    await refresh(db, tmp_path, office)
    before = mailboxes(db)

    counts = await refresh(db, tmp_path, office)

    assert counts == {"users": 2, "added": 0, "back": 0, "parked": 0, "gone": 0}
    assert mailboxes(db) == before


async def test_who_has_no_usable_mailbox_is_parked_with_a_reason(db: Database, tmp_path: Path):
    office = Office(user(0, mail=None), user(1, userType="Guest"), user(2))
    office.without_mailbox = {user_id(2)}

    counts = await refresh(db, tmp_path, office)

    assert counts["parked"] == 3
    assert [(row.state, row.reason) for row in mailboxes(db)] == [
        ("parked", "no_mailbox"),
        ("parked", "guest"),
        ("parked", "no_mailbox"),
    ]


async def test_a_watched_user_who_leaves_opens_a_gap_and_may_come_back(
    db: Database, tmp_path: Path
):
    office = Office(user(0), user(1))
    await refresh(db, tmp_path, office)
    with db.write() as connection:
        connection.execute(update(mailbox).values(state="live", watch_from=1))
    tuid = mailboxes(db)[1].tuid

    office.users = [user(0)]
    left = await refresh(db, tmp_path, office)
    with db.read() as connection:
        (hole,) = connection.execute(select(gap)).all()
    office.users = [user(0), user(1)]
    returned = await refresh(db, tmp_path, office)

    assert (left["gone"], returned["back"]) == (1, 1)
    assert (hole.cause, hole.to_at, hole.note) == ("parked", None, "user_gone")
    row = mailboxes(db)[1]
    assert (row.state, row.tuid, row.watch_from) == ("new", tuid, 1)


async def test_addresses_and_aliases_go_to_the_directory_and_make_domains_internal(
    db: Database, tmp_path: Path
):
    guest = user(1, userType="Guest", mail="g@guest.example", proxyAddresses=[])
    await refresh(db, tmp_path, Office(user(0), guest))

    with db.read() as connection:
        people = connection.execute(select(directory).order_by(directory.c.address)).all()
    assert [(row.address, row.mailbox_id is not None) for row in people] == [
        ("g@guest.example", False),
        ("p0@alias.example", True),
        ("person0@contoso.example", True),
    ]
    assert tenants(db)[0].internal_domains == ("alias.example", "contoso.example")


async def test_an_erased_person_stays_erased(db: Database, tmp_path: Path):
    office = Office(user(0))
    await refresh(db, tmp_path, office)
    with db.write() as connection:
        connection.execute(update(mailbox).values(state="erased"))
        connection.execute(directory.delete())

    await refresh(db, tmp_path, office)

    with db.read() as connection:
        assert connection.execute(select(directory)).all() == []
    assert mailboxes(db)[0].state == "erased"


async def test_a_list_that_breaks_off_changes_nothing(db: Database, tmp_path: Path):
    office = Office(*(user(n) for n in range(4)))
    await refresh(db, tmp_path, office)

    async def breaking(request: web.Request) -> web.StreamResponse:
        return graph_error(500, "x") if "$skiptoken" in request.query else await office(request)

    async with small_graph(tmp_path, breaking) as graph, graph.client() as client:
        office.base = graph.graph_url
        with pytest.raises(UnreachableError):
            await refresh_mailboxes(db, client, tenants(db)[0], KEY)

    assert [row.state for row in mailboxes(db)] == ["new"] * 4


async def test_a_tenant_keeps_its_name_and_its_pause(db: Database, tmp_path: Path):
    async with small_graph(tmp_path) as graph:
        made = register_tenant(db, "acme", graph.credentials, "acme", ["Contoso.Example"])
        pause(db, made.tenant_id, "no_consent")
        again = register_tenant(db, "acme_2", graph.credentials, "acme", ["other.example"])

        assert (again.state, again.reason, again.conn_id) == ("paused", "no_consent", "acme_2")
        assert again.internal_domains == ("contoso.example", "other.example")
        with pytest.raises(UsageError, match="cannot become"):
            register_tenant(db, "acme", graph.credentials, "renamed")
        with pytest.raises(UsageError, match="already names"):
            other = replace(graph.credentials, tenant_id="another")
            register_tenant(db, "b", other, "acme")
        with pytest.raises(UsageError, match="cannot name"):
            register_tenant(db, "acme", graph.credentials, "../up")
