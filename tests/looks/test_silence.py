"""A subscription is silent when rounds find what it should have told of, and for nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import HintKind
from tests.support.graph import message_row
from tests.support.one_mailbox import DAY_US, GRAPH_US, OneMailbox, one_mailbox

MINUTE_US = 60_000_000
OLD = "2026-11-24T05:30:00Z"
"""Half an hour before Graph's time in these tests."""


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        subscribe(made, GRAPH_US - DAY_US)
        yield made


def subscribe(box: OneMailbox, since: int) -> None:
    with box.db.write() as connection:
        connection.execute(text("DELETE FROM subscription"))
        connection.execute(
            text(
                "INSERT INTO subscription (nonce, subscription_id, mailbox_id, mode, key_id, "
                "state, created_at) VALUES ('n', 's', 1, 'basic', 'k', 'active', :since)"
            ),
            {"since": since},
        )


def arrived(number: int, at: str) -> dict:
    dates = ("createdDateTime", "receivedDateTime", "sentDateTime", "lastModifiedDateTime")
    return message_row(number, **dict.fromkeys(dates, at))


async def round_shows(box: OneMailbox, *rows: dict) -> tuple[int, int | None]:
    box.pages[:] = [{"value": list(rows), "@odata.deltaLink": box.link("end")}]
    await box.walk()
    (row,) = box.rows("SELECT unannounced, unannounced_since FROM mailbox")
    return row  # type: ignore[return-value]


async def test_arrivals_only_a_round_found_are_counted_from_the_earliest_on(box: OneMailbox):
    at = GRAPH_US - 30 * MINUTE_US
    found = await round_shows(box, arrived(1, OLD), arrived(2, "2026-11-24T05:40:00Z"))
    assert found == (2, at)
    assert box.events() == ["email_received", "email_received"]


async def test_what_is_younger_than_ten_minutes_may_still_be_announced(box: OneMailbox):
    assert await round_shows(box, arrived(1, "2026-11-24T05:51:00Z")) == (0, None)
    assert box.events() == ["email_received"]


async def test_what_happened_before_the_subscription_does_not_count(box: OneMailbox):
    subscribe(box, GRAPH_US - 15 * MINUTE_US)
    assert await round_shows(box, arrived(1, OLD)) == (0, None)


async def test_a_gap_that_explains_it_is_no_silence(box: OneMailbox):
    with box.db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO gap (mailbox_id, from_at, to_at, cause, loss, state, opened_at) "
                "VALUES (1, :from_at, NULL, 'receiver_down', 'timing', 'open', 0)"
            ),
            {"from_at": GRAPH_US - 60 * MINUTE_US},
        )
    assert await round_shows(box, arrived(1, OLD)) == (0, None)


async def test_what_a_notification_announced_does_not_count_when_delta_shows_it_first(
    box: OneMailbox,
):
    row = arrived(1, OLD)
    box.messages[row["id"]] = row
    box.hint(row["id"], HintKind.CREATED)
    assert await round_shows(box, row) == (0, None)
    await box.drain().turn()
    assert box.events() == ["email_received"]
    assert box.rows("SELECT unannounced FROM mailbox") == [(0,)]
