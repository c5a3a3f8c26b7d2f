"""The rows of subscriptions, read for planning and made before Graph is asked.

Every function works in the caller's transaction. Times: microseconds, Graph time. What Graph
answers is written by `answers`, how rows end by `endings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, exists, select, update

from outlook_lake import clock
from outlook_lake.receiver.client_state import Key, new_nonce
from outlook_lake.state.tables import lease, mailbox, subscription
from outlook_lake.subscriptions import endings
from outlook_lake.subscriptions.model import Action, Kind, MailboxRow, SubscriptionRow

__all__ = ["Job", "keep_lease", "new_row", "owner_of", "prepare", "read_rows"]

_ROW = (
    "nonce", "subscription_id", "mailbox_id", "state", "expires_at", "renew_at", "created_at",
    "renewed_at", "proven_at", "last_notified_at", "reauthorize_at", "key_id",
    "notification_url", "lifecycle_url", "last_error", "mode", "cert_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """One action with what its request needs."""

    kind: Kind
    mailbox_id: int
    aad_id: str
    nonce: str
    key_id: str
    subscription_id: str | None = None
    """The one at Graph it is about."""
    reason: str = ""
    fresh: bool = True
    """Graph cannot know this nonce yet; False = an earlier try may have reached Graph."""
    since: int = 0
    """When its row was made: from then on a refused permission may still be spreading."""
    mode: str = "basic"
    cert_id: str | None = None
    """What a rich one is, or will be, encrypted for."""


def read_rows(
    connection: Connection, tenant_id: str
) -> tuple[list[MailboxRow], list[SubscriptionRow]]:
    """Mailboxes of a tenant and their current subscriptions, for `plan`.

    Rows that were lost are read only where no other followed: they say why one is made again.
    """
    mailboxes = connection.execute(
        select(
            mailbox.c.mailbox_id, mailbox.c.state, mailbox.c.unannounced, mailbox.c.aad_id
        ).where(mailbox.c.tenant_id == tenant_id)
    ).all()
    other = subscription.alias()
    followed = exists().where(
        other.c.mailbox_id == subscription.c.mailbox_id,
        other.c.state.in_(("active", "creating")),
    )
    rows = connection.execute(
        select(*(subscription.c[name] for name in _ROW))
        .join(mailbox, mailbox.c.mailbox_id == subscription.c.mailbox_id)
        .where(
            mailbox.c.tenant_id == tenant_id,
            subscription.c.state.in_(("active", "creating"))
            | ((subscription.c.state == "lost") & ~followed),
        )
        .order_by(subscription.c.created_at)
    ).all()
    return [MailboxRow(*row) for row in mailboxes], [SubscriptionRow(*row) for row in rows]


def prepare(
    connection: Connection, actions: Sequence[Action], key: Key, cert_id: str | None = None
) -> list[Job]:
    """Turn actions into jobs; what is to be made has its row (`creating`) when this commits.

    New subscriptions are rich when there is a certificate (`cert_id`) to encrypt for.
    """
    users = _users(connection, actions)
    known = _rows(connection, actions)
    jobs: list[Job] = []
    for action in actions:
        aad_id, row = users.get(action.mailbox_id, ""), known.get(action.nonce or "")
        if action.kind not in ("create", "recreate"):
            jobs.append(
                Job(
                    action.kind,
                    action.mailbox_id,
                    aad_id,
                    action.nonce or "",
                    row.key_id if row is not None else key.key_id,
                    action.subscription_id,
                    action.reason,
                    fresh=False,
                    since=0 if row is None else row.created_at or 0,
                    mode="basic" if row is None else row.mode,
                    cert_id=None if row is None else row.cert_id,
                )
            )
            continue
        old = None
        if row is not None and row.state == "active":
            endings.lose(connection, row.nonce, action.reason)
            # One that lapsed is not there any more; every other is deleted first.
            old = None if action.reason == "lapsed" else row.subscription_id
        jobs.append(
            Job(
                "create",
                action.mailbox_id,
                aad_id,
                new_nonce(),
                key.key_id,
                old,
                action.reason,
                since=clock.graph_us(),
                mode="rich" if cert_id else "basic",
                cert_id=cert_id,
            )
        )
    _insert(connection, [job for job in jobs if job.kind == "create"])
    return jobs


def new_row(
    connection: Connection, job: Job, key: Key, reason: str, cert_id: str | None = None
) -> Job:
    """A fresh nonce and its row for the mailbox of a job whose subscription is gone."""
    made = Job(
        "create",
        job.mailbox_id,
        job.aad_id,
        new_nonce(),
        key.key_id,
        reason=reason,
        since=clock.graph_us(),
        mode="rich" if cert_id else "basic",
        cert_id=cert_id,
    )
    _insert(connection, [made])
    return made


def owner_of(connection: Connection, subscription_id: str) -> str | None:
    """The nonce of the row that knows a subscription of Graph's, however it ended."""
    return connection.execute(
        select(subscription.c.nonce).where(subscription.c.subscription_id == subscription_id)
    ).scalar()


def keep_lease(connection: Connection, name: str, owner: str, seconds: float) -> bool:
    """Prolong a named lease (machine time); False when somebody else holds it now."""
    kept = connection.execute(
        update(lease)
        .where(lease.c.name == name, lease.c.lease_by == owner)
        .values(lease_until=clock.machine_us() + int(seconds * 1_000_000))
    )
    return bool(kept.rowcount)


def _insert(connection: Connection, jobs: Sequence[Job]) -> None:
    """Rows `creating`; new mailboxes are `subscribing` until Graph answered."""
    if not jobs:
        return
    connection.execute(
        subscription.insert(),
        [
            {
                "nonce": job.nonce,
                "mailbox_id": job.mailbox_id,
                "mode": job.mode,
                "cert_id": job.cert_id,
                "key_id": job.key_id,
                "state": "creating",
                "created_at": job.since,
            }
            for job in jobs
        ],
    )
    connection.execute(
        update(mailbox)
        .where(mailbox.c.mailbox_id == bindparam("of_mailbox"), mailbox.c.state == "new")
        .values(state="subscribing"),
        [{"of_mailbox": job.mailbox_id} for job in jobs],
    )


def _users(connection: Connection, actions: Sequence[Action]) -> dict[int, str]:
    ids = sorted({action.mailbox_id for action in actions})
    found: dict[int, str] = {}
    for start in range(0, len(ids), 500):
        rows = connection.execute(
            select(mailbox.c.mailbox_id, mailbox.c.aad_id).where(
                mailbox.c.mailbox_id.in_(ids[start : start + 500])
            )
        )
        found.update({row.mailbox_id: row.aad_id for row in rows})
    return found


def _rows(connection: Connection, actions: Sequence[Action]) -> dict[str, SubscriptionRow]:
    nonces = [action.nonce for action in actions if action.nonce]
    found: dict[str, SubscriptionRow] = {}
    for start in range(0, len(nonces), 500):
        rows = connection.execute(
            select(*(subscription.c[name] for name in _ROW)).where(
                subscription.c.nonce.in_(nonces[start : start + 500])
            )
        )
        found.update({row.nonce: SubscriptionRow(*row) for row in rows})
    return found
