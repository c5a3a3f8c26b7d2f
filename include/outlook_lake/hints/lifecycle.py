"""What landing knows of subscriptions themselves: who was heard of, and lifecycle events.

    reauthorizationRequired   Graph holds notifications back: a gap, and the step is called
    subscriptionRemoved       it is gone: a gap, a round is wanted, and the step is called
    missed                    some were not delivered: a gap with an end, and a round is wanted

Each has the same effect however often it is told. Times: microseconds, Graph time.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, update

from outlook_lake import clock
from outlook_lake.state.gaps import open_gap
from outlook_lake.state.tables import mailbox, subscription
from outlook_lake.subscriptions import endings, signals
from outlook_lake.subscriptions.answers import want_round

__all__ = ["act", "heard"]

UNDELIVERED_US = 4 * 3600 * 1_000_000
"""Graph gives a notification up after 4 hours (graph-facts 2.6): what `missed` speaks of is
not older."""


def heard(connection: Connection, last_notified: Mapping[str, int]) -> None:
    """Note when each subscription (by nonce) last told of a change: it is not silent."""
    if not last_notified:
        return
    rows = [{"of_nonce": nonce, "at": at} for nonce, at in last_notified.items()]
    connection.execute(
        update(subscription)
        .where(
            subscription.c.nonce == bindparam("of_nonce"),
            subscription.c.last_notified_at.is_(None)
            | (subscription.c.last_notified_at < bindparam("at")),
        )
        .values(last_notified_at=bindparam("at")),
        rows,
    )
    nonces = sorted(last_notified)
    for start in range(0, len(nonces), 500):
        of_these = select(subscription.c.mailbox_id).where(
            subscription.c.nonce.in_(nonces[start : start + 500])
        )
        connection.execute(
            update(mailbox)
            .where(mailbox.c.unannounced > 0, mailbox.c.mailbox_id.in_(of_these))
            .values(unannounced=0, unannounced_since=None)
        )


def act(connection: Connection, events: Mapping[tuple[str, str], int]) -> set[str]:
    """Carry out lifecycle events, (event, nonce) → when it came; returns the tenants called."""
    called: set[str] = set()
    for (event, nonce), at in events.items():
        row = connection.execute(
            select(
                subscription.c.state,
                subscription.c.mailbox_id,
                subscription.c.created_at,
                subscription.c.renewed_at,
                mailbox.c.tenant_id,
                mailbox.c.watch_from,
            )
            .join(mailbox, mailbox.c.mailbox_id == subscription.c.mailbox_id)
            .where(subscription.c.nonce == nonce)
        ).one()
        if row.state != "active":
            continue  # told late: what followed has been done
        now = max(at, clock.graph_us())
        if event == "missed":
            if row.watch_from is not None:
                begun = max(row.created_at or 0, at - UNDELIVERED_US)
                open_gap(
                    connection,
                    row.mailbox_id,
                    from_at=min(begun, at),
                    to_at=at,
                    cause="missed",
                    loss="changes",
                    note="missed",
                )
                want_round(connection, row.mailbox_id, now, "missed")
            continue
        if at < (row.renewed_at or 0):
            continue  # asked before it was last renewed, heard only now
        if event == "subscriptionRemoved":
            endings.lose(connection, nonce, "removed")
            want_round(connection, row.mailbox_id, now, "removed")
        else:
            endings.pause_delivery(connection, nonce, at, "asked")
        called.add(str(row.tenant_id))
    for tenant_id in called:
        signals.call(connection, tenant_id)
    return called
