"""A round somebody wants is carried out beside the drain, and cleared only by one that proves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.looks.waiting import waiting
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import HintKind
from tests.support.graph import graph_error, message_row
from tests.support.one_mailbox import GRAPH_US, OneMailbox, one_mailbox

MINUTE_US = 60_000_000


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        yield made


def want(box: OneMailbox, at: int, reason: str = "missed") -> None:
    with box.db.write() as connection:
        connection.execute(
            text("UPDATE mailbox SET round_wanted_at = :at, round_reason = :reason"),
            {"at": at, "reason": reason},
        )


def wanted(box: OneMailbox) -> tuple[int | None, str | None]:
    (row,) = box.rows("SELECT round_wanted_at, round_reason FROM mailbox")
    return row  # type: ignore[return-value]


async def drained(box: OneMailbox) -> dict[str, int]:
    async with asyncio.timeout(10):
        return (await box.drain().run(stop=lambda: False, until_idle=True)).counts()


async def test_the_stream_carries_out_a_wanted_round_and_clears_the_wish(box: OneMailbox):
    box.pages[:] = [{"value": [message_row(1)], "@odata.deltaLink": box.link("end")}]
    want(box, GRAPH_US - MINUTE_US)
    counts = await drained(box)
    assert counts["rounds"] == 1
    assert box.events() == ["email_received"]
    assert wanted(box) == (None, None)
    assert box.rows("SELECT full_at, complete_through FROM mailbox") == [(GRAPH_US, GRAPH_US)]
    assert box.rows("SELECT lease_until FROM mailbox") == [(0,)]


async def test_a_round_that_started_before_the_wish_does_not_grant_it(box: OneMailbox):
    want(box, GRAPH_US + MINUTE_US)
    walk = await box.walk()
    assert walk.done
    assert wanted(box) == (GRAPH_US + MINUTE_US, "missed")


async def test_a_round_that_proves_nothing_leaves_the_wish(box: OneMailbox):
    want(box, GRAPH_US - MINUTE_US)
    box.pages[:] = [{"value": [message_row(1, id=None)], "@odata.deltaLink": box.link("end")}]
    await box.walk()
    assert wanted(box)[0] is not None


async def test_a_round_graph_refuses_ends_neither_the_run_nor_the_wish(box: OneMailbox):
    want(box, GRAPH_US - MINUTE_US)
    box.pages[:] = [graph_error(403, "ErrorAccessDenied")]
    counts = await drained(box)
    assert counts["rounds"] == 0
    assert wanted(box)[0] is not None


async def test_a_due_hint_is_looked_at_before_a_wanted_round_starts(box: OneMailbox):
    good = message_row(1)
    box.messages[good["id"]] = good
    box.hint(good["id"], HintKind.CREATED)
    want(box, GRAPH_US - MINUTE_US)
    await drained(box)
    assert box.events() == ["email_received"]
    assert box.hints() == []
    assert wanted(box) == (None, None)


@pytest.mark.parametrize(
    ("change", "rings"),
    [
        pytest.param("round_reason = 'missed'", True, id="live and free"),
        pytest.param("state = 'parked'", False, id="parked"),
        pytest.param(f"pause_until = {2**60}", False, id="told to wait by Graph"),
        pytest.param(f"lease_until = {2**60}", False, id="somebody is at it"),
        pytest.param("round_wanted_at = NULL", False, id="nothing wanted"),
    ],
)
async def test_the_doorbell_hears_of_rounds_that_could_start_now(
    box: OneMailbox, change: str, rings: bool
):
    want(box, clock.graph_us() - 2_000_000)
    with box.db.write() as connection:
        connection.execute(text(f"UPDATE mailbox SET {change}"))
    with box.db.read() as connection:
        assert waiting(connection) is rings
