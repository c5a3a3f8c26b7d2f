"""Gaps: a mailbox and a time range that may have lost something. Everyone opens them here.

Every function works in the caller's transaction. Times: microseconds, Graph time. A gap
without `to_at` lasts until somebody ends it; whether it is *filled* is for `coverage` to prove.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, case, or_, select, true, update

from outlook_lake import clock
from outlook_lake.state.tables import gap

__all__ = ["LOSSES", "end_gaps", "open_gap"]

LOSSES = ("timing", "created_and_purged", "changes", "all")
"""What a gap may have lost, the mildest first; each includes those before it."""


def open_gap(
    connection: Connection,
    mailbox_id: int,
    *,
    from_at: int,
    to_at: int | None = None,
    cause: str,
    loss: str,
    note: str,
) -> int:
    """Open a gap, or widen the open ones of the same cause that it touches; returns its id.

    Merged gaps have the earliest beginning, the latest end (none, if one of them has none)
    and the heaviest loss.
    """
    touching = connection.execute(
        select(gap).where(
            gap.c.mailbox_id == mailbox_id,
            gap.c.cause == cause,
            gap.c.state == "open",
            or_(gap.c.to_at.is_(None), gap.c.to_at >= from_at),
            true() if to_at is None else gap.c.from_at <= to_at,
        )
    ).all()
    if not touching:
        made = connection.execute(
            gap.insert().values(
                mailbox_id=mailbox_id,
                from_at=from_at,
                to_at=to_at,
                cause=cause,
                loss=loss,
                state="open",
                opened_at=clock.graph_us(),
                note=note,
            )
        )
        return int(made.inserted_primary_key[0])  # type: ignore[index]
    first, *others = sorted(touching, key=lambda row: row.gap_id)
    ends = [to_at, *(row.to_at for row in touching)]
    connection.execute(
        update(gap)
        .where(gap.c.gap_id == first.gap_id)
        .values(
            from_at=min(from_at, *(row.from_at for row in touching)),
            to_at=None if None in ends else max(end for end in ends if end is not None),
            loss=max([loss, *(row.loss for row in touching)], key=LOSSES.index),
        )
    )
    for row in others:
        connection.execute(gap.delete().where(gap.c.gap_id == row.gap_id))
    return int(first.gap_id)


def end_gaps(connection: Connection, mailbox_id: int, causes: Collection[str], to_at: int) -> int:
    """Give gaps of these causes that have no end yet their end; returns how many.

    A gap never ends before it began.
    """
    ended = connection.execute(
        update(gap)
        .where(
            gap.c.mailbox_id == mailbox_id,
            gap.c.to_at.is_(None),
            gap.c.cause.in_(sorted(causes)),
        )
        .values(to_at=case((gap.c.from_at > to_at, gap.c.from_at), else_=to_at))
    )
    return ended.rowcount
