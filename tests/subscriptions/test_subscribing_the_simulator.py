"""The whole of scope and subscriptions against the simulator: token, users, handshake, clock."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from outlook_lake import clock
from outlook_lake.graph.auth import TokenSource
from outlook_lake.graph.client import BatchRequest, GraphClient
from outlook_lake.graph.messages import decode_message, decode_page
from outlook_lake.graph.resources import message_delta_path, message_path, paged
from outlook_lake.settings import ReceiverSettings, Settings, SubscriptionSettings
from outlook_lake.state import Database
from outlook_lake.state.tables import mailbox, subscription
from outlook_lake.subscriptions.carry_out import subscribe
from outlook_lake.tenants.credentials import Credentials, parse_connection
from outlook_lake.tenants.directory import DirectoryKey
from outlook_lake.tenants.registry import register_tenant
from outlook_lake.tenants.scope import refresh_mailboxes
from tests.support.receiver import landed, running
from tests.support.simulator import INCLUDE, SimulatorProcess, running_simulator

KEY = DirectoryKey(b"k" * 32)
PEOPLE = 40


@dataclass
class Scene:
    """A simulated tenant, a receiver, and a home between them."""

    simulator: SimulatorProcess
    settings: Settings
    credentials: Credentials
    db: Database

    @asynccontextmanager
    async def client(self) -> AsyncIterator[GraphClient]:
        tokens = TokenSource(self.credentials)
        async with GraphClient(self.credentials, tokens, self.settings) as client:
            yield client

    async def subscribe(self) -> dict[str, int]:
        async with self.client() as client:
            tenant = register_tenant(self.db, "sim", self.credentials, "sim")
            await refresh_mailboxes(self.db, client, tenant, KEY)
            return (await subscribe(self.db, client, self.settings, tenant)).counts

    def count(self, table: Any, **where: Any) -> int:
        query = select(func.count()).select_from(table).filter_by(**where)
        with self.db.read() as connection:
            return connection.execute(query).scalar_one()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    clock_file = tmp_path / "simulator" / "clock.json"
    with running_simulator(
        tmp_path / "simulator", mailboxes=PEOPLE, options=("--clock-file", str(clock_file))
    ) as simulator:
        monkeypatch.setenv(clock.CLOCK_ENV, str(clock_file))
        home = tmp_path / "home"
        with running(home, clock=clock_file, segment_age_s=0.1) as receiver:
            url = f"http://127.0.0.1:{receiver.port}/notifications"
            settings = replace(
                Settings(),
                home=home,
                receiver=ReceiverSettings(notification_url=url),
                subscriptions=SubscriptionSettings(writes_per_s=24.0),
            )
            found = parse_connection("sim", connection_to(simulator))
            db = Database.open(settings)
            yield Scene(simulator, settings, found.credentials, db)
            db.close()


def connection_to(simulator: SimulatorProcess) -> dict[str, Any]:
    return {
        "conn_type": "msgraph",
        "login": simulator.tenant["client_id"],
        "password": simulator.tenant["client_secret"],
        "host": "127.0.0.1",
        "schema": "http",
        "port": simulator.port,
        "extra": {
            "tenant_id": simulator.tenant["tenant_id"],
            "authority": f"127.0.0.1:{simulator.tls_port}",
            "verify": str(simulator.state / "ca.pem"),
        },
    }


@pytest.mark.slow
async def test_a_whole_tenant_is_watched_and_its_mail_is_notified(scene: Scene):
    counts = await scene.subscribe()

    assert (counts["created"], counts["priming"]) == (PEOPLE, PEOPLE)
    assert scene.count(subscription, state="active") == PEOPLE
    with scene.db.read() as connection:
        rows = connection.execute(select(mailbox.c.watch_from, mailbox.c.time_zone)).all()
    now = clock.graph_us()
    assert all(now - 60_000_000 < row.watch_from <= now for row in rows)
    assert all(row.time_zone for row in rows)

    arrived = await asyncio.to_thread(scene.simulator.act, scene.simulator.people[0], "receive")
    await asyncio.to_thread(scene.simulator.wait_until_quiet)
    await asyncio.sleep(0.5)  # the open segment closes by age
    assert arrived["item"] in landed(scene.settings.home).items()

    async with scene.client() as client:
        user = scene.simulator.people[0]
        answer = await client.batch([BatchRequest("0", message_path(user, arrived["item"]))])
        page = await client.get(message_delta_path(user, "inbox"), mailbox=user, prefer=paged(5))
    message = decode_message(answer.items[0].body)
    assert message.id == arrived["item"]
    assert (message.is_read, message.is_draft) == (False, False)
    decoded = decode_page(page.body)
    assert decoded.refused == 0
    assert decoded.next_link or decoded.delta_link


@pytest.mark.slow
async def test_a_run_killed_anywhere_is_carried_on_by_the_next(scene: Scene):
    program = (
        "import asyncio\n"
        "from tests.subscriptions.test_subscribing_the_simulator import resume_in_process\n"
        f"asyncio.run(resume_in_process({str(scene.settings.home)!r}, "
        f"{scene.settings.receiver.notification_url!r}, {connection_to(scene.simulator)!r}))\n"
    )
    for share in (1, 12, 25):
        child = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-c", program],
            cwd=INCLUDE.parent,
            env={**os.environ, "PYTHONPATH": f"{INCLUDE}:{INCLUDE.parent}"},
        )
        begun = await asyncio.to_thread(_graph_made, scene, share, child)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert begun

    # The lease of the killed run is not waited out: a minute of machine time is turned over.
    with scene.db.write() as connection:
        connection.exec_driver_sql("UPDATE lease SET lease_until = 0")
    await scene.subscribe()

    assert scene.count(subscription, state="active") == PEOPLE
    assert scene.count(subscription, state="creating") == 0
    assert scene.count(mailbox, state="priming") == PEOPLE
    alive = await asyncio.to_thread(scene.simulator.control, "GET", "subscriptions")
    assert len(alive["subscriptions"]) == PEOPLE
    with scene.db.read() as connection:
        known = set(connection.scalars(select(subscription.c.subscription_id)))
    assert {entry["id"] for entry in alive["subscriptions"]} == known


async def resume_in_process(home: str, url: str, connection: dict[str, Any]) -> None:
    """What a killed process runs: one whole step, its lease of the run before turned over."""
    settings = replace(
        Settings(),
        home=Path(home),
        receiver=ReceiverSettings(notification_url=url),
        subscriptions=SubscriptionSettings(writes_per_s=24.0),
    )
    db = Database.open(settings)
    with db.write() as turned:
        turned.exec_driver_sql("UPDATE lease SET lease_until = 0")
    credentials = parse_connection("sim", connection).credentials
    async with GraphClient(credentials, TokenSource(credentials), settings) as client:
        tenant = register_tenant(db, "sim", credentials, "sim")
        await refresh_mailboxes(db, client, tenant, KEY)
        await subscribe(db, client, settings, tenant)


def _graph_made(scene: Scene, share: int, child: subprocess.Popen[bytes]) -> bool:
    """Wait until Graph holds so many subscriptions, while the child is still at it."""
    until = time.monotonic() + 20
    while time.monotonic() < until and child.poll() is None:
        if len(scene.simulator.control("GET", "subscriptions")["subscriptions"]) >= share:
            return True
        time.sleep(0.01)
    return False
