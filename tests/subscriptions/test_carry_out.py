"""Every mailbox is watched, once, whatever Graph answers and wherever a run dies."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.errors import ConsentError, UnreachableError, UsageError
from outlook_lake.receiver.client_state import Proof, check, load_keys
from outlook_lake.settings import ReceiverSettings, Settings, SubscriptionSettings
from outlook_lake.state import Database
from outlook_lake.state.tables import gap, lease, mailbox, subscription, tenant
from outlook_lake.subscriptions.carry_out import subscribe
from outlook_lake.tenants.registry import Tenant, register_tenant
from outlook_lake.tenants.scope import park
from tests.support.graph import SmallGraph, graph_error, json_body, small_graph, wait_until

URL = "https://hooks.contoso.example/notifications"


class Desk:
    """Graph's side of subscriptions, with its refusals."""

    def __init__(self) -> None:
        self.alive: dict[str, dict[str, Any]] = {}
        self.longest_min = 10_080
        self.name_ids_in_409 = True
        self.answers_first: list[Callable[[], web.Response]] = []
        """Given to the next POSTs instead of an answer."""
        self.posts: list[float] = []
        self.in_flight = self.highest = 0
        self.base = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.highest = max(self.highest, self.in_flight)
        try:
            await asyncio.sleep(0.01)
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        subscription_id = request.path.rpartition("/")[2]
        if request.method == "POST":
            self.posts.append(time.monotonic())
            if self.answers_first:
                return self.answers_first.pop(0)()
            return self.create(await request.json())
        if request.method == "GET":
            return json_body({"value": list(self.alive.values())})
        if subscription_id not in self.alive:
            return graph_error(404, "ResourceNotFound")
        if request.method == "DELETE":
            del self.alive[subscription_id]
            return web.Response(status=204)
        entry = self.alive[subscription_id]
        return self._granted(entry, await request.json()) or json_body(entry)

    def create(self, body: dict[str, Any]) -> web.Response:
        for known in self.alive.values():
            if known["resource"] == body["resource"]:
                told = f"Existing subscription id: {known['id']}" if self.name_ids_in_409 else ""
                return graph_error(409, "InvalidRequest", told)
        entry = {**body, "id": str(uuid.uuid4())}
        refused = self._granted(entry, body)
        if refused is not None:
            return refused
        self.alive[entry["id"]] = entry
        return web.json_response(entry, status=201)

    def _granted(self, entry: dict[str, Any], body: dict[str, Any]) -> web.Response | None:
        until = datetime.fromisoformat(body["expirationDateTime"])
        if until > datetime.now(UTC) + timedelta(minutes=self.longest_min):
            text = f"Subscription expiration can only be {self.longest_min} minutes in the future."
            return graph_error(400, "ExtensionError", text)
        entry["expirationDateTime"] = until.strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
        return None


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch):
    monkeypatch.delenv(clock.CLOCK_ENV, raising=False)
    clock.set_offset(0.0)
    yield
    clock.set_offset(0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(
        Settings(),
        home=tmp_path,
        receiver=ReceiverSettings(notification_url=URL),
        subscriptions=SubscriptionSettings(writes_per_s=1000.0),
    )


@pytest.fixture
def db(settings: Settings):
    database = Database.open(settings)
    yield database
    database.close()


def add_mailboxes(db: Database, tenant_id: str, count: int) -> None:
    with db.write() as connection:
        connection.execute(
            mailbox.insert(),
            [
                {
                    "tenant_id": tenant_id,
                    "aad_id": f"7a1e5c00-1111-4222-8333-{n:012d}",
                    "tuid": f"tuid-{n}",
                    "shard": n % 256,
                    "state": "new",
                }
                for n in range(count)
            ],
        )


class Company:
    """A tenant, its mailboxes and Graph's desk; `run` is one run of the step."""

    def __init__(self, db: Database, settings: Settings, folder: Path) -> None:
        self.db, self.settings, self.folder = db, settings, folder
        self.desk = Desk()
        self.tenant: Tenant | None = None

    async def run(self) -> dict[str, int]:
        async with small_graph(self.folder, self.desk) as graph:
            return await self.run_with(graph)

    async def run_with(self, graph: SmallGraph) -> dict[str, int]:
        graph.now = datetime.now(UTC).replace(microsecond=0)
        self.began = clock.to_us(graph.now)
        if self.tenant is None:
            self.tenant = register_tenant(self.db, "acme", graph.credentials, "acme")
            add_mailboxes(self.db, self.tenant.tenant_id, 3)
        async with graph.client() as client:
            return await subscribe(self.db, client, self.settings, self.tenant)

    def rows(self, table: Any) -> Any:
        with self.db.read() as connection:
            return connection.execute(select(table)).all()

    def change(self, table: Any, **values: Any) -> None:
        with self.db.write() as connection:
            connection.execute(update(table).values(**values))


@pytest.fixture
def company(db: Database, settings: Settings, tmp_path: Path) -> Company:
    return Company(db, settings, tmp_path)


def counted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


async def test_every_new_mailbox_is_watched_and_waits_to_be_primed(company: Company):
    counts = await company.run()

    assert counted(counts) == {"planned": 3, "created": 3, "priming": 3}
    assert {row.state for row in company.rows(mailbox)} == {"priming"}
    assert {row.watch_from for row in company.rows(mailbox)} == {company.began}
    assert company.rows(tenant)[0].watch_from == company.began
    for row in company.rows(subscription):
        assert (row.state, row.mode) == ("active", "basic")
        assert row.renew_at == company.began + (row.expires_at - company.began) // 2


async def test_the_request_asks_for_all_changes_and_carries_a_proof(company: Company):
    await company.run()

    assert company.tenant is not None
    keys = load_keys(company.settings.keys)
    for entry in company.desk.alive.values():
        user = entry["resource"].split("/")[1]
        assert entry["changeType"] == "created,updated,deleted"
        assert entry["notificationUrl"] == entry["lifecycleNotificationUrl"] == URL
        proof = check(keys, entry["clientState"], company.tenant.tenant_id, user)
        assert isinstance(proof, Proof)
        assert proof.nonce in {row.nonce for row in company.rows(subscription)}


async def test_running_twice_changes_nothing(company: Company):
    await company.run()
    before = company.rows(subscription)

    counts = await company.run()

    assert counted(counts) == {}
    assert company.rows(subscription) == before
    assert len(company.desk.posts) == 3


async def test_the_row_is_there_before_graph_is_asked(company: Company):
    seen: list[int] = []
    create = company.desk.create

    def looking(body: dict[str, Any]) -> web.Response:
        nonce = body["clientState"].split(".")[2]
        seen.append(sum(row.nonce == nonce for row in company.rows(subscription)))
        return create(body)

    company.desk.create = looking  # type: ignore[method-assign]
    await company.run()

    assert seen == [1, 1, 1]


async def test_a_run_that_died_after_the_201_is_carried_on_by_adoption(company: Company):
    await company.run()
    # What a kill between Graph's answer and our commit leaves behind:
    company.change(subscription, state="creating", subscription_id=None, expires_at=None)
    company.change(mailbox, state="subscribing", watch_from=None)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "adopted": 3, "priming": 3}
    rows = company.rows(subscription)
    assert {row.subscription_id for row in rows} == set(company.desk.alive)
    assert {row.state for row in rows} == {"active"}
    assert all(row.watch_from == company.began for row in company.rows(mailbox))


async def test_a_run_that_died_before_the_post_is_carried_on(company: Company):
    await company.run()
    company.desk.alive.clear()
    company.change(subscription, state="creating", subscription_id=None)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "created": 3}
    assert len(company.rows(subscription)) == 3


@pytest.mark.parametrize("told", [True, False], ids=["id in the 409", "id from the list"])
async def test_a_subscription_nobody_here_made_is_replaced(company: Company, told: bool):
    await company.run()
    company.desk.name_ids_in_409 = told
    foreign = set(company.desk.alive)
    with company.db.write() as connection:  # another state database's work
        connection.execute(subscription.delete())
        connection.execute(update(mailbox).values(state="new"))

    counts = await company.run()

    assert counts["created"] == 3
    assert not foreign & set(company.desk.alive)


async def test_half_way_through_its_life_it_is_renewed(company: Company):
    await company.run()
    company.change(subscription, renew_at=1, expires_at=company.began + 60_000_000)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "renewed": 3}
    assert all(row.renew_at > company.began for row in company.rows(subscription))
    assert company.rows(gap) == []


async def test_one_that_graph_forgot_is_made_again_and_leaves_a_gap(company: Company):
    await company.run()
    created = company.began
    company.desk.alive.clear()
    company.change(mailbox, state="live")
    company.change(subscription, renew_at=1, last_notified_at=created + 7)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "recreated": 3}
    assert {row.state for row in company.rows(mailbox)} == {"live"}
    holes = company.rows(gap)
    assert [(hole.cause, hole.loss, hole.state) for hole in holes] == [
        ("lapsed", "created_and_purged", "open")
    ] * 3
    assert {(hole.from_at, hole.to_at) for hole in holes} == {(created + 7, company.began)}


async def test_one_that_expired_leaves_a_gap_from_its_end(company: Company):
    await company.run()
    end = company.began - 5_000_000
    company.desk.alive.clear()
    company.change(subscription, expires_at=end, renew_at=1)

    counts = await company.run()

    assert counts["recreated"] == 3
    assert {(hole.from_at, hole.to_at) for hole in company.rows(gap)} == {(end, company.began)}
    states = sorted(row.state for row in company.rows(subscription))
    assert states == ["active"] * 3 + ["lost"] * 3


async def test_who_is_back_from_being_parked_is_primed_again_and_its_gap_ends(company: Company):
    await company.run()
    with company.db.write() as connection:
        rows = connection.execute(select(mailbox.c.mailbox_id)).scalars().all()
        park(connection, rows, "user_gone", company.began)
        connection.execute(update(mailbox).values(state="live"))
        park(connection, rows, "user_gone", company.began)
    watch_from = {row.watch_from for row in company.rows(mailbox)}
    company.change(mailbox, state="new", reason=None)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "renewed": 3, "priming": 3}
    assert {row.watch_from for row in company.rows(mailbox)} == watch_from
    assert {hole.to_at for hole in company.rows(gap)} == {company.began}


async def test_a_run_that_died_holding_the_lease_is_waited_out(company: Company):
    async with small_graph(company.folder, company.desk) as graph:
        dying = asyncio.create_task(company.run_with(graph))
        await wait_until(lambda: bool(company.desk.posts))
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        with company.db.write() as connection:
            connection.execute(
                update(lease).values(
                    lease_by="a dead run", lease_until=clock.machine_us() + 1_500_000
                )
            )
        counts = await company.run_with(graph)

    assert counts["planned"] == 3
    assert {row.state for row in company.rows(subscription)} == {"active"}


async def test_a_shorter_limit_named_by_graph_is_taken(company: Company):
    company.desk.longest_min = 4_230

    counts = await company.run()

    assert counts["created"] == 3
    lives = {(row.expires_at - company.began) / 60e6 for row in company.rows(subscription)}
    assert all(4_000 < life < 4_230 for life in lives)


async def test_a_mailbox_that_is_none_is_parked_and_the_rest_goes_on(company: Company):
    company.desk.answers_first = [lambda: graph_error(404, "MailboxNotEnabledForRESTAPI")]

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "created": 2, "parked": 1, "priming": 2}
    (parked,) = [row for row in company.rows(mailbox) if row.state == "parked"]
    assert parked.reason == "no_mailbox"
    assert parked.recheck_at > clock.machine_us()


async def test_a_throttled_write_is_asked_again_in_the_same_run(company: Company):
    company.desk.answers_first = [
        lambda: graph_error(429, "TooManyRequests", headers={"Retry-After": "0.1"})
    ] * 5

    counts = await company.run()

    assert counts["created"] == 3


async def test_an_address_graph_cannot_reach_is_said_in_words(company: Company):
    company.desk.answers_first = [
        lambda: graph_error(
            400, "ValidationError", "Subscription validation request failed. CANARY"
        )
    ] * 3

    with pytest.raises(UnreachableError, match="receiver runs") as caught:
        await company.run()

    assert "CANARY" not in str(caught.value)
    assert {row.state for row in company.rows(mailbox)} == {"subscribing"}
    assert counted(await company.run())["created"] == 3


async def test_a_refused_permission_stops_the_run_and_is_told(company: Company):
    company.desk.answers_first = [lambda: graph_error(403, "ErrorAccessDenied")] * 3

    with pytest.raises(ConsentError):
        await company.run()

    assert all("ErrorAccessDenied" in row.last_error for row in company.rows(subscription))


async def test_without_a_public_address_nothing_is_asked(company: Company):
    company.settings = replace(company.settings, receiver=ReceiverSettings(notification_url=""))

    with pytest.raises(UsageError, match="OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL"):
        await company.run()

    assert company.desk.posts == []


async def test_writes_keep_the_pace_and_run_beside_each_other(company: Company):
    company.settings = replace(
        company.settings, subscriptions=SubscriptionSettings(writes_per_s=50.0)
    )
    await company.run()
    assert company.tenant is not None
    with company.db.write() as connection:
        connection.execute(mailbox.delete())
        connection.execute(subscription.delete())
    add_mailboxes(company.db, company.tenant.tenant_id, 40)
    company.desk.alive.clear()
    company.desk.posts.clear()

    counts = await company.run()

    took = company.desk.posts[-1] - company.desk.posts[0]
    assert counts["created"] == 40
    assert 0.7 < took < 2.0  # 39 turns at 50 a second, however long each answer takes


async def test_two_runs_at_once_are_one(company: Company):
    async with small_graph(company.folder, company.desk) as graph:
        first, second = await asyncio.gather(company.run_with(graph), company.run_with(graph))

    assert sorted((first.get("created", 0), second.get("created", 0))) == [0, 3]
    assert len(company.desk.posts) == 3
