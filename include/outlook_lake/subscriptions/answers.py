"""What Graph answered, written into the rows of subscriptions, mailboxes and tenants.

Every function works in the caller's transaction. Times: microseconds, Graph time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from outlook_lake.state.gaps import end_gaps
from outlook_lake.state.tables import mailbox, subscription, tenant
from outlook_lake.subscriptions.plan import renewal
from outlook_lake.subscriptions.records import Job

__all__ = ["Live", "activate", "begin_without", "fail", "learn_limit", "prove", "want_round"]

SECOND_US = 1_000_000
"""Graph's Date is cut to the second: what it speaks of may have happened so much later."""

ROUND_REASONS = {
    "lapsed": "lapsed",
    "removed": "removed",
    "silent": "silent",
    "asked": "reauthorized",
    "back": "unparked",
}
"""Reason of an action → reason of the round that follows it; `lapsed` where none stands here."""


@dataclass(frozen=True, slots=True)
class Live:
    """Graph's good answer about one job."""

    job: Job
    subscription_id: str
    expires_at: int
    date: int
    """Graph's Date of the answer."""
    url: str | None
    """Where it posts to now, where the request said so."""
    made: bool
    """Graph made it with this answer (else it was there)."""
    cert_id: str | None = None
    """What it is encrypted for now, where the request said so."""


def activate(connection: Connection, live: Live) -> bool:
    """Write down Graph's answer; returns whether the mailbox now waits to be primed.

    `watch_from` of mailbox and tenant is the Date of the first such answer: subscribe first,
    then prime. A gap of the mailbox that had no end ends now, and a round is wanted.
    """
    job = live.job
    values = {
        "subscription_id": live.subscription_id,
        "state": "active",
        "expires_at": live.expires_at,
        "renew_at": renewal(job.nonce, live.date, live.expires_at),
        "renewed_at": live.date,
        "proven_at": live.date,
        "reauthorize_at": None,
        "last_error": None,
    }
    if live.url is not None:
        values["notification_url"] = live.url
    if live.cert_id is not None:
        values["cert_id"] = live.cert_id
    if live.made:
        values |= {"created_at": live.date, "lifecycle_url": live.url}
    connection.execute(
        update(subscription).where(subscription.c.nonce == job.nonce).values(**values)
    )
    where = mailbox.c.mailbox_id == job.mailbox_id
    waiting = connection.execute(
        update(mailbox)
        .where(where, mailbox.c.state.in_(("new", "subscribing")))
        .values(state="priming", watch_from=func.coalesce(mailbox.c.watch_from, live.date))
    ).rowcount
    # Blind until now: what had no end ends here. Filling it is the business of a round.
    until = live.date + SECOND_US
    ended = end_gaps(connection, job.mailbox_id, ("lapsed", "silent", "parked"), until)
    if ended and not waiting:
        want_round(connection, job.mailbox_id, until, ROUND_REASONS.get(job.reason, "lapsed"))
    if live.made or waiting:
        connection.execute(
            update(mailbox).where(where).values(unannounced=0, unannounced_since=None)
        )
        _watch_tenants(connection, [job.mailbox_id], live.date)
    return bool(waiting)


def begin_without(connection: Connection, mailbox_ids: Sequence[int], at: int) -> int:
    """Mailboxes whose messages nobody wants go on to be primed for their other streams."""
    for start in range(0, len(mailbox_ids), 500):
        some = mailbox_ids[start : start + 500]
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id.in_(some), mailbox.c.state.in_(("new", "subscribing")))
            .values(state="priming", watch_from=func.coalesce(mailbox.c.watch_from, at))
        )
        _watch_tenants(connection, some, at)
    return len(mailbox_ids)


def want_round(connection: Connection, mailbox_id: int, after: int, reason: str) -> None:
    """Ask for a full round of a watched mailbox that starts after `after`."""
    connection.execute(
        update(mailbox)
        .where(
            mailbox.c.mailbox_id == mailbox_id,
            mailbox.c.state.in_(("priming", "live")),
            mailbox.c.round_wanted_at.is_(None) | (mailbox.c.round_wanted_at < after),
        )
        .values(round_wanted_at=after, round_reason=reason)
    )


def prove(connection: Connection, job: Job, expires_at: int, date: int) -> None:
    """Graph said by id that it exists, and until when."""
    connection.execute(
        update(subscription)
        .where(subscription.c.nonce == job.nonce)
        .values(proven_at=date, expires_at=expires_at)
    )


def learn_limit(connection: Connection, tenant_id: str, minutes: int) -> None:
    """Remember the longest lifetime this tenant's Graph grants."""
    connection.execute(
        update(tenant).where(tenant.c.tenant_id == tenant_id).values(minutes_limit=minutes)
    )


def fail(connection: Connection, job: Job, error: str) -> None:
    """Keep the words of a failure (status and code) on the row; it is tried again next run."""
    connection.execute(
        update(subscription)
        .where(
            subscription.c.nonce == job.nonce,
            subscription.c.state.in_(("creating", "active")),
        )
        .values(last_error=error)
    )


def _watch_tenants(connection: Connection, mailbox_ids: Sequence[int], at: int) -> None:
    """From the first watched mailbox on every hour of a tenant has a file."""
    theirs = select(mailbox.c.tenant_id).where(mailbox.c.mailbox_id.in_(mailbox_ids))
    connection.execute(
        update(tenant)
        .where(
            tenant.c.tenant_id.in_(theirs),
            (tenant.c.watch_from.is_(None)) | (tenant.c.watch_from > at),
        )
        .values(watch_from=at)
    )
