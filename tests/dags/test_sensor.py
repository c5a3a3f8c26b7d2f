"""The notification sensor: what it hears, what it does not, and what it says when nothing came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import mailbox, subscription, tenant


@pytest.fixture
def notify(tmp_path, monkeypatch) -> Iterator[Callable[[str, int], None]]:
    """Two tenants with a mailbox each; a call says when the mailbox of one was told about."""
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    db = Database.open(Settings.load())
    with db.write() as connection:
        for number, name in ((1, "a.example"), (2, "b.example")):
            connection.execute(
                insert(tenant).values(
                    tenant_id=name,
                    domain_id=name,
                    conn_id=name,
                    cloud="global",
                    internal_domains=[],
                    state="live",
                )
            )
            connection.execute(
                insert(mailbox).values(
                    mailbox_id=number,
                    tenant_id=name,
                    aad_id=name,
                    tuid=f"tuid-{number}",
                    shard=0,
                    state="live",
                )
            )

    def told(name: str, at: int) -> None:
        row = {"nonce": f"{name}-{at}", "mode": "basic", "key_id": "k", "state": "active"}
        with db.write() as connection:
            connection.execute(
                insert(subscription).values(
                    **row, mailbox_id=1 if name == "a.example" else 2, last_notified_at=at
                )
            )

    yield told
    db.close()


async def heard(within_s: float = 0.3, **asked: Any) -> int | None:
    """What the trigger yields, at the latest when its time is over."""
    from outlook_lake.airflow.sensor import NotificationTrigger

    trigger = NotificationTrigger(since_us=1000, until=time.time() + within_s, poke_s=0.02, **asked)
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return events[0]["notified_at"]


async def test_it_hears_the_newest_notification_after_the_moment(notify):
    notify("a.example", 900)
    assert await heard() is None
    notify("b.example", 2000)
    notify("a.example", 3000)
    assert await heard() == 3000


async def test_it_hears_only_the_tenant_or_mailbox_it_was_told_to(notify):
    notify("b.example", 2000)
    assert await heard(tenant="a.example") is None
    assert await heard(mailbox="tuid-1") is None
    assert await heard(tenant="b.example", mailbox="tuid-2") == 2000


async def test_it_hears_what_comes_while_it_waits(notify):
    waiting = asyncio.create_task(heard(within_s=5))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(notify, "a.example", 5000)
    assert await asyncio.wait_for(waiting, 2) == 5000


async def test_a_home_without_a_database_is_waited_for_and_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path / "none"))
    assert await heard(within_s=0.1) is None
    assert not (tmp_path / "none").exists()


def test_what_it_waits_for_survives_a_restart_of_the_triggerer():
    from airflow._shared.module_loading import import_string

    from outlook_lake.airflow.sensor import NotificationTrigger

    path, arguments = NotificationTrigger(5, 99.5, "a.example", None, 0.5).serialize()
    assert import_string(path)(**arguments).serialize() == (path, arguments)


class Ti:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def test_the_sensor_takes_no_worker_slot_while_it_waits(tmp_path, monkeypatch):
    from airflow.sdk.exceptions import TaskDeferred

    from outlook_lake.airflow import NotificationSensor

    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    sensor = NotificationSensor(
        task_id="s", tenant="a.example", since="2026-11-20T09:00:00Z", timeout=60
    )
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    trigger = deferred.value.trigger
    assert (trigger.tenant, trigger.mailbox) == ("a.example", None)
    assert trigger.since_us == 1_795_165_200_000_000
    assert 58 < trigger.until - time.time() <= 60


@pytest.mark.parametrize("soft", [True, False])
def test_when_nothing_came_it_says_what_to_try(soft):
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    from outlook_lake.airflow import NotificationSensor

    sensor = NotificationSensor(task_id="s", tenant="a.example", soft_fail=soft)
    ti = Ti()
    with pytest.raises(AirflowSkipException if soft else AirflowFailException) as said:
        sensor.heard({"ti": ti}, {"notified_at": None}, began=time.time() - 300)
    assert "no notification of a.example in 300 s" in str(said.value)
    assert "cannot send a mail ourselves" in str(said.value)
    assert ti.pushed["note"] == str(said.value)


def test_what_came_is_told_with_how_long_it_took():
    from outlook_lake.airflow import NotificationSensor

    ti = Ti()
    sensor = NotificationSensor(task_id="s")
    answer = sensor.heard({"ti": ti}, {"notified_at": 1_795_165_200_000_000}, began=time.time() - 7)
    assert answer["notified_at"] == "2026-11-20T09:00:00Z"
    assert 7 <= answer["waited_s"] < 8
    assert "after 7 s of waiting" in ti.pushed["note"]
