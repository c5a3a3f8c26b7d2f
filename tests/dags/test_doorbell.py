"""The doorbell rings for what is there, and keeps quiet while somebody is at it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import func, insert, select, update

from outlook_lake.clock import graph_us, machine_us
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import hint, mailbox


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    for folder in ("ready", "open"):
        (tmp_path / "staging" / folder).mkdir(parents=True)
    return tmp_path


async def rings(seconds: float, most: int = 1, **knobs):
    """What the trigger yields within so many seconds, up to `most`."""
    from outlook_lake.airflow import WorkWaitingTrigger

    heard = []

    async def listen():
        async for event in WorkWaitingTrigger(poke_s=0.02, **knobs).run():
            heard.append(event.payload)
            if len(heard) == most:
                return

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(listen(), seconds)
    return heard


async def test_it_rings_for_a_segment_that_was_there_before_it_started(home):
    (home / "staging/ready/a.seg").touch()
    assert await rings(2) == [{"segments": 1}]


async def test_it_is_quiet_when_nothing_waits(home):
    assert await rings(0.3) == []


async def test_it_rings_again_while_work_remains(home):
    (home / "staging/ready/a.seg").touch()
    heard = await rings(3, most=3, ring_every_s=0.1)
    assert len(heard) == 3


async def test_it_rings_at_once_for_new_work_after_a_quiet_time(home):
    segment = home / "staging/ready/a.seg"

    async def work():
        segment.touch()
        await asyncio.sleep(0.2)
        segment.unlink()
        await asyncio.sleep(0.2)
        segment.touch()

    heard, _ = await asyncio.gather(rings(2, most=2, ring_every_s=60), work())
    assert len(heard) == 2


async def test_it_keeps_quiet_while_a_drain_is_at_work_and_rings_when_that_dies(home):
    from outlook_lake.airflow import draining

    (home / "staging/ready/a.seg").touch()
    with draining(0):
        assert await rings(0.3) == []
    assert len(await rings(2)) == 1


async def test_a_dead_receivers_open_segment_counts_and_a_living_ones_does_not(home):
    segment = home / "staging/open/a.seg"
    segment.write_bytes(b"record\n")
    os.utime(segment, (time.time() - 60, time.time() - 60))
    with segment.open() as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        assert await rings(0.3) == []
    assert await rings(2) == [{"abandoned": 1}]


@pytest.fixture
def store(home) -> Iterator[Callable[..., None]]:
    """Puts a hint into the state database, of a mailbox in the given state."""
    db = Database.open(Settings.load())

    def put(due_at: int, state: str = "live", pause_until: int = 0) -> None:
        with db.write() as connection:
            number = connection.execute(select(func.count()).select_from(mailbox)).scalar_one() + 1
            connection.execute(
                insert(mailbox),
                {
                    "mailbox_id": number,
                    "tenant_id": "t",
                    "aad_id": str(number),
                    "tuid": str(number),
                    "shard": 0,
                    "state": state,
                    "pause_until": pause_until,
                },
            )
            row = {"mailbox_id": number, "item_key": b"k" * 16, "item_id": "x"}
            connection.execute(insert(hint), {**row, "kinds": 1, "count": 1, "due_at": due_at})

    yield put
    db.close()


async def test_a_hint_that_is_due_rings_and_one_due_later_does_not(store):
    store(machine_us() + 60_000_000)
    assert await rings(0.3) == []
    store(machine_us() - 1)
    assert await rings(2) == [{"due": 1}]


async def test_hints_nobody_could_look_at_now_do_not_ring(store):
    store(machine_us() - 1, state="parked")
    store(machine_us() - 1, pause_until=machine_us() + 60_000_000)
    assert await rings(0.3) == []


@pytest.mark.parametrize(
    ("wanted", "state", "heard"),
    [
        (-60, "live", [{"rounds": 1}]),
        (-60, "parked", []),
        (+60, "live", []),
    ],
)
async def test_a_full_round_that_somebody_wants_rings_when_it_could_be_carried_out(
    store, wanted, state, heard
):
    store(machine_us() + 60_000_000, state=state)
    db = Database.open(Settings.load())
    with db.write() as connection:
        connection.execute(update(mailbox).values(round_wanted_at=graph_us() + wanted * 1_000_000))
    db.close()
    assert await rings(0.3) == heard


async def test_a_home_without_a_database_is_no_reason_to_fail_nor_to_make_one(home):
    assert await rings(0.2) == []
    assert not (home / "state").exists()


def test_its_identity_survives_the_way_through_airflows_database():
    from airflow._shared.module_loading import import_string

    from outlook_lake.airflow import WorkWaitingTrigger

    path, arguments = WorkWaitingTrigger(poke_s=0.7, ring_every_s=9).serialize()
    assert import_string(path)(**arguments).serialize() == (path, arguments)
