"""What Graph says of a subscription itself becomes a gap, a round and a call, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from outlook_lake import clock
from outlook_lake.hints.land import land
from outlook_lake.hints.lifecycle import UNDELIVERED_US
from outlook_lake.receiver.segments import Notification, ready_folder, record
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import gap, mailbox, subscription
from outlook_lake.subscriptions import signals
from outlook_lake.subscriptions.endings import PROMPT_US

NOW = 1_790_000_000_000_000
MADE = NOW - 10 * UNDELIVERED_US
HEARD = NOW - 2 * PROMPT_US


@pytest.fixture(autouse=True)
def watched(db: Database) -> None:
    """One live mailbox of tenant `t` with one subscription, last heard of ten minutes ago."""
    with db.write() as connection:
        connection.execute(
            insert(mailbox),
            {
                "mailbox_id": 1,
                "tenant_id": "t",
                "aad_id": "a",
                "tuid": "u",
                "shard": 0,
                "state": "live",
                "watch_from": MADE,
                "unannounced": 1,
                "unannounced_since": MADE,
            },
        )
        connection.execute(
            insert(subscription),
            {
                "nonce": "n1",
                "subscription_id": "s1",
                "mailbox_id": 1,
                "mode": "basic",
                "key_id": "k",
                "state": "active",
                "created_at": MADE,
                "renewed_at": MADE,
                "proven_at": MADE,
                "last_notified_at": HEARD,
                "expires_at": NOW + UNDELIVERED_US,
            },
        )


def told(settings: Settings, name: str, *events: str | Notification, at: int = NOW) -> None:
    """A closed segment with lifecycle events (or notifications) in staging."""
    folder = ready_folder(settings.staging)
    folder.mkdir(parents=True, exist_ok=True)
    notes = [
        one
        if isinstance(one, Notification)
        else Notification("n1", "k", "t", "s1", at, lifecycle=one)
        for one in events
    ]
    header = {"version": 1, "receiver": "r", "pid": 1, "opened_at": NOW, "vouched_since": None}
    Path(folder / f"{name}.segment").write_bytes(
        record(b"h", msgspec.json.encode(header)) + record(b"n", msgspec.json.encode(notes))
    )


def one(db: Database, table: Any) -> Any:
    with db.read() as connection:
        return connection.execute(select(table)).one()


def gaps(db: Database) -> list[tuple[str, str, int, int | None]]:
    with db.read() as connection:
        rows = connection.execute(select(gap).order_by(gap.c.gap_id)).all()
    return [(row.cause, row.loss, row.from_at, row.to_at) for row in rows]


def test_a_removed_subscription_is_lost_where_it_last_lived_and_the_step_is_called(
    db: Database, settings: Settings
):
    told(settings, "1", "subscriptionRemoved", "subscriptionRemoved")
    landed = land(db, settings, "me")

    assert (landed.lifecycle, landed.called) == (2, {"t"})
    row = one(db, subscription)
    assert (row.state, row.last_error) == ("lost", "removed")
    # Not where the removal was told: what was told last was true up to five minutes before.
    assert gaps(db) == [("lapsed", "changes", HEARD - PROMPT_US, None)]
    watched = one(db, mailbox)
    assert watched.round_reason == "removed"
    assert watched.round_wanted_at >= NOW
    assert set(signals.called(db)) == {"t"}


def test_what_graph_holds_back_is_asked_for_once_however_often_it_is_told(
    db: Database, settings: Settings
):
    told(settings, "1", "reauthorizationRequired")
    land(db, settings, "me")
    told(settings, "2", "reauthorizationRequired", at=NOW + 900_000_000)
    land(db, settings, "me")

    row = one(db, subscription)
    assert (row.state, row.reauthorize_at) == ("active", NOW)
    assert gaps(db) == [("lapsed", "changes", HEARD - PROMPT_US, None)]
    assert set(signals.called(db)) == {"t"}


def test_a_request_that_came_before_the_last_renewal_is_answered_already(
    db: Database, settings: Settings
):
    with db.write() as connection:
        connection.execute(update(subscription).values(renewed_at=NOW + 1))
    told(settings, "1", "reauthorizationRequired", "subscriptionRemoved")
    land(db, settings, "me")

    assert one(db, subscription).reauthorize_at is None
    assert gaps(db) == []
    assert signals.called(db) == {}


def test_missed_is_a_gap_with_an_end_and_a_round_is_wanted(db: Database, settings: Settings):
    told(settings, "1", "missed")
    landed = land(db, settings, "me")

    assert landed.called == set()  # the subscription is as it should be
    assert gaps(db) == [("missed", "changes", NOW - UNDELIVERED_US, NOW)]
    watched = one(db, mailbox)
    assert (watched.round_reason, watched.round_wanted_at >= NOW) == ("missed", True)

    told(settings, "2", "missed", at=NOW + 60_000_000)
    land(db, settings, "me")
    assert [row[3] for row in gaps(db)] == [NOW + 60_000_000]  # one, longer


def test_a_lifecycle_event_is_no_sign_that_changes_are_told(db: Database, settings: Settings):
    told(settings, "1", "missed")
    land(db, settings, "me")
    assert one(db, subscription).last_notified_at == HEARD
    assert one(db, mailbox).unannounced == 1

    change = Notification("n1", "k", "t", "s1", NOW, change="updated", item="AAMk1")
    told(settings, "2", change)
    land(db, settings, "me")
    assert one(db, subscription).last_notified_at == NOW
    assert (one(db, mailbox).unannounced, one(db, mailbox).unannounced_since) == (0, None)


def test_a_notification_that_comes_late_does_not_set_the_last_sign_of_life_back(
    db: Database, settings: Settings
):
    old = Notification("n1", "k", "t", "s1", HEARD - 5, change="updated", item="AAMk1")
    told(settings, "1", old)
    land(db, settings, "me")

    assert one(db, subscription).last_notified_at == HEARD


@pytest.mark.parametrize("state", ["lost", "tombstone"])
def test_what_is_told_of_one_that_is_over_changes_nothing(
    db: Database, settings: Settings, state: str
):
    with db.write() as connection:
        connection.execute(update(subscription).values(state=state))
    told(settings, "1", "subscriptionRemoved", "reauthorizationRequired", "missed")
    land(db, settings, "me")

    assert one(db, subscription).state == state
    assert gaps(db) == []
    assert signals.called(db) == {}


def test_a_call_that_comes_while_one_is_answered_stays(db: Database):
    with db.write() as connection:
        signals.call(connection, "t")
    (first,) = signals.called(db).values()
    while clock.machine_us() == int(first):
        pass
    with db.write() as connection:
        signals.call(connection, "t")

    signals.answered(db, "t", first)
    assert set(signals.called(db)) == {"t"}
    signals.answered(db, "t", signals.called(db)["t"])
    assert signals.called(db) == {}
