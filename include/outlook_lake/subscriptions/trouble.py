"""A tenant in trouble: paused, told aloud, asked again more and more slowly, never forgotten.

    consent lost (403 for everybody)   → its subscriptions may be held back: gaps open, and each
                                         is renewed once Graph answers again
    credentials refused                → Graph goes on delivering; only we cannot ask

`paused_at` and `retry_at` are machine time.
"""

from __future__ import annotations

import logging

from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.errors import ConsentError, GraphError, TokenRefusedError
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import mailbox, subscription, tenant
from outlook_lake.subscriptions import endings

__all__ = ["go_on", "is_of_the_tenant", "pause", "waits_until"]

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Rows in one transaction, so that others get their turn."""
LONGEST_US = 4 * 3600 * 1_000_000

CONSENT = (
    "consent is lost: the application may not read this tenant's mail. Grant "
    "Mail.ReadBasic.All as an application permission and consent as an administrator"
)
CREDENTIALS = (
    "the credentials are refused: the secret or certificate ended or is wrong; put a new one "
    "into the connection"
)


def pause(db: Database, settings: Settings, tenant_id: str, error: GraphError) -> str:
    """Pause a tenant that refuses as a whole; returns the reason as an operator reads it.

    The first wait is `subscriptions.paused_retry_s`; each further one is as long as the tenant
    has been paused, at most four hours. The same for a tenant that is paused already.
    """
    lost = isinstance(error, ConsentError)
    reason = CONSENT if lost else CREDENTIALS
    now = clock.machine_us()
    with db.write() as connection:
        row = connection.execute(select(tenant).where(tenant.c.tenant_id == tenant_id)).one()
        since = row.paused_at if row.state == "paused" and row.paused_at else now
        first = int(settings.subscriptions.paused_retry_s * 1_000_000)
        wait = first if first == 0 else min(max(first, now - since), LONGEST_US)
        if row.state in ("live", "paused"):
            connection.execute(
                update(tenant)
                .where(tenant.c.tenant_id == tenant_id)
                .values(state="paused", reason=reason, paused_at=since, retry_at=now + wait)
            )
    if lost:
        _held_back(db, tenant_id)
    log.error("tenant %s is paused for %d s: %s (%s)", row.domain_id, wait // 10**6, reason, error)
    return reason


def _held_back(db: Database, tenant_id: str) -> None:
    """Graph may deliver nothing without consent: every living subscription has a gap."""
    held = (
        select(subscription.c.nonce)
        .join(mailbox, mailbox.c.mailbox_id == subscription.c.mailbox_id)
        .where(
            mailbox.c.tenant_id == tenant_id,
            subscription.c.state == "active",
            subscription.c.reauthorize_at.is_(None),
        )
        .limit(AT_ONCE)
    )
    while True:
        with db.write() as connection:
            nonces = connection.scalars(held).all()
            for nonce in nonces:
                endings.pause_delivery(connection, nonce, clock.graph_us(), "consent")
        if len(nonces) < AT_ONCE:
            return


def go_on(db: Database, tenant_id: str) -> None:
    """The tenant answered: let it live again."""
    with db.write() as connection:
        woken = connection.execute(
            update(tenant)
            .where(tenant.c.tenant_id == tenant_id, tenant.c.state == "paused")
            .values(state="live", reason=None, paused_at=None, retry_at=None)
            .returning(tenant.c.domain_id)
        ).scalar()
    if woken is not None:
        log.warning("tenant %s answers again and is no longer paused", woken)


def waits_until(db: Database, tenant_id: str) -> tuple[int, str] | None:
    """(retry_at in machine microseconds, reason) of a paused tenant whose time has not come."""
    with db.read() as connection:
        row = connection.execute(
            select(tenant.c.state, tenant.c.reason, tenant.c.retry_at).where(
                tenant.c.tenant_id == tenant_id
            )
        ).one()
    if row.state != "paused" or (row.retry_at or 0) <= clock.machine_us():
        return None
    return int(row.retry_at), str(row.reason)


def is_of_the_tenant(error: GraphError) -> bool:
    """Whether an error means that the tenant as a whole refuses."""
    return isinstance(error, (ConsentError, TokenRefusedError))
