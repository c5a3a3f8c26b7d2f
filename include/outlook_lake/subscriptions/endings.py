"""How subscriptions end, and the gap each ending leaves.

Every function works in the caller's transaction. Times: microseconds, Graph time. A row stays
when its subscription is over: late notifications still find their mailbox by it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from outlook_lake import clock
from outlook_lake.state.gaps import open_gap
from outlook_lake.state.tables import mailbox, subscription

__all__ = ["lose", "pause_delivery", "retire", "stop_watching"]

PROMPT_US = 5 * 60 * 1_000_000
"""A notification tells of a change up to 3 minutes ago (Learn, latency table); 5 is assumed."""

PAUSES = frozenset({"asked", "consent"})
"""Why Graph may hold notifications back although the subscription is there."""


def lose(connection: Connection, nonce: str, why: str) -> int:
    """A subscription is over: its row stays, and a gap opens at its last sign of life.

    `why` is a word: `lapsed` was alive until its end; `silent` delivered nothing since its
    last notification; the proofs of `key` are refused since then; those of `address`, `mode` and
    `rotated` are deleted by ourselves and live until now; anything else (`removed`) is known to
    have lived when Graph last said so. Returns the mailbox.
    """
    row = connection.execute(select(subscription).where(subscription.c.nonce == nonce)).one()
    connection.execute(
        update(subscription)
        .where(subscription.c.nonce == nonce)
        .values(state="lost", last_error=why)
    )
    _open(connection, row, why, _alive_until(row, why))
    return int(row.mailbox_id)


def pause_delivery(connection: Connection, nonce: str, at: int, why: str) -> int:
    """Graph holds notifications back until it is asked again: note it, open a gap.

    Asked for twice before it was renewed is asked once. Returns the mailbox.
    """
    row = connection.execute(select(subscription).where(subscription.c.nonce == nonce)).one()
    if row.reauthorize_at is None and row.state == "active":
        connection.execute(
            update(subscription).where(subscription.c.nonce == nonce).values(reauthorize_at=at)
        )
        _open(connection, row, why, min(at, _alive_until(row, why)))
    return int(row.mailbox_id)


def retire(connection: Connection, nonce: str, why: str) -> None:
    """Give a row up for good, without a gap: its mailbox is parked, gone or watched by another."""
    connection.execute(
        update(subscription)
        .where(subscription.c.nonce == nonce)
        .values(state="tombstone", last_error=why)
    )


def stop_watching(connection: Connection, nonce: str, why: str) -> None:
    """Retire a row whose mailbox stays in scope (its stream was switched off): a gap opens."""
    row = connection.execute(select(subscription).where(subscription.c.nonce == nonce)).one()
    retire(connection, nonce, why)
    _open(connection, row, why, clock.graph_us())


def _alive_until(row: Any, why: str) -> int:
    created, notified = row.created_at or 0, row.last_notified_at or 0
    if why == "lapsed":
        return int(row.expires_at or created)
    if why in ("silent", "key"):
        return int(max(created, notified))
    if why in ("address", "rotated", "mode"):
        return clock.graph_us()
    # That Graph knows it does not say that it delivers: only `removed` goes by what GET proved.
    proven = 0 if why in PAUSES else row.proven_at or 0
    return int(max(created, row.renewed_at or 0, proven, notified - PROMPT_US))


def _open(connection: Connection, row: Any, why: str, from_at: int) -> None:
    watched = connection.execute(
        select(mailbox.c.watch_from).where(mailbox.c.mailbox_id == row.mailbox_id)
    ).scalar()
    if watched is None:
        return  # nothing was ever promised for it
    silent = why == "silent"
    open_gap(
        connection,
        row.mailbox_id,
        from_at=from_at,
        cause="silent" if silent else "lapsed",
        loss="timing" if silent else "changes",
        note=why,
    )
