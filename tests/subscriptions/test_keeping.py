"""What is there stays as it should be: asked for, moved, replaced, compared, removed."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.errors import UnreachableError
from outlook_lake.receiver.client_state import KEY_FILE
from outlook_lake.settings import ReceiverSettings
from outlook_lake.state.tables import gap, mailbox, subscription, tenant
from outlook_lake.subscriptions.plan import CHECK_AFTER_US, REAUTHORIZE_EVERY_US
from tests.support.graph import graph_error
from tests.support.subscriptions import URL, Company, counted

SECOND_US = 1_000_000


async def live(company: Company) -> None:
    """Three mailboxes, watched and primed; nothing of Graph's list is due."""
    await company.run()
    company.change(mailbox, state="live")
    company.desk.asked.clear()


def gaps(company: Company) -> list[tuple[str, str, str, int, int | None]]:
    rows = company.rows(gap)
    return [(row.cause, row.loss, row.note, row.from_at, row.to_at) for row in rows]


def nonces(company: Company, state: str) -> set[str]:
    return {row.nonce for row in company.rows(subscription) if row.state == state}


async def test_what_graph_holds_back_is_renewed_once_and_its_gap_ends(company: Company):
    await live(company)
    asked_at = company.began - 5
    long_ago = company.began - REAUTHORIZE_EVERY_US
    company.change(subscription, reauthorize_at=asked_at, renewed_at=long_ago)
    with company.db.write() as connection:
        connection.execute(
            gap.insert(),
            [
                {
                    "mailbox_id": row.mailbox_id,
                    "from_at": long_ago,
                    "cause": "lapsed",
                    "loss": "changes",
                    "state": "open",
                    "note": "asked",
                    "opened_at": 0,
                }
                for row in company.rows(subscription)
            ],
        )

    counts = await company.run()
    again = await company.run()

    assert counted(counts) == {"planned": 3, "reauthorized": 3}
    assert counted(again) == {}
    assert len(company.desk.writes("PATCH")) == 3
    assert {row.to_at for row in company.rows(gap)} != {None}
    assert {row.round_reason for row in company.rows(mailbox)} == {"reauthorized"}


async def test_a_quiet_one_that_still_exists_is_proven_and_left_alone(company: Company):
    await live(company)
    company.change(
        subscription, created_at=1, renewed_at=1, proven_at=company.began - CHECK_AFTER_US
    )

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "checked": 3}
    assert {row.proven_at for row in company.rows(subscription)} == {company.began}
    assert gaps(company) == []


async def test_one_removed_without_a_word_is_found_by_asking_and_made_again(company: Company):
    await live(company)
    proven = company.began - CHECK_AFTER_US
    company.change(subscription, created_at=1, renewed_at=1, proven_at=proven)
    company.desk.alive.clear()

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "recreated": 3}
    until = company.began + SECOND_US
    assert gaps(company) == [("lapsed", "changes", "removed", proven, until)] * 3
    assert {row.round_reason for row in company.rows(mailbox)} == {"removed"}


async def test_a_silent_one_is_deleted_and_made_again_with_a_gap_of_its_own(company: Company):
    await live(company)
    old = set(company.desk.alive)
    heard = company.began - 7_000_000
    company.change(subscription, last_notified_at=heard, created_at=1)
    company.change(mailbox, unannounced=2, unannounced_since=heard + 1)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "recreated": 3}
    assert not old & set(company.desk.alive)
    assert len(company.desk.alive) == 3
    assert gaps(company) == [("silent", "timing", "silent", heard, company.began + SECOND_US)] * 3
    assert {row.round_reason for row in company.rows(mailbox)} == {"silent"}
    assert {row.unannounced for row in company.rows(mailbox)} == {0}
    assert counted(await company.run()) == {}


@pytest.mark.parametrize(
    ("asks", "left"),
    [
        pytest.param(("POST", "PATCH"), 3, id="a PATCH shakes hands"),
        pytest.param(("POST",), 2, id="a PATCH does not: one is given up"),
    ],
)
async def test_while_graph_cannot_reach_us_what_works_is_not_given_up(
    company: Company, asks: tuple[str, ...], left: int
):
    await live(company)
    company.change(mailbox, unannounced=5)
    company.desk.refuses = lambda method, about: (
        graph_error(400, "ValidationError", "Subscription validation request failed.")
        if method in asks
        else None
    )

    with pytest.raises(UnreachableError, match="receiver runs"):
        await company.run()

    assert len(company.desk.alive) == left
    company.desk.refuses = lambda method, about: None
    await company.run()
    assert len(company.desk.alive) == 3


async def test_a_new_address_is_given_to_what_lives_without_an_interruption(company: Company):
    await live(company)
    new = "https://new.contoso.example/notifications"
    company.settings = replace(company.settings, receiver=ReceiverSettings(notification_url=new))

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "renewed": 3}
    assert {entry["notificationUrl"] for entry in company.desk.alive.values()} == {new}
    assert gaps(company) == []
    assert counted(await company.run()) == {}
    # A lifecycle address is fixed: at half of its life it is made anew.
    company.change(subscription, renew_at=1)
    assert counted(await company.run()) == {"planned": 3, "recreated": 3}
    assert {entry["lifecycleNotificationUrl"] for entry in company.desk.alive.values()} == {new}
    assert {hole[2] for hole in gaps(company)} == {"address"}


async def test_subscriptions_of_a_retired_key_are_made_again_with_the_newest(company: Company):
    await live(company)
    (company.settings.keys / KEY_FILE).unlink()  # another key is made

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "recreated": 3}
    assert len({row.key_id for row in company.rows(subscription) if row.state == "active"}) == 1
    assert {hole[2] for hole in gaps(company)} == {"key"}
    assert len(company.desk.alive) == 3


async def test_the_subscription_of_a_parked_mailbox_is_deleted_once(company: Company):
    await live(company)
    with company.db.write() as connection:
        connection.execute(update(mailbox).where(mailbox.c.mailbox_id == 1).values(state="parked"))

    counts = await company.run()

    assert counted(counts) == {"planned": 1, "removed": 1}
    assert len(company.desk.alive) == 2
    assert counted(await company.run()) == {}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: graph_error(404, "ResourceNotFound"), id="404"),
        pytest.param(
            lambda: graph_error(
                400, "ExtensionError", "Operation: Delete; Exception: [Status Code: BadRequest]"
            ),
            id="ExtensionError",
        ),
    ],
)
async def test_a_tombstone_never_loops(company: Company, answer: Any):
    await live(company)
    company.desk.refuses = lambda method, about: answer() if method == "DELETE" else None
    company.change(mailbox, state="parked")

    assert counted(await company.run()) == {"planned": 3, "removed": 3}
    # Graph still lists them (docs#13616): what could not be deleted is left to end by itself.
    company.desk.asked.clear()
    await company.run(reconcile=True)
    await company.run(reconcile=True)

    assert {row.state for row in company.rows(subscription)} == {"tombstone"}
    tried = company.desk.writes("DELETE")
    assert len(tried) <= (0 if answer().status == 400 else 6)


async def test_a_stream_switched_off_is_a_gap_until_it_is_on_again(company: Company):
    await live(company)

    off = await company.run(streams=frozenset({"folders", "rules"}))
    again = await company.run(streams=frozenset({"folders", "rules"}))

    assert counted(off) == {"planned": 3, "removed": 3}
    assert counted(again) == {}
    assert company.desk.alive == {}
    assert [(hole[2], hole[4]) for hole in gaps(company)] == [("stream_off", None)] * 3

    assert counted(await company.run()) == {"planned": 3, "created": 3}
    assert {hole[4] for hole in gaps(company)} == {company.began + SECOND_US}


async def test_without_the_stream_of_messages_mailboxes_are_primed_all_the_same(company: Company):
    counts = await company.run(streams=frozenset({"rules"}))

    assert counted(counts) == {"planned": 3, "priming": 3}
    assert company.desk.posts == []
    assert {row.state for row in company.rows(mailbox)} == {"priming"}
    assert company.rows(tenant)[0].watch_from is not None


async def test_once_a_day_what_nobody_here_made_is_deleted_and_other_addresses_are_left(
    company: Company,
):
    await live(company)
    ours = set(company.desk.alive)
    company.desk.page_size = 2
    user = "7a1e5c00-1111-4222-8333-0000000000ff"
    for url in (URL, "https://another.example/n"):
        identity = str(uuid.uuid4())
        company.desk.alive[identity] = {
            "id": identity,
            "notificationUrl": url,
            "resource": f"users/{user}/messages",
            "expirationDateTime": "2027-01-01T00:00:00Z",
        }

    same_day = await company.run()
    assert counted(same_day) == {}
    counts = await company.run(reconcile=True)

    assert counts["removed"] == 1
    left = set(company.desk.alive) - ours
    assert [company.desk.alive[one]["notificationUrl"] for one in left] == [
        "https://another.example/n"
    ]


async def test_a_list_that_misses_a_living_one_ends_nothing(company: Company):
    await live(company)
    company.desk.hidden = set(company.desk.alive)

    counts = await company.run(reconcile=True)

    assert counted(counts) == {"planned": 3, "checked": 3}
    assert len(nonces(company, "active")) == 3
    assert gaps(company) == []


async def test_what_a_dead_run_made_is_adopted_from_the_list_where_asking_again_fails(
    company: Company,
):
    await live(company)
    made = set(company.desk.alive)
    with company.db.write() as connection:
        (row,) = connection.execute(select(subscription).limit(1)).all()
        connection.execute(
            update(subscription)
            .where(subscription.c.nonce == row.nonce)
            .values(state="creating", subscription_id=None)
        )
    company.desk.refuses = lambda method, about: (
        graph_error(500, "InternalServerError") if method == "POST" else None
    )

    with pytest.raises(UnreachableError):
        await company.run()  # nothing at all could be written
    company.change(subscription, renew_at=1)
    counts = await company.run(reconcile=True)

    assert (counts["failed"], counts["renewed"], counts["adopted"]) == (1, 2, 1)
    assert set(company.desk.alive) == made
    assert nonces(company, "active") == {one.nonce for one in company.rows(subscription)}


@pytest.mark.parametrize("first_fails", [False, True], ids=["asked again", "found in the list"])
async def test_a_run_that_died_between_deleting_and_making_ends_with_one(
    company: Company, first_fails: bool
):
    await live(company)
    old = set(company.desk.alive)
    # The row of the old one says `silent`, a new one is begun, and Graph still has the old one.
    with company.db.read() as connection:
        row = connection.execute(select(subscription).limit(1)).one()
    with company.db.write() as connection:
        connection.execute(
            update(subscription).where(subscription.c.nonce == row.nonce).values(state="lost")
        )
        connection.execute(
            subscription.insert().values(
                nonce="begun",
                mailbox_id=row.mailbox_id,
                mode="basic",
                key_id=row.key_id,
                state="creating",
                created_at=clock.graph_us(),
            )
        )

    if first_fails:
        company.change(subscription, renew_at=1)
        company.desk.answers_first.append(lambda: graph_error(500, "InternalServerError"))
    counts = await company.run(reconcile=first_fails)

    # Never adopted: it is known to be the old one.
    assert (counts["created"], counts["adopted"]) == (1, 0)
    assert row.subscription_id not in company.desk.alive
    assert len(company.desk.alive) == len(old)


async def test_plan_only_touches_nothing_at_graph(company: Company):
    await company.run(plan_only=True)

    assert company.desk.asked == []
    assert company.plan is not None
    assert [(one.kind, one.reason) for one in company.plan.actions] == [("create", "missing")] * 3
    assert company.rows(subscription) == []
