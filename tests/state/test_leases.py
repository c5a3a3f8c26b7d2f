"""Leases: one holder, a fence that counts, and only what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, text

from outlook_lake import clock
from outlook_lake.state import Database, leases
from outlook_lake.state.tables import hint, mailbox


@pytest.fixture(autouse=True)
def mailboxes(db: Database) -> None:
    """Two tenants with one live mailbox each, both with a hint due."""
    with db.write() as connection:
        for number, tenant in ((1, "ours"), (2, "theirs")):
            row = {"mailbox_id": number, "aad_id": str(number), "tuid": str(number), "shard": 0}
            connection.execute(insert(mailbox), {**row, "tenant_id": tenant, "state": "live"})
            item = {"mailbox_id": number, "item_key": b"k" * 16, "item_id": "x", "kinds": 1}
            connection.execute(insert(hint), {**item, "count": 1, "due_at": 1})


def claim(db: Database, owner: str, **fields: Any) -> list[int]:
    given = {"lane": 0, "lanes": 1, "most": 10, "tenants": ["ours", "theirs"], **fields}
    return sorted(lease.mailbox_id for lease in leases.claim_due(db, owner, 30, **given))


def test_a_mailbox_has_one_holder_who_may_take_it_again(db: Database):
    assert claim(db, "a") == [1, 2]
    assert claim(db, "b") == []
    assert claim(db, "a") == [1, 2]


def test_a_lease_that_ran_out_is_somebody_elses_and_its_fence_tells(db: Database):
    (first, _) = leases.claim_due(
        db, "a", 0.0, lane=0, lanes=1, most=10, tenants=["ours", "theirs"]
    )
    with db.write() as connection:
        connection.execute(text("UPDATE mailbox SET lease_until = 1"))
    (second, _) = leases.claim_due(
        db, "b", 30.0, lane=0, lanes=1, most=10, tenants=["ours", "theirs"]
    )
    assert second.fence == first.fence + 1


def test_only_the_tenants_asked_for_are_touched(db: Database):
    assert claim(db, "a", tenants=["ours"]) == [1]
    assert claim(db, "b", tenants=[]) == []
    assert claim(db, "b") == [2]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("pause_until = 9000000000000000", id="Graph asked to wait"),
        pytest.param("state = 'parked'", id="parked"),
    ],
)
def test_what_may_not_be_asked_now_is_not_leased(db: Database, change: str):
    with db.write() as connection:
        connection.execute(text(f"UPDATE mailbox SET {change} WHERE mailbox_id = 1"))
    assert claim(db, "a") == [2]
    assert [one.mailbox_id for one in leases.claim_these(db, "b", 30, [1, 2])] == []


def test_renewing_prolongs_what_is_held_and_nothing_that_was_lost(db: Database):
    claim(db, "a", tenants=["ours"])
    before = clock.machine_us()
    assert leases.renew(db, "a", 60) == 1
    assert leases.renew(db, "b", 60) == 0
    with db.read() as connection:
        until = connection.scalar(text("SELECT lease_until FROM mailbox WHERE mailbox_id = 1"))
    assert until >= before + 60_000_000


def to_prime(db: Database) -> list[int]:
    chosen: dict[str, Any] = {"state": "live", "most": 10, "tenants": ["ours", "theirs"]}
    return sorted(one.mailbox_id for one in leases.claim_in_state(db, "prime", 9, **chosen))


def hint_became_due(db: Database, seconds_ago: float) -> None:
    at = clock.machine_us() - int(seconds_ago * 1_000_000)
    with db.write() as connection:
        connection.execute(text("UPDATE hint SET due_at = :at WHERE mailbox_id = 1"), {"at": at})


def test_a_mailbox_whose_hint_just_became_due_is_left_to_the_stream(db: Database):
    hint_became_due(db, 0.5)
    assert to_prime(db) == [2]
    assert 1 in claim(db, "stream")


def test_priming_goes_on_where_no_stream_comes_for_a_due_hint(db: Database):
    hint_became_due(db, leases.FRESH_S + 1)
    assert to_prime(db) == [1, 2]
