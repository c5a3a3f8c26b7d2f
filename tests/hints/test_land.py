"""Landing: each segment becomes hints once, coalesced, and nothing foreign gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, text

from outlook_lake.hints.land import PROMPT_US, REDELIVERY_US, land
from outlook_lake.receiver.segments import Notification, ready_folder, record
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import HintKind
from outlook_lake.state.tables import mailbox, subscription

NOW = 1_790_000_000_000_000


@pytest.fixture(autouse=True)
def watched(db: Database) -> None:
    """One mailbox with one subscription."""
    with db.write() as connection:
        row = {"mailbox_id": 1, "tenant_id": "t", "aad_id": "a", "tuid": "u", "shard": 0}
        connection.execute(insert(mailbox), {**row, "state": "live"})
        connection.execute(
            insert(subscription),
            {
                "nonce": "n1",
                "subscription_id": "s1",
                "mailbox_id": 1,
                "mode": "basic",
                "key_id": "k",
                "state": "active",
            },
        )


def said(change: str = "updated", *, at: int = NOW, **fields: Any) -> Notification:
    """One notification about one item, as a segment keeps it."""
    known = {"nonce": "n1", "key_id": "k", "tenant": "t", "subscription": "s1", "item": "AAMk1"}
    return Notification(**{**known, "received_at": at, "change": change, **fields})


def put(settings: Settings, name: str, *notifications: Notification) -> Path:
    """A closed segment in staging."""
    folder = ready_folder(settings.staging)
    folder.mkdir(parents=True, exist_ok=True)
    header = {"version": 1, "receiver": "r", "pid": 1, "opened_at": NOW, "vouched_since": None}
    path = folder / f"{name}.segment"
    path.write_bytes(
        record(b"h", msgspec.json.encode(header))
        + record(b"n", msgspec.json.encode(list(notifications)))
    )
    return path


def hints(db: Database) -> list[dict[str, Any]]:
    with db.read() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM hint")).mappings()]


def test_notifications_about_one_item_are_one_hint(db: Database, settings: Settings):
    put(settings, "1", said("created"), said("updated", at=NOW + 5), said("updated", at=NOW - 5))
    assert land(db, settings, "me").hints == 1
    (hint,) = hints(db)
    assert hint["kinds"] == HintKind.CREATED | HintKind.UPDATED
    assert (hint["count"], hint["first_at"], hint["last_at"]) == (3, NOW - 5, NOW + 5)


def test_a_segment_is_landed_once_also_when_it_could_not_be_moved_away(
    db: Database, settings: Settings
):
    path = put(settings, "1", said())
    content = path.read_bytes()
    land(db, settings, "me")
    path.write_bytes(content)
    land(db, settings, "me")
    assert [hint["count"] for hint in hints(db)] == [1]
    assert not path.exists()


def test_an_unknown_or_foreign_subscription_is_counted_and_harms_no_neighbour(
    db: Database, settings: Settings
):
    foreign = said(subscription="somebody-elses", item="AAMk2")
    put(settings, "1", said(nonce="forged", item="AAMk3"), foreign, said())
    assert land(db, settings, "me").refused == 2
    assert [hint["item_id"] for hint in hints(db)] == ["AAMk1"]
    with db.read() as connection:
        reasons = connection.scalars(text("SELECT reason FROM quarantine ORDER BY reason")).all()
    assert reasons == ["other_subscription", "unknown_subscription"]


def test_a_torn_segment_is_counted_and_the_others_are_landed(db: Database, settings: Settings):
    path = put(settings, "1", said())
    (path.parent / "0.segment").write_bytes(b"not a segment\n")
    assert land(db, settings, "me").segments == 2
    assert len(hints(db)) == 1
    with db.read() as connection:
        assert connection.scalars(text("SELECT reason FROM quarantine")).all() == ["torn_segment"]


def test_only_a_receiver_that_stood_through_the_time_of_redelivery_narrows_the_interval(
    db: Database, settings: Settings
):
    young = NOW - REDELIVERY_US + 1
    put(settings, "1", said(vouched_since=young), said(item="AAMk2", vouched_since=young - 1))
    land(db, settings, "me")
    earliest = {hint["item_id"]: hint["earliest_at"] for hint in hints(db)}
    assert earliest == {"AAMk1": None, "AAMk2": NOW - PROMPT_US}


def test_a_notification_nobody_vouches_for_widens_a_hint_that_was_narrow(
    db: Database, settings: Settings
):
    put(settings, "1", said(vouched_since=NOW - REDELIVERY_US))
    land(db, settings, "me")
    put(settings, "2", said(at=NOW + 9))
    land(db, settings, "me")
    assert [hint["earliest_at"] for hint in hints(db)] == [None]


def test_one_lander_at_a_time_and_a_dead_one_is_replaced(db: Database, settings: Settings):
    with db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO lease (name, lease_by, lease_until, fence) "
                "VALUES ('landing', 'dead', :until, 1)"
            ),
            {"until": 2 * 10**15},
        )
    put(settings, "1", said())
    assert land(db, settings, "me").segments == 0
    with db.write() as connection:
        connection.execute(text("UPDATE lease SET lease_until = 1"))
    assert land(db, settings, "me").segments == 1
