"""The step over tenants: each on its own, told aloud, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from outlook_lake import clock, steps
from outlook_lake.application import Application
from outlook_lake.errors import ConsentError, TokenRefusedError, UsageError
from outlook_lake.settings import (
    ReceiverSettings,
    Settings,
    StreamSettings,
    SubscriptionSettings,
    TenantSettings,
)
from outlook_lake.state.tables import gap, mailbox, subscription, tenant
from outlook_lake.subscriptions import signals
from outlook_lake.tenants.credentials import TenantConnection, parse_connection
from tests.support.receiver import running
from tests.support.simulator import SimulatorProcess, running_simulator

pytestmark = pytest.mark.slow
PAUSE_S = 900.0


@dataclass
class Company:
    """A simulator with two tenants, a receiver and a home that serves both."""

    simulator: SimulatorProcess
    settings: Settings
    connections: dict[str, dict[str, Any]]

    def app(self) -> Application:
        def connection(conn_id: str) -> TenantConnection:
            if conn_id not in self.connections:
                raise UsageError(f"no connection {conn_id!r}")
            return parse_connection(conn_id, self.connections[conn_id])

        return Application.open(self.settings, connection=connection)

    async def step(self, **how: Any) -> dict[str, Any]:
        with self.app() as app:
            return await steps.subscriptions(app, **how)

    async def stream(self) -> dict[str, Any]:
        with self.app() as app:
            return await steps.stream(app, until_idle=True)

    def rows(self, table: Any) -> Any:
        with self.app() as app, app.db.read() as connection:
            return connection.execute(select(table)).all()

    def change(self, table: Any, **values: Any) -> None:
        with self.app() as app, app.db.write() as connection:
            connection.execute(update(table).values(**values))

    def tenant(self, domain_id: str) -> Any:
        return next(row for row in self.rows(tenant) if row.domain_id == domain_id)

    async def act(self, do: str, number: int = 0, **more: Any) -> None:
        people = self.simulator.people
        await asyncio.to_thread(self.simulator.act, people[number], do, **more)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self.simulator.control, method, path, body)


def connection_to(simulator: SimulatorProcess, made: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "conn_type": "msgraph",
        "login": made["client_id"],
        "password": made["client_secret"],
        "host": "127.0.0.1",
        "schema": "http",
        "port": simulator.port,
        "extra": {
            "tenant_id": made["tenant_id"],
            "domain_id": name,
            "authority": f"127.0.0.1:{simulator.tls_port}",
            "verify": str(simulator.state / "ca.pem"),
        },
    }


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    clock_file = tmp_path / "simulator" / "clock.json"
    options = ("--clock-file", str(clock_file), "--start-back", "P2D")
    with running_simulator(
        tmp_path / "simulator", mailboxes=2, history=2, options=options
    ) as simulator:
        monkeypatch.setenv(clock.CLOCK_ENV, str(clock_file))
        second = simulator.control(
            "POST", "tenants", {"domain": "fabrikam.example", "mailboxes": 1}
        )
        connections = {
            "one": connection_to(simulator, simulator.tenant, "one"),
            "two": connection_to(simulator, second, "two"),
        }
        home = tmp_path / "home"
        with running(home, clock=clock_file, segment_age_s=0.1) as receiver:
            settings = replace(
                Settings(),
                home=home,
                tenants=TenantSettings(connections="one,two"),
                receiver=ReceiverSettings(
                    notification_url=f"http://127.0.0.1:{receiver.port}/notifications"
                ),
                stream=StreamSettings(coalesce_s=0.0, absence_s=0.1, lag_s=0.1),
                subscriptions=SubscriptionSettings(writes_per_s=200.0, paused_retry_s=PAUSE_S),
            )
            yield Company(simulator, settings, connections)


async def test_a_plan_is_shown_and_nothing_is_subscribed(company: Company):
    planned = await company.step(plan_only=True)

    text = "\n".join(planned["plan"])
    assert "create       missing" in text
    assert "rules     snapshot" in text
    assert planned["note"] == "one: 0 of 2 watched; create 2; two: 0 of 1 watched; create 1"
    for private in (
        *company.simulator.people,
        "@contoso.example",
        company.simulator.tenant["tenant_id"],
    ):
        assert private not in text
    stats = await company.control("GET", "subscriptions")
    assert stats["subscriptions"] == []

    did = await company.step()
    assert (did["created"], did["priming"], did["troubles"]) == (3, 3, [])
    assert did["note"] == "one: 2 created, 2 priming; two: 1 created, 1 priming"


async def test_lost_consent_pauses_one_tenant_and_the_other_goes_on(
    company: Company, caplog: pytest.LogCaptureFixture
):
    await company.step()
    company.change(mailbox, state="live")
    company.change(subscription, renew_at=1)
    await company.act("withdraw_consent")

    with caplog.at_level(logging.ERROR):
        did = await company.step()

    assert did["renewed"] == 1
    assert [one["tenant"] for one in did["troubles"]] == ["one"]
    alarm = [row.message for row in caplog.records if row.levelno == logging.ERROR]
    assert any("tenant one is paused" in line and "consent" in line for line in alarm)
    paused = company.tenant("one")
    assert (paused.state, company.tenant("two").state) == ("paused", "live")
    wait_s = (paused.retry_at - clock.machine_us()) / 1e6
    assert PAUSE_S - 30 < wait_s <= PAUSE_S
    # Graph may deliver nothing now: that is a gap of its mailboxes, and only of its.
    assert [(row.cause, row.note, row.to_at) for row in company.rows(gap)] == [
        ("lapsed", "consent", None)
    ] * 2

    # Until its time comes it is told of, not asked.
    before = (await company.control("GET", "stats"))["requests"]
    did = await company.step()
    assert "asked again in" in did["troubles"][0]["what"]
    after = (await company.control("GET", "stats"))["requests"]
    assert after.get("subscriptions:PATCH") == before.get("subscriptions:PATCH")
    with pytest.raises(ConsentError):  # asked by name it is asked at once
        await company.step(tenant="one")
    assert company.tenant("one").paused_at == paused.paused_at

    await company.act("grant_consent")
    await company.control("POST", "clock", {"advance": "PT11M"})
    did = await company.step(tenant="one")

    assert (did["reauthorized"], did["troubles"]) == (2, [])
    awake = company.tenant("one")
    assert (awake.state, awake.reason, awake.retry_at) == ("live", None, None)
    assert all(row.to_at is not None for row in company.rows(gap))


async def test_a_paused_tenant_is_asked_more_and_more_slowly_and_never_forgotten(company: Company):
    await company.step()
    company.change(mailbox, state="live")
    company.change(subscription, renew_at=1)
    await company.act("withdraw_consent")
    await company.step()
    waits = []
    for hours in (0.25, 0.5, 1.0, 9.0, 99.0):
        since = clock.machine_us() - int(hours * 3.6e9)
        company.change(tenant, paused_at=since, retry_at=clock.machine_us() - 1)
        await company.step()
        waits.append(round((company.tenant("one").retry_at - clock.machine_us()) / 3.6e9, 2))

    assert waits == [0.25, 0.5, 1.0, 4.0, 4.0]


async def test_a_wrong_secret_and_a_missing_connection_stop_nobody_else(company: Company):
    company.connections["one"]["password"] = "wrong"
    did = await company.step()

    assert did["created"] == 1
    assert [one["tenant"] for one in did["troubles"]] == ["one"]
    assert "credentials" in company.tenant("one").reason

    del company.connections["one"]
    company.change(tenant, retry_at=1)
    did = await company.step()
    assert [one["tenant"] for one in did["troubles"]] == ["one"]
    assert "no connection 'one'" in did["troubles"][0]["what"]

    company.connections["two"]["password"] = "wrong"
    with pytest.raises(TokenRefusedError):
        await company.step(tenant="two")


async def test_a_scope_group_that_is_gone_is_told_and_who_is_known_stays_watched(company: Company):
    await company.step()
    company.change(mailbox, state="live")
    company.change(subscription, renew_at=1)
    missing = "3f0b1a9e-0000-4000-8000-00000000dead"
    company.connections["one"]["extra"]["scope"] = {"group": missing}

    did = await company.step()

    assert did["renewed"] == 3
    assert [one["tenant"] for one in did["troubles"]] == ["one"]
    assert "GroupMember.Read.All" in did["troubles"][0]["what"]

    company.change(subscription, renew_at=1)
    roles = [*company.simulator.tenant["roles"], "GroupMember.Read.All"]
    about = {"tenant": company.simulator.tenant["tenant_id"], "roles": roles}
    await company.control("POST", "roles", about)
    did = await company.step()

    assert did["renewed"] == 3
    assert "does not exist in this tenant" in did["troubles"][0]["what"]
    assert {row.state for row in company.rows(mailbox)} == {"live"}


async def test_one_tenants_missing_ca_file_stops_nobody_else(company: Company):
    await company.step()
    company.connections["one"]["extra"]["verify"] = "/no/such/ca.pem"
    company.change(subscription, renew_at=1)

    did = await company.step()
    streamed = await company.stream()

    assert did["renewed"] == 1
    assert "extra.verify" in did["troubles"][0]["what"]
    assert streamed["segments"] >= 0


async def test_what_graph_removed_is_made_again_by_the_stream_at_once(company: Company):
    await company.step()
    company.change(mailbox, state="live", primed_at=1)
    about = {"mailbox": company.simulator.people[0]}
    await company.control(
        "POST", "faults", {"kind": "remove_subscription", "match": about, "tell": 1}
    )
    await asyncio.to_thread(company.simulator.wait_until_quiet)
    await asyncio.sleep(0.5)  # the open segment closes by age

    did = await company.stream()

    assert did["recreated"] == 1
    alive = (await company.control("GET", "subscriptions"))["subscriptions"]
    assert {row["mailbox"] for row in alive} >= set(company.simulator.people)
    (hole,) = company.rows(gap)
    assert (hole.cause, hole.note) == ("lapsed", "removed")
    assert hole.to_at is not None
    with company.app() as app:
        assert signals.called(app.db) == {}


async def test_what_graph_holds_back_is_renewed_by_the_stream_at_once(company: Company):
    await company.step()
    company.change(mailbox, state="live", primed_at=1)
    company.change(subscription, renewed_at=1)
    about = {"mailbox": company.simulator.people[0]}
    await company.control("POST", "faults", {"kind": "reauthorize", "match": about})
    await asyncio.to_thread(company.simulator.wait_until_quiet)
    await asyncio.sleep(0.5)

    did = await company.stream()

    assert did["reauthorized"] == 1
    alive = (await company.control("GET", "subscriptions"))["subscriptions"]
    assert not [row for row in alive if row.get("paused")]
