"""Ciphertext waits beside its hint, is taken once, and is never needed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, text

from outlook_lake.hints import rich
from outlook_lake.hints.land import land
from outlook_lake.receiver.segments import Notification, Rich, ready_folder, record
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import item_key
from outlook_lake.state.tables import mailbox, subscription
from tests.support.rich import Issuer

NOW = 1_790_000_000_000_000
TENANT, OTHER = "11111111-2222-4333-8444-555555555555", "22222222-2222-4333-8444-555555555555"
MINE = Issuer(TENANT, "client").token()
THEIRS = Issuer(OTHER, "client").token()


@pytest.fixture(autouse=True)
def watched(db: Database) -> None:
    with db.write() as connection:
        row = {"mailbox_id": 1, "tenant_id": TENANT, "aad_id": "a", "tuid": "u", "shard": 0}
        connection.execute(insert(mailbox), {**row, "state": "live"})
        connection.execute(
            insert(subscription),
            {
                "nonce": "n1", "subscription_id": "s1", "mailbox_id": 1, "mode": "rich",
                "key_id": "k", "state": "active",
            },
        )  # fmt: skip


def sealed(data: str = "data", tokens: list[str] | None = None) -> Rich:
    return Rich(data, "signature", "key", "kid", "thumbprint", tokens)


def said(item: str, content: Rich | None, change: str = "updated", **more: Any) -> Notification:
    known = {"nonce": "n1", "key_id": "k", "tenant": TENANT, "subscription": "s1"}
    return Notification(
        **{**known, "received_at": NOW, "change": change, **more}, item=item, rich=content
    )


def landed(db: Database, settings: Settings, *posts: list[Notification]) -> None:
    """Land one segment that holds these POSTs."""
    folder = ready_folder(settings.staging)
    folder.mkdir(parents=True, exist_ok=True)
    header = {"version": 1, "receiver": "r", "pid": 1, "opened_at": NOW, "vouched_since": None}
    (folder / "1.segment").write_bytes(
        record(b"h", msgspec.json.encode(header))
        + b"".join(record(b"n", msgspec.json.encode(post)) for post in posts)
    )
    land(db, settings, "me")


def taken(db: Database, *items: str) -> dict[str, list[rich.Sealed]]:
    keys = {item_key(item): item for item in items}
    return {keys[key]: some for (_, key), some in rich.take(db, {1: list(keys)}).items()}


def test_each_item_waits_with_the_token_of_its_tenant_and_is_taken_once(
    db: Database, settings: Settings
):
    landed(
        db,
        settings,
        [said("a", sealed("1", [THEIRS, MINE])), said("b", sealed("2"))],
        [said("c", sealed("3", [THEIRS]))],
    )
    found = taken(db, "a", "b", "c")
    assert {item: [one.data for one in some] for item, some in found.items()} == {
        "a": ["1"],
        "b": ["2"],
        "c": ["3"],
    }
    assert [some[0].token for some in found.values()] == [MINE, MINE, None]
    assert taken(db, "a", "b", "c") == {}


def test_tokens_are_those_of_the_post_also_when_its_first_item_is_refused(
    db: Database, settings: Settings
):
    stranger = said("x", sealed("0", [MINE]), nonce="unknown")
    landed(db, settings, [stranger, said("a", sealed("1"))], [said("b", sealed("2", []))])
    found = taken(db, "a", "b", "x")
    assert {item: some[0].token for item, some in found.items()} == {"a": MINE, "b": None}


def test_what_comes_twice_is_one_row_that_counts(db: Database, settings: Settings):
    landed(db, settings, [said("a", sealed("1", [])), said("a", sealed("1"))])
    (one,) = taken(db, "a")["a"]
    assert one.copies == 2


def test_a_flood_about_one_item_is_not_kept(db: Database, settings: Settings):
    landed(db, settings, [said("a", sealed(str(n), [])) for n in range(100)])
    assert len(taken(db, "a")["a"]) == rich.MOST_PER_ITEM


def test_what_is_not_asked_for_goes_on_waiting_a_day_at_most(db: Database, settings: Settings):
    landed(db, settings, [said("a", sealed("1", [])), said("b", sealed("2"))])
    assert list(taken(db, "a")) == ["a"]
    assert rich.forget_old(db) == 0
    with db.write() as connection:
        connection.execute(text("UPDATE rich SET kept_at = kept_at - 90000000000"))
    assert rich.forget_old(db) == 1
    assert taken(db, "b") == {}


@pytest.mark.parametrize("token", ["", "a.b", "a.!.c", "a.W10.c", "a.eyJ0aWQiOjd9.c", "a..c"])
def test_a_token_that_is_none_names_no_tenant(token: str):
    assert rich.tenant_of(token) == ""
