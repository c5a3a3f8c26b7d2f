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
from outlook_lake.state.tables import tenant as tenant_table
from outlook_lake.tenants.asked import Scope
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

    assert named(db) == set()
    assert mailboxes(db)[0].state == "erased"


def named(db: Database) -> set[str]:
    """Every address and name the directory tells."""
    with db.read() as connection:
        rows = connection.execute(select(directory.c.address, directory.c.name)).all()
    return {word for row in rows for word in row if word}


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


class Directory(Office):
    """The same with deltas, a group and single users: rows of later rounds hold only an id."""

    def __init__(self, *users: dict[str, Any]) -> None:
        super().__init__(*users)
        self.changed: list[dict[str, Any]] = []
        self.members: list[dict[str, Any]] | None = None
        self.token_lost = False
        self.purposes: dict[str, str] = {}
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path.endswith("$batch"):
            asked = (await request.json())["requests"]
            return json_body({"responses": [self._one(part) for part in asked]})
        if "/groups/" in request.path:
            if self.members is None:
                return graph_error(404, "Request_ResourceNotFound")
            return json_body({"value": self.members})
        if request.path.endswith("/organization"):
            return json_body({"value": [{"verifiedDomains": [{"name": "Alias.example"}]}]})
        link = f"{self.base}/v1.0/users/delta?$deltatoken=x"
        if "$deltatoken" in request.query:
            if self.token_lost:
                return graph_error(410, "SyncStateNotFound")
            return json_body({"value": self.changed, "@odata.deltaLink": link})
        return json_body({"value": self.users, "@odata.deltaLink": link})

    def _one(self, part: dict[str, Any]) -> dict[str, Any]:
        path = part["url"].partition("?")[0].split("/")
        if path[-1] == "mailboxSettings":
            answer = self._settings(part)
            if answer["status"] == 200 and path[2] in self.purposes:
                answer["body"]["userPurpose"] = self.purposes[path[2]]
            return answer
        if path[2] in self.refused:
            error = {"code": "ErrorAccessDenied", "message": ""}
            return {"id": part["id"], "status": 403, "body": {"error": error}}
        found = next((one for one in self.users if one["id"] == path[2]), None)
        if found is None:
            error = {"code": "Request_ResourceNotFound", "message": ""}
            return {"id": part["id"], "status": 404, "body": {"error": error}}
        return {"id": part["id"], "status": 200, "body": found}


async def scoped(db: Database, folder: Path, office: Office, scope: Scope) -> dict[str, int]:
    async with small_graph(folder, office) as graph, graph.client() as client:
        office.base = graph.graph_url
        tenant = register_tenant(db, "acme", graph.credentials, "acme")
        link = f"{graph.graph_url}/v1.0/users/delta?$deltatoken=x"
        with db.write() as connection:  # each small graph has a port of its own
            connection.execute(
                update(tenant_table)
                .where(tenant_table.c.users_link.is_not(None))
                .values(users_link=link)
            )
        return await refresh_mailboxes(db, client, tenant, KEY, scope)


def states(db: Database) -> dict[str, tuple[str, str | None]]:
    return {row.aad_id[-1]: (row.state, row.reason) for row in mailboxes(db)}


async def test_later_rounds_ask_only_for_what_changed(db: Database, tmp_path: Path):
    office = Directory(user(0), user(1), user(2))
    await scoped(db, tmp_path, office, Scope())
    tuids = {row.aad_id: row.tuid for row in mailboxes(db)}
    office.asked.clear()
    office.users = [user(1, mail="new.name@contoso.example", department="Law"), user(3)]
    office.changed = [
        {"id": user_id(1), "mail": "new.name@contoso.example"},
        {"id": user_id(3)},
        {"id": user_id(0), "@removed": {"reason": "changed"}},
    ]

    counts = await scoped(db, tmp_path, office, Scope())

    assert counts == {"users": 2, "added": 1, "back": 0, "parked": 0, "gone": 1}
    assert states(db) == {
        "0": ("parked", "user_gone"),
        "1": ("new", None),
        "2": ("new", None),
        "3": ("new", None),
    }
    assert office.asked.count("/v1.0/users/delta") == 1
    renamed = next(row for row in mailboxes(db) if row.aad_id == user_id(1))
    assert renamed.tuid == tuids[user_id(1)]
    assert renamed.peer_group == "Law/Bern"


async def test_a_forgotten_link_means_the_whole_list_once_more(db: Database, tmp_path: Path):
    office = Directory(user(0), user(1))
    await scoped(db, tmp_path, office, Scope())
    office.token_lost = True
    office.users = [user(1), user(2)]

    counts = await scoped(db, tmp_path, office, Scope())

    assert counts == {"users": 2, "added": 1, "back": 0, "parked": 0, "gone": 1}


async def test_a_group_says_who_is_watched_and_single_people_join_or_stay_out(
    db: Database, tmp_path: Path
):
    office = Directory(*(user(n) for n in range(5)))
    office.members = [user(0), user(1), user(2)]
    scope = Scope(
        group=user_id(9), include=("person4@contoso.example",), exclude=("p2@alias.example",)
    )

    await scoped(db, tmp_path, office, scope)
    assert sorted(states(db)) == ["0", "1", "4"]

    office.members = [user(1)]
    await scoped(db, tmp_path, office, scope)
    assert states(db)["0"] == ("parked", "out_of_scope")


async def test_a_group_that_does_not_exist_changes_nothing_and_says_so(
    db: Database, tmp_path: Path
):
    office = Directory(user(0))
    await scoped(db, tmp_path, office, Scope())

    with pytest.raises(UsageError, match="Object ID"):
        await scoped(db, tmp_path, office, Scope(group=user_id(9)))

    assert states(db) == {"0": ("new", None)}


async def test_rooms_are_left_out_unless_they_are_asked_for(db: Database, tmp_path: Path):
    office = Directory(user(0), user(1))
    office.purposes = {user_id(1): "room"}

    await scoped(db, tmp_path, office, Scope())
    assert states(db)["1"] == ("parked", "out_of_scope")

    await scoped(db, tmp_path, office, Scope(purposes=("user", "room")))
    assert states(db)["1"] == ("new", None)


async def test_who_had_no_mailbox_is_asked_for_again_a_day_later(db: Database, tmp_path: Path):
    office = Directory(user(0))
    office.without_mailbox = {user_id(0)}
    await scoped(db, tmp_path, office, Scope())
    office.without_mailbox = set()

    await scoped(db, tmp_path, office, Scope())
    assert states(db)["0"] == ("parked", "no_mailbox")

    with db.write() as connection:
        connection.execute(update(mailbox).values(recheck_at=1))
    await scoped(db, tmp_path, office, Scope())
    assert states(db)["0"] == ("new", None)


async def test_verified_domains_count_as_inside(db: Database, tmp_path: Path):
    await scoped(db, tmp_path, Directory(user(0, proxyAddresses=[])), Scope())

    assert tenants(db)[0].internal_domains == ("alias.example", "contoso.example")


async def test_one_person_graph_refuses_holds_up_nobody_else(db: Database, tmp_path: Path):
    office = Directory(user(0), user(1))
    await scoped(db, tmp_path, office, Scope())
    office.refused = {user_id(1)}
    office.users = [user(0, department="Law"), user(1, department="Law")]
    office.changed = [{"id": user_id(0)}, {"id": user_id(1)}]

    await scoped(db, tmp_path, office, Scope())

    assert [row.peer_group for row in mailboxes(db)] == ["Law/Bern", "Sales/Bern"]
