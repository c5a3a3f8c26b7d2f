"""What is unwatched is watched first; what is half-way through its life is renewed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlook_lake.subscriptions.plan import WANTED, MailboxRow, SubscriptionRow, plan

NOW = 1_000_000


def active(mailbox_id: int, *, renew_at: int, expires_at: int, nonce: str = "n") -> SubscriptionRow:
    return SubscriptionRow(nonce, "id", mailbox_id, "active", expires_at, renew_at)


def creating(mailbox_id: int) -> SubscriptionRow:
    return SubscriptionRow("c", None, mailbox_id, "creating", None, None)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], ("create", "missing", None), id="never subscribed"),
        pytest.param([creating(1)], ("resume", "unfinished", "c"), id="a run that died"),
        pytest.param(
            [active(1, renew_at=NOW, expires_at=NOW + 9)], ("renew", "half_life", "n"), id="half"
        ),
        pytest.param([active(1, renew_at=NOW + 1, expires_at=NOW + 9)], None, id="young"),
        pytest.param([active(1, renew_at=1, expires_at=NOW)], ("create", "lapsed", "n"), id="over"),
        pytest.param(
            [active(1, renew_at=1, expires_at=NOW), creating(1)],
            ("resume", "unfinished", "c"),
            id="over, and a new one begun",
        ),
        pytest.param(
            [
                active(1, renew_at=1, expires_at=2, nonce="old"),
                active(1, renew_at=NOW + 1, expires_at=NOW + 9),
            ],
            None,
            id="an old one beside a young one",
        ),
    ],
)
def test_a_mailbox_gets_what_it_lacks(rows, expected):
    actions = plan([MailboxRow(1, "live")], rows, NOW)

    assert [(a.kind, a.reason, a.nonce) for a in actions] == ([expected] if expected else [])


@pytest.mark.parametrize("state", ["new", "subscribing"])
def test_who_was_parked_and_is_back_proves_an_old_subscription(state: str):
    rows = [active(1, renew_at=NOW + 1, expires_at=NOW + 9)]

    (action,) = plan([MailboxRow(1, state)], rows, NOW)

    assert (action.kind, action.reason, action.nonce) == ("renew", "back", "n")


@pytest.mark.parametrize("state", ["parked", "leaving", "erased"])
def test_who_is_out_of_scope_is_left_alone(state: str):
    assert plan([MailboxRow(1, state)], [creating(1)], NOW) == []


def test_the_unwatched_come_first_then_what_ends_soonest():
    mailboxes = [MailboxRow(n, "live") for n in (1, 2, 3)]
    rows = [
        active(1, renew_at=NOW, expires_at=NOW + 20, nonce="later"),
        active(2, renew_at=NOW, expires_at=NOW + 10, nonce="sooner"),
    ]

    assert [a.mailbox_id for a in plan(mailboxes, rows, NOW)] == [3, 2, 1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["active", "creating"]), st.integers(0, 4), st.integers(0, 2_000_000)
        )
    ),
    st.lists(st.sampled_from([*sorted(WANTED), "parked"]), max_size=4),
)
def test_nobody_in_scope_is_ever_left_unwatched_and_unplanned(rows, states):
    mailboxes = [MailboxRow(n, state) for n, state in enumerate(states)]
    subscriptions = [
        SubscriptionRow(str(n), "id", mailbox_id, state, expires_at, expires_at // 2)
        for n, (state, mailbox_id, expires_at) in enumerate(rows)
    ]

    planned = [action.mailbox_id for action in plan(mailboxes, subscriptions, NOW)]

    assert len(planned) == len(set(planned))
    watched = {
        row.mailbox_id
        for row in subscriptions
        if row.state == "active" and (row.expires_at or 0) > NOW
    }
    for mailbox in mailboxes:
        if mailbox.state in WANTED:
            assert mailbox.mailbox_id in watched or mailbox.mailbox_id in planned
        else:
            assert mailbox.mailbox_id not in planned
