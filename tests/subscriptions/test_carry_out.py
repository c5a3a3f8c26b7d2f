"""Every mailbox is watched, once, wherever a run dies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.receiver.client_state import Proof, check, load_keys
from outlook_lake.settings import SubscriptionSettings
from outlook_lake.state.tables import gap, lease, mailbox, subscription, tenant
from outlook_lake.subscriptions.endings import PROMPT_US
from outlook_lake.subscriptions.plan import renewal
from outlook_lake.tenants.scope import park
from tests.support.graph import small_graph, wait_until
from tests.support.subscriptions import URL, Company, add_mailboxes, counted


async def test_every_new_mailbox_is_watched_and_waits_to_be_primed(company: Company):
    counts = await company.run()

    assert counted(counts) == {"planned": 3, "created": 3, "priming": 3}
    assert {row.state for row in company.rows(mailbox)} == {"priming"}
    assert {row.watch_from for row in company.rows(mailbox)} == {company.began}
    assert company.rows(tenant)[0].watch_from == company.began
    for row in company.rows(subscription):
        assert (row.state, row.mode) == ("active", "basic")
        assert row.renew_at == renewal(row.nonce, company.began, row.expires_at)
        assert (row.renewed_at, row.proven_at) == (company.began, company.began)
        assert (row.notification_url, row.lifecycle_url) == (URL, URL)


async def test_the_request_asks_for_all_changes_and_carries_a_proof(company: Company):
    await company.run()

    assert company.tenant is not None
    keys = load_keys(company.settings.keys)
    for entry in company.desk.alive.values():
        user = entry["resource"].split("/")[1]
        assert entry["changeType"] == "created,updated,deleted"
        assert entry["notificationUrl"] == entry["lifecycleNotificationUrl"] == URL
        proof = check(keys, entry["clientState"], company.tenant.tenant_id, user)
        assert isinstance(proof, Proof)
        assert proof.nonce in {row.nonce for row in company.rows(subscription)}


async def test_running_twice_changes_nothing(company: Company):
    await company.run()
    before = company.rows(subscription)

    counts = await company.run()

    assert counted(counts) == {}
    assert company.rows(subscription) == before
    assert len(company.desk.posts) == 3


async def test_the_row_is_there_before_graph_is_asked(company: Company):
    seen: list[int] = []
    create = company.desk.create

    def looking(body: dict[str, Any]) -> web.Response:
        nonce = body["clientState"].split(".")[2]
        seen.append(sum(row.nonce == nonce for row in company.rows(subscription)))
        return create(body)

    company.desk.create = looking  # type: ignore[method-assign]
    await company.run()

    assert seen == [1, 1, 1]


async def test_a_run_that_died_after_the_201_is_carried_on_by_adoption(company: Company):
    await company.run()
    # What a kill between Graph's answer and our commit leaves behind:
    company.change(subscription, state="creating", subscription_id=None, expires_at=None)
    company.change(mailbox, state="subscribing", watch_from=None)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "adopted": 3, "priming": 3}
    rows = company.rows(subscription)
    assert {row.subscription_id for row in rows} == set(company.desk.alive)
    assert {row.state for row in rows} == {"active"}
    assert all(row.watch_from == company.began for row in company.rows(mailbox))


async def test_a_run_that_died_before_the_post_is_carried_on(company: Company):
    await company.run()
    company.desk.alive.clear()
    company.change(subscription, state="creating", subscription_id=None)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "created": 3}
    assert len(company.rows(subscription)) == 3


@pytest.mark.parametrize("told", [True, False], ids=["id in the 409", "id from the list"])
async def test_a_subscription_nobody_here_made_is_replaced(company: Company, told: bool):
    await company.run()
    company.desk.name_ids_in_409 = told
    foreign = set(company.desk.alive)
    with company.db.write() as connection:  # another state database's work
        connection.execute(subscription.delete())
        connection.execute(update(mailbox).values(state="new"))

    counts = await company.run()

    assert counts["created"] == 3
    assert not foreign & set(company.desk.alive)


async def test_half_way_through_its_life_it_is_renewed(company: Company):
    await company.run()
    company.change(subscription, renew_at=1, expires_at=company.began + 60_000_000)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "renewed": 3}
    assert all(row.renew_at > company.began for row in company.rows(subscription))
    assert company.rows(gap) == []


async def test_one_that_graph_forgot_is_made_again_and_leaves_a_gap(company: Company):
    await company.run()
    created = company.began
    company.desk.alive.clear()
    company.change(mailbox, state="live")
    company.change(subscription, renew_at=1, last_notified_at=created + PROMPT_US + 7)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "recreated": 3}
    assert {row.state for row in company.rows(mailbox)} == {"live"}
    holes = company.rows(gap)
    assert [(hole.cause, hole.loss, hole.state) for hole in holes] == [
        ("lapsed", "changes", "open")
    ] * 3
    # To the end of the second that Graph's Date names.
    until = company.began + 1_000_000
    assert {(hole.from_at, hole.to_at) for hole in holes} == {(created + 7, until)}
    assert {row.round_reason for row in company.rows(mailbox)} == {"removed"}
    assert {row.round_wanted_at for row in company.rows(mailbox)} == {until}


async def test_one_that_expired_leaves_a_gap_from_its_end(company: Company):
    await company.run()
    end = company.began - 5_000_000
    company.desk.alive.clear()
    company.change(subscription, expires_at=end, renew_at=1)

    counts = await company.run()

    assert counts["recreated"] == 3
    until = company.began + 1_000_000
    assert {(hole.from_at, hole.to_at) for hole in company.rows(gap)} == {(end, until)}
    states = sorted(row.state for row in company.rows(subscription))
    assert states == ["active"] * 3 + ["lost"] * 3


async def test_who_is_back_from_being_parked_is_primed_again_and_its_gap_ends(company: Company):
    await company.run()
    with company.db.write() as connection:
        rows = connection.execute(select(mailbox.c.mailbox_id)).scalars().all()
        park(connection, rows, "user_gone", company.began)
        connection.execute(update(mailbox).values(state="live"))
        park(connection, rows, "user_gone", company.began)
    watch_from = {row.watch_from for row in company.rows(mailbox)}
    company.change(mailbox, state="new", reason=None)

    counts = await company.run()

    assert counted(counts) == {"planned": 3, "renewed": 3, "priming": 3}
    assert {row.watch_from for row in company.rows(mailbox)} == watch_from
    assert {hole.to_at for hole in company.rows(gap)} == {company.began + 1_000_000}


async def test_a_run_that_died_holding_the_lease_is_waited_out(company: Company):
    company.desk.may_answer.clear()  # so that no answer of Graph comes before the death
    async with small_graph(company.folder, company.desk) as graph:
        dying = asyncio.create_task(company.run_with(graph))
        await wait_until(lambda: len(company.desk.posts) == 3)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        # Unlike a cancelled run a killed one gives nothing back.
        until = clock.machine_us() + 1_500_000
        company.change(lease, lease_by="a dead run", lease_until=until)
        company.desk.may_answer.set()
        counts = await company.run_with(graph)

    assert clock.machine_us() > until
    assert counts["planned"] == 3
    assert {row.state for row in company.rows(subscription)} == {"active"}


async def test_writes_keep_the_pace_and_run_beside_each_other(company: Company):
    company.settings = replace(
        company.settings, subscriptions=SubscriptionSettings(writes_per_s=50.0)
    )
    await company.run()
    assert company.tenant is not None
    with company.db.write() as connection:
        connection.execute(mailbox.delete())
        connection.execute(subscription.delete())
    add_mailboxes(company.db, company.tenant.tenant_id, 40)
    company.desk.alive.clear()
    company.desk.posts.clear()

    counts = await company.run()

    took = company.desk.posts[-1] - company.desk.posts[0]
    assert counts["created"] == 40
    assert 0.7 < took < 2.0  # 39 turns at 50 a second, however long each answer takes


async def test_two_runs_at_once_are_one(company: Company):
    async with small_graph(company.folder, company.desk) as graph:
        first, second = await asyncio.gather(company.run_with(graph), company.run_with(graph))

    assert sorted((first.get("created", 0), second.get("created", 0))) == [0, 3]
    assert len(company.desk.posts) == 3
