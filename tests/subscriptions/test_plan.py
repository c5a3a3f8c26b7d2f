"""What is unwatched is watched first; what is there is kept as it should be; the rest goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlook_lake.subscriptions.describe import describe, note
from outlook_lake.subscriptions.model import Listed, MailboxRow, SubscriptionRow, Wanted
from outlook_lake.subscriptions.plan import (
    CHECK_AFTER_US,
    REAUTHORIZE_EVERY_US,
    WATCHED,
    plan,
    renewal,
)

NOW = 1_000_000_000_000_000
LATER = NOW + 9 * 3600 * 1_000_000
URL = "https://hooks.contoso.example/notifications"
WANTED = Wanted(url=URL, keys=frozenset({"k"}), retired=frozenset({"going"}))
AAD = "7a1e5c00-1111-4222-8333-000000000001"


def active(mailbox_id: int = 1, nonce: str = "n", **changes: Any) -> SubscriptionRow:
    """Young, heard of a moment ago, as everything is wanted."""
    given = {
        "subscription_id": f"id-{nonce}",
        "state": "active",
        "expires_at": LATER,
        "renew_at": NOW + 1,
        "created_at": NOW - 10,
        "renewed_at": NOW - 10,
        "proven_at": NOW - 10,
        "key_id": "k",
        "notification_url": URL,
        "lifecycle_url": URL,
    }
    return SubscriptionRow(nonce=nonce, mailbox_id=mailbox_id, **(given | changes))


def creating(mailbox_id: int = 1, nonce: str = "c", key_id: str = "k") -> SubscriptionRow:
    return SubscriptionRow(nonce, None, mailbox_id, "creating", key_id=key_id)


def lost(why: str) -> SubscriptionRow:
    return SubscriptionRow("l", "id-l", 1, "lost", last_error=why)


def planned(rows: list[SubscriptionRow], mailbox: MailboxRow | None = None, **more: Any) -> Any:
    mailbox = mailbox or MailboxRow(1, "live", aad_id=AAD)
    made = plan([mailbox], rows, NOW, more.pop("wanted", WANTED), **more)
    return [(one.kind, one.reason, one.nonce) for one in made.actions]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], ("create", "missing", None), id="never subscribed"),
        pytest.param([creating()], ("resume", "unfinished", "c"), id="a run that died"),
        pytest.param([active(renew_at=NOW)], ("renew", "half_life", "n"), id="half its life"),
        pytest.param([active()], None, id="young"),
        pytest.param([active(expires_at=NOW)], ("recreate", "lapsed", "n"), id="over"),
        pytest.param(
            [active(expires_at=NOW), creating()],
            ("resume", "unfinished", "c"),
            id="over, and a new one begun",
        ),
        pytest.param([lost("removed")], ("recreate", "removed", "l"), id="removed by Graph"),
        pytest.param([lost("HTTP 500")], ("recreate", "lost", "l"), id="lost, no word for it"),
        pytest.param([active(key_id="old")], ("recreate", "key", "n"), id="its key is gone"),
        pytest.param(
            [active(key_id="going")], ("recreate", "rotated", "n"), id="its key is retired"
        ),
        pytest.param([creating(key_id="going")], ("resume", "unfinished", "c"), id="begun with it"),
        pytest.param(
            [active(notification_url="https://old.example/n")],
            ("renew", "address", "n"),
            id="our address changed",
        ),
        pytest.param(
            [active(lifecycle_url="https://old.example/n")],
            None,
            id="its lifecycle address waits for half of its life",
        ),
        pytest.param(
            [active(lifecycle_url="https://old.example/n", renew_at=NOW)],
            ("recreate", "address", "n"),
            id="a lifecycle address cannot be moved",
        ),
        pytest.param(
            [active(reauthorize_at=NOW - 5, renewed_at=NOW - REAUTHORIZE_EVERY_US)],
            ("reauthorize", "asked", "n"),
            id="Graph asks to reauthorize",
        ),
        pytest.param(
            [active(reauthorize_at=NOW - 5, renewed_at=NOW - REAUTHORIZE_EVERY_US + 1)],
            None,
            id="asked again within ten minutes",
        ),
    ],
)
def test_a_mailbox_gets_what_it_lacks(rows: Any, expected: Any):
    assert planned(rows) == ([expected] if expected else [])


@pytest.mark.parametrize(("unannounced", "expected"), [(1, []), (2, [("recreate", "silent", "n")])])
def test_what_is_quieter_than_the_rounds_is_silent(unannounced: int, expected: Any):
    assert planned([active()], MailboxRow(1, "live", unannounced)) == expected


@pytest.mark.parametrize("state", ["new", "subscribing"])
def test_who_was_parked_and_is_back_proves_an_old_subscription(state: str):
    assert planned([active()], MailboxRow(1, state)) == [("renew", "back", "n")]


@pytest.mark.parametrize("state", ["parked", "leaving", "erased"])
def test_who_is_out_of_scope_loses_what_is_there_and_gets_nothing(state: str):
    assert planned([], MailboxRow(1, state)) == []
    assert planned([active(), creating()], MailboxRow(1, state)) == [
        ("remove", state, "n"),
        ("remove", state, "c"),
    ]


def test_a_stream_switched_off_ends_subscriptions_and_the_mailbox_is_primed_without():
    off = Wanted(url=URL, keys=frozenset({"k"}), streams=frozenset({"folders", "rules"}))
    nothing = Wanted(url=URL, keys=frozenset({"k"}), streams=frozenset())

    assert planned([active()], wanted=off) == [("remove", "stream_off", "n")]
    assert planned([], MailboxRow(1, "new"), wanted=off) == [("prime", "stream_off", None)]
    assert planned([], MailboxRow(1, "new"), wanted=nothing) == []


def test_a_tenant_that_leaves_loses_everything():
    leaving = Wanted(url="", keys=frozenset({"k"}), leaving=True)

    assert planned([active()], wanted=leaving) == [("remove", "leaving", "n")]


def test_of_two_the_one_that_lives_longer_stays():
    rows = [active(nonce="old", expires_at=LATER - 1), active(nonce="new"), creating()]

    assert planned(rows) == [("remove", "duplicate", "old"), ("remove", "duplicate", "c")]
    assert planned(rows[1::-1]) == [("remove", "duplicate", "old")]


def test_one_begun_with_a_retired_key_is_begun_anew():
    assert planned([creating(key_id="old")]) == [
        ("create", "missing", None),
        ("remove", "duplicate", "c"),
    ]


def test_the_quiet_are_asked_for_by_id_the_longest_unproven_first_and_not_too_many():
    quiet = NOW - CHECK_AFTER_US
    ages = {1: quiet - 1, 2: quiet - 3, 3: quiet - 2, 4: quiet + 1}
    rows = [
        active(n, str(n), created_at=1, renewed_at=1, proven_at=1, last_notified_at=at)
        for n, at in ages.items()
    ]
    few = Wanted(url=URL, keys=frozenset({"k"}), checks=2)

    made = plan([MailboxRow(n, "live") for n in ages], rows, NOW, few)

    assert [(one.kind, one.reason, one.mailbox_id) for one in made.actions] == [
        ("check", "quiet", 2),
        ("check", "quiet", 3),
    ]


def test_graphs_list_shows_whom_to_remove_whom_to_adopt_and_whom_to_ask_for():
    foreign, ours = Listed("id-foreign", "somebody-else"), Listed("id-n", AAD)
    begun = Listed("id-begun", AAD)

    assert planned([active()], listed=[foreign, ours]) == [("remove", "foreign", None)]
    assert planned([creating()], listed=[begun]) == [("adopt", "unfinished", "c")]
    assert planned([active()], listed=[]) == [("check", "unlisted", "n")]
    twice = [ours, begun, Listed("id-second", AAD)]
    assert planned([active()], listed=twice) == [("remove", "foreign", None)] * 2


def test_what_is_held_back_comes_first_then_the_unwatched_then_what_ends_soonest():
    mailboxes = [MailboxRow(n, "live") for n in range(1, 8)]
    day = 24 * 3600 * 1_000_000
    rows = [
        active(1, "later", renew_at=NOW, expires_at=NOW + 3 * day),
        active(2, "sooner", renew_at=NOW, expires_at=NOW + 2 * day),
        active(4, "asked", reauthorize_at=NOW, renewed_at=1),
        active(5, "silent"),
        active(6, "ends", renew_at=NOW, expires_at=NOW + 1),
        active(7, "surplus", expires_at=NOW + 5),
        active(7, "kept"),
    ]
    mailboxes[4] = MailboxRow(5, "live", unannounced=9)

    made = plan(mailboxes, rows, NOW, WANTED)

    assert [one.mailbox_id for one in made.actions] == [4, 6, 3, 2, 1, 5, 7]
    assert (made.mailboxes, made.watched) == (7, 6)


def test_the_same_state_makes_the_same_plan_whatever_the_order_of_its_rows():
    mailboxes = [MailboxRow(n, "live") for n in range(1, 6)]
    rows = [active(n, str(n), renew_at=NOW) for n in range(1, 5)]

    assert plan(mailboxes, rows, NOW, WANTED) == plan(mailboxes[::-1], rows[::-1], NOW, WANTED)


@given(st.text(min_size=1, max_size=30), st.integers(2, 10**12))
def test_renewal_is_near_half_of_the_life_and_always_the_same(nonce: str, life: int):
    at = renewal(nonce, NOW, NOW + life)

    assert at == renewal(nonce, NOW, NOW + life)
    assert abs(at - NOW - life / 2) <= life * 0.05 + 1


def test_renewals_of_one_moment_spread():
    ats = {renewal(f"nonce-{n}", NOW, LATER) for n in range(100)}

    assert len(ats) > 95
    assert max(ats) - min(ats) > (LATER - NOW) * 0.08


def test_the_table_counts_by_kind_and_reason_and_says_how_each_stream_is_served():
    folders_off = Wanted(url=URL, keys=frozenset({"k"}), streams=frozenset({"messages", "rules"}))
    mailboxes = [MailboxRow(n, "live", aad_id=f"{AAD}-{n}") for n in (1, 2, 3)]
    made = plan(mailboxes, [active(1, renew_at=NOW)], NOW, folders_off)

    text = describe(made)

    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["create", "missing", "2"],
        ["renew", "half_life", "1"],
    ]
    assert "messages  subscription" in text
    assert "folders   -" in text
    assert "rules     snapshot      Graph refuses subscriptions" in text
    assert AAD not in text
    assert "id-n" not in text
    assert note(made) == "1 of 3 watched; create 2, renew 1"


def test_a_plan_without_actions_says_so():
    made = plan([MailboxRow(1, "live")], [active()], NOW, WANTED)

    assert describe(made).splitlines()[-1] == "nothing to do"
    assert note(made) == "1 of 1 watched; nothing to do"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["active", "creating", "lost"]),
            st.integers(0, 4),
            st.integers(NOW - 10, NOW + 10),
            st.sampled_from(["k", "old"]),
        )
    ),
    st.lists(st.sampled_from([*sorted(WATCHED), "parked"]), max_size=4),
)
def test_nobody_in_scope_is_ever_left_unwatched_and_unplanned(rows: Any, states: Any):
    mailboxes = [MailboxRow(n, state) for n, state in enumerate(states)]
    subscriptions = [
        SubscriptionRow(str(n), "id", mailbox_id, state, expires_at, NOW, key_id=key)
        for n, (state, mailbox_id, expires_at, key) in enumerate(rows)
    ]

    made = plan(mailboxes, subscriptions, NOW, WANTED)

    keeping = [one.mailbox_id for one in made.actions if one.kind != "remove"]
    assert len(keeping) == len(set(keeping))
    living = {
        row.mailbox_id
        for row in subscriptions
        if row.state == "active" and (row.expires_at or 0) > NOW
    }
    for mailbox in mailboxes:
        if mailbox.state in WATCHED:
            assert mailbox.mailbox_id in living or mailbox.mailbox_id in keeping
        else:
            assert mailbox.mailbox_id not in keeping
