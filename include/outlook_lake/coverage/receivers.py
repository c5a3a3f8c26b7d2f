"""Was anybody there to take notifications? Judged from the beats receivers leave in staging.

    no receiver for over four hours     Graph gave up: gap `receiver_down`, loss `changes`, and a
                                        full round of everybody is wanted
    refused (5xx) for a while           Graph tried again: loss `timing`; over four hours: as above
    nobody there now, for over 4 hours  the same gap, without an end until somebody is

Several receivers serve one address, so one that is there is enough. Times: microseconds, Graph
time, but where said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from sqlalchemy import Connection, case, func, select, text, update

from outlook_lake import clock
from outlook_lake.receiver.heartbeat import Beats, read_beats
from outlook_lake.settings import Settings
from outlook_lake.state.gaps import open_gaps
from outlook_lake.state.tables import gap, mailbox, meta

__all__ = ["REDELIVERED_US", "judge"]

REDELIVERED_US = 4 * 3600 * 1_000_000
"""Graph tries a notification again for four hours (graph-facts 2.6)."""
PROMPT_US = 5 * 60 * 1_000_000
"""What happened so long before the receivers went may not have been told yet."""
QUIET_US = 60_000_000
"""Machine time without a beat after which a receiver is not there."""
FORGOTTEN_US = 8 * 86_400_000_000
"""Machine time after which the beats of a receiver that ended are removed."""

BRIEF_US = 60_000_000
"""Refusals over less than this are no gap: Graph asks again within the minute, and the events
that come of it carry their interval."""

JUDGED = "receivers_judged"
REFUSED = "refusals_judged"
CAUSE = "receiver_down"

Span = tuple[int, int]


def judge(connection: Connection, settings: Settings) -> int:
    """Open and end the gaps receivers left; returns how many mailboxes were given one.

    What was judged once is not judged again, so a gap that was closed stays closed.
    """
    beats = read_beats(settings.staging)
    now = clock.graph_us()
    # A receiver that began before it knew Graph's clock was not there in the future.
    spans = _union(span for one in beats.values() for span in one.spans if span[0] <= now)
    if not spans:
        return 0
    given = 0
    judged = _kept(connection, JUDGED)
    for gone, back in _holes(spans, REDELIVERED_US):
        if back > judged:
            _end(connection, back)
            given += _open(connection, gone - PROMPT_US, back, "changes", "no receiver was there")
    if spans[-1][0] > judged:
        _keep(connection, JUDGED, spans[-1][0])
    given += _refusals(connection, beats.values())
    given += _away_now(connection, beats.values(), spans[-1][1])
    _forget(beats)
    return given


def _holes(spans: Sequence[Span], longer: int) -> list[Span]:
    """Between spans that follow each other: nobody was there for `longer`."""
    return [(one[1], two[0]) for one, two in pairwise(spans) if two[0] - one[1] > longer]


def _union(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for since, until in sorted(spans):
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], until))
        else:
            joined.append((since, until))
    return joined


def _refusals(connection: Connection, beats: Iterable[Beats]) -> int:
    judged = _kept(connection, REFUSED)
    spans = _union(span for one in beats for span in one.refusals)
    fresh = [span for span in spans if span[1] > judged and span[1] - span[0] >= BRIEF_US]
    given = 0
    for since, until in fresh:
        lost = until - since > REDELIVERED_US
        given += _open(
            connection,
            since - PROMPT_US,
            until,
            "changes" if lost else "timing",
            "notifications were refused: they could not be stored",
        )
    if fresh:
        _keep(connection, REFUSED, max(until for _, until in fresh))
    return given


def _away_now(connection: Connection, beats: Iterable[Beats], last: int) -> int:
    quiet = clock.machine_us() - max(one.beat_at for one in beats) > QUIET_US
    if not quiet or clock.graph_us() - last <= REDELIVERED_US:
        return 0
    there = connection.execute(
        select(func.count()).where(
            gap.c.cause == CAUSE, gap.c.state == "open", gap.c.to_at.is_(None)
        )
    ).scalar_one()
    if there:
        return 0
    return _open(connection, last - PROMPT_US, None, "changes", "no receiver is there")


def _open(connection: Connection, since: int, until: int | None, loss: str, note: str) -> int:
    watched = mailbox.c.state.in_(("priming", "live"))
    mailbox_ids = connection.scalars(select(mailbox.c.mailbox_id).where(watched)).all()
    given = open_gaps(
        connection, mailbox_ids, from_at=since, to_at=until, cause=CAUSE, loss=loss, note=note
    )
    if until is not None and loss != "timing":
        wanted = case((mailbox.c.round_wanted_at > until, mailbox.c.round_wanted_at), else_=until)
        connection.execute(
            update(mailbox).where(watched).values(round_wanted_at=wanted, round_reason=CAUSE)
        )
    return given


def _end(connection: Connection, at: int) -> None:
    connection.execute(
        update(gap)
        .where(gap.c.cause == CAUSE, gap.c.state == "open", gap.c.to_at.is_(None))
        .values(to_at=case((gap.c.from_at > at, gap.c.from_at), else_=at))
    )


def _forget(beats: Mapping[Path, Beats]) -> None:
    newest = max(one.beat_at for one in beats.values())
    for path, one in beats.items():
        if one.beat_at != newest and clock.machine_us() - one.beat_at > FORGOTTEN_US:
            with suppress(OSError):
                path.unlink()


def _kept(connection: Connection, name: str) -> int:
    value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return int(value or 0)


def _keep(connection: Connection, name: str, at: int) -> None:
    connection.execute(
        text(
            "INSERT INTO meta (name, value) VALUES (:name, :value) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        ),
        {"name": name, "value": str(at)},
    )
