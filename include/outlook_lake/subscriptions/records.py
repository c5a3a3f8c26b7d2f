"""The rows of subscriptions: made before Graph is asked, completed by its answer.

Every function works in the caller's transaction. Times: microseconds, Graph time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text, update

from outlook_lake import clock
from outlook_lake.receiver.client_state import Key, new_nonce
from outlook_lake.state.tables import gap, lease, mailbox, subscription, tenant
from outlook_lake.subscriptions.plan import Action, MailboxRow, SubscriptionRow

__all__ = [
    "Job",
    "Live",
    "activate",
    "fail",
    "keep_lease",
    "lose",
    "new_job",
    "prepare",
    "read_rows",
    "retire",
]


@dataclass(frozen=True, slots=True)
class Job:
    """One subscription to create or renew."""

    mailbox_id: int
    aad_id: str
    nonce: str
    key_id: str
    subscription_id: str | None = None
    """Given when it is to be renewed."""
    fresh: bool = True
    """Graph cannot know this nonce yet; False = an earlier try may have reached Graph."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """Graph's good answer about one job."""

    job: Job
    subscription_id: str
    expires_at: int
    date: int
    """Graph's Date of the answer."""


def read_rows(
    connection: Connection, tenant_id: str
) -> tuple[list[MailboxRow], list[SubscriptionRow]]:
    """Mailboxes and current subscriptions of a tenant."""
    mailboxes = connection.execute(
        select(mailbox.c.mailbox_id, mailbox.c.state).where(mailbox.c.tenant_id == tenant_id)
    ).all()
    rows = connection.execute(
        select(
            subscription.c.nonce,
            subscription.c.subscription_id,
            subscription.c.mailbox_id,
            subscription.c.state,
            subscription.c.expires_at,
            subscription.c.renew_at,
            subscription.c.last_notified_at,
        )
        .join(mailbox, mailbox.c.mailbox_id == subscription.c.mailbox_id)
        .where(mailbox.c.tenant_id == tenant_id, subscription.c.state.in_(("active", "creating")))
        .order_by(subscription.c.created_at)
    ).all()
    return [MailboxRow(*row) for row in mailboxes], [SubscriptionRow(*row) for row in rows]


def prepare(connection: Connection, actions: Sequence[Action], key: Key) -> list[Job]:
    """Turn actions into jobs; a create has its row (nonce, `creating`) when this commits."""
    known = _facts(connection, actions)
    jobs: list[Job] = []
    for action in actions:
        aad_id = known[action.mailbox_id]
        if action.kind == "create":
            if action.reason == "lapsed" and action.nonce is not None:
                lose(connection, action.nonce, "expired")
            jobs.append(new_job(connection, action.mailbox_id, aad_id, key, action.reason))
            continue
        row = connection.execute(
            select(subscription.c.key_id, subscription.c.subscription_id).where(
                subscription.c.nonce == action.nonce
            )
        ).one()
        jobs.append(
            Job(
                action.mailbox_id,
                aad_id,
                str(action.nonce),
                row.key_id,
                row.subscription_id if action.kind == "renew" else None,
                fresh=False,
                reason=action.reason,
            )
        )
    return jobs


def new_job(connection: Connection, mailbox_id: int, aad_id: str, key: Key, reason: str) -> Job:
    """A fresh nonce and its row; the mailbox is `subscribing` until Graph answered."""
    job = Job(mailbox_id, aad_id, new_nonce(), key.key_id, reason=reason)
    connection.execute(
        subscription.insert().values(
            nonce=job.nonce,
            mailbox_id=mailbox_id,
            mode="basic",
            key_id=key.key_id,
            state="creating",
            created_at=clock.graph_us(),
        )
    )
    connection.execute(
        update(mailbox)
        .where(mailbox.c.mailbox_id == mailbox_id, mailbox.c.state == "new")
        .values(state="subscribing")
    )
    return job


def activate(connection: Connection, live: Live) -> bool:
    """Write down Graph's answer; returns whether the mailbox now waits to be primed.

    `watch_from` of mailbox and tenant is the Date of the first such answer: subscribe first,
    then prime.
    """
    connection.execute(
        update(subscription)
        .where(subscription.c.nonce == live.job.nonce)
        .values(
            subscription_id=live.subscription_id,
            state="active",
            expires_at=live.expires_at,
            renew_at=live.date + (live.expires_at - live.date) // 2,
            last_error=None,
        )
    )
    where = mailbox.c.mailbox_id == live.job.mailbox_id
    waiting = connection.execute(
        update(mailbox)
        .where(where, mailbox.c.state.in_(("new", "subscribing")))
        .values(state="priming", watch_from=func.coalesce(mailbox.c.watch_from, live.date))
    ).rowcount
    # Blind until now: what had no end ends here. Filling it is the business of a round.
    connection.execute(
        update(gap)
        .where(
            gap.c.mailbox_id == live.job.mailbox_id,
            gap.c.to_at.is_(None),
            gap.c.cause.in_(("lapsed", "parked")),
        )
        .values(to_at=live.date)
    )
    connection.execute(
        update(tenant)
        .where(
            tenant.c.tenant_id == select(mailbox.c.tenant_id).where(where).scalar_subquery(),
            (tenant.c.watch_from.is_(None)) | (tenant.c.watch_from > live.date),
        )
        .values(watch_from=live.date)
    )
    return bool(waiting)


def keep_lease(connection: Connection, name: str, owner: str, seconds: float) -> bool:
    """Prolong a named lease (machine time); False when somebody else holds it now."""
    kept = connection.execute(
        update(lease)
        .where(lease.c.name == name, lease.c.lease_by == owner)
        .values(lease_until=clock.machine_us() + int(seconds * 1_000_000))
    )
    return bool(kept.rowcount)


def lose(connection: Connection, nonce: str, why: str) -> None:
    """A subscription ended without us: its row stays, and a gap opens where it was last known.

    An expired one was alive until its end; one Graph no longer knows is only known to have
    been alive when it was last renewed or last notified.
    """
    row = connection.execute(select(subscription).where(subscription.c.nonce == nonce)).one()
    connection.execute(
        update(subscription)
        .where(subscription.c.nonce == nonce)
        .values(state="lost", last_error=why)
    )
    expires_at, renew_at = row.expires_at or row.created_at, row.renew_at or row.created_at
    renewed_at = 2 * renew_at - expires_at  # renewal is planned for half of the life
    last_alive = expires_at if why == "expired" else max(renewed_at, row.last_notified_at or 0)
    connection.execute(
        gap.insert().values(
            mailbox_id=row.mailbox_id,
            from_at=last_alive,
            cause="lapsed",
            loss="created_and_purged",
            state="open",
            opened_at=clock.graph_us(),
            note=why,
        )
    )


def fail(connection: Connection, job: Job, error: str) -> None:
    """Keep the words of a failure (status and code) on the row; it is tried again next run."""
    connection.execute(
        update(subscription).where(subscription.c.nonce == job.nonce).values(last_error=error)
    )


def retire(connection: Connection, job: Job, why: str) -> None:
    """Give a row up; it stays, because late notifications still find their mailbox by it."""
    connection.execute(
        update(subscription)
        .where(subscription.c.nonce == job.nonce)
        .values(state="tombstone", last_error=why)
    )


def _facts(connection: Connection, actions: Sequence[Action]) -> dict[int, str]:
    if not actions:
        return {}
    rows = connection.execute(
        text("SELECT mailbox_id, aad_id FROM mailbox WHERE mailbox_id BETWEEN :low AND :high"),
        {
            "low": min(action.mailbox_id for action in actions),
            "high": max(action.mailbox_id for action in actions),
        },
    )
    return {row.mailbox_id: row.aad_id for row in rows}
