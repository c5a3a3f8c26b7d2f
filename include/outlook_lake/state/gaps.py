"""Gaps: a mailbox and a time range that may have lost something. Everyone opens them here.

Every function works in the caller's transaction. Times: microseconds, Graph time. A gap
without `to_at` lasts until somebody ends it; whether it is *filled* is for `coverage` to prove.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from outlook_lake import clock
from outlook_lake.state.tables import gap, mailbox

__all__ = ["LOSSES", "end_gaps", "open_gap", "open_gaps"]

_AT_ONCE = 1000
"""Mailboxes in one statement."""

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
        select(gap).where(gap.c.mailbox_id == mailbox_id, _touching(cause, from_at, to_at))
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


def open_gaps(
    connection: Connection,
    mailbox_ids: Sequence[int],
    *,
    from_at: int,
    to_at: int | None = None,
    cause: str,
    loss: str,
    note: str,
) -> int:
    """The same for many mailboxes, a thousand a statement; returns how many were given one.

    A mailbox first watched inside the range gets what lies after that; one watched only later,
    or not yet, gets none.
    """
    begun = case((mailbox.c.watch_from > from_at, mailbox.c.watch_from), else_=from_at)
    watched = mailbox.c.watch_from.is_not(None) & (
        true() if to_at is None else mailbox.c.watch_from < max(to_at, from_at + 1)
    )
    touching = _touching(cause, from_at, to_at)
    told = {"to_at": to_at, "cause": cause, "loss": loss, "state": "open", "note": note}
    told["opened_at"] = clock.graph_us()
    given = 0
    for start in range(0, len(mailbox_ids), _AT_ONCE):
        some = mailbox.c.mailbox_id.in_([int(one) for one in mailbox_ids[start : start + _AT_ONCE]])
        merging = connection.execute(
            select(gap.c.mailbox_id, func.count().label("gaps"))
            .join(mailbox, mailbox.c.mailbox_id == gap.c.mailbox_id)
            .where(some, watched, touching)
            .group_by(gap.c.mailbox_id)
        ).all()
        rows = select(
            mailbox.c.mailbox_id,
            begun,
            *(literal(value, gap.c[name].type) for name, value in told.items()),
        ).where(some, watched, mailbox.c.mailbox_id.not_in([row.mailbox_id for row in merging]))
        made = connection.execute(gap.insert().from_select(["mailbox_id", "from_at", *told], rows))
        given += made.rowcount + len(merging)
        _widen(
            connection, [row.mailbox_id for row in merging if row.gaps == 1], touching, told, begun
        )
        for mailbox_id in (row.mailbox_id for row in merging if row.gaps > 1):
            since = connection.execute(
                select(begun).where(mailbox.c.mailbox_id == mailbox_id)
            ).scalar_one()
            open_gap(
                connection,
                mailbox_id,
                from_at=int(since),
                to_at=to_at,
                cause=cause,
                loss=loss,
                note=note,
            )
    return given


def _widen(
    connection: Connection,
    mailbox_ids: Sequence[int],
    touching: ColumnElement[bool],
    told: Mapping[str, Any],
    begun: ColumnElement[Any],
) -> None:
    """Each of these has one gap that touches: it takes the new one in."""
    if not mailbox_ids:
        return
    since = (
        select(begun)
        .where(mailbox.c.mailbox_id == gap.c.mailbox_id)
        .correlate(gap)
        .scalar_subquery()
    )
    heavier = LOSSES[LOSSES.index(told["loss"]) :]
    until = told["to_at"]
    connection.execute(
        update(gap)
        .where(gap.c.mailbox_id.in_(mailbox_ids), touching)
        .values(
            from_at=case((gap.c.from_at > since, since), else_=gap.c.from_at),
            to_at=None if until is None else case((gap.c.to_at < until, until), else_=gap.c.to_at),
            loss=case((gap.c.loss.in_(heavier), gap.c.loss), else_=told["loss"]),
        )
    )


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


def _touching(cause: str, from_at: int, to_at: int | None) -> ColumnElement[bool]:
    return and_(
        gap.c.cause == cause,
        gap.c.state == "open",
        or_(gap.c.to_at.is_(None), gap.c.to_at >= from_at),
        true() if to_at is None else gap.c.from_at <= to_at,
    )
