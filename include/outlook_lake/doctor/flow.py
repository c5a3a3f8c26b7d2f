"""Is anything flowing: subscriptions by state, and what receivers left for the stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select

from outlook_lake import clock
from outlook_lake.doctor.findings import Report
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import mailbox, subscription
from outlook_lake.state.tables import tenant as tenant_table

__all__ = ["check_staging", "check_subscriptions", "check_tenant_state"]

WAITING_S = 120.0
"""Notifications older than this (machine time) say that no stream is at work."""


def check_tenant_state(report: Report, db: Database, tenant_id: str) -> None:
    """Whether the product serves this tenant at the moment, and why not."""
    with db.read() as connection:
        row = connection.execute(
            select(tenant_table.c.state, tenant_table.c.reason).where(
                tenant_table.c.tenant_id == tenant_id
            )
        ).first()
    if row is None:
        report.warn(
            "tenant",
            "not registered yet",
            "Un-pause `outlook_subscriptions`, or run `outlook-lake run subscriptions`.",
        )
    elif row.state in ("leaving", "gone"):
        report.warn(
            "tenant",
            f"{row.state}: it was disconnected ({row.reason or 'no reason noted'})",
            "Remove its connection from tenants.connections.",
        )
    elif row.state != "live":
        report.warn(
            "tenant",
            f"{row.state}: {row.reason or 'no reason noted'}",
            "Mend what the other checks say; it is asked again by itself.",
        )
    else:
        report.ok("tenant", "served")


def check_subscriptions(report: Report, db: Database, tenant_id: str) -> None:
    """Every mailbox in scope has a subscription that has not ended."""
    now = clock.graph_us()
    with db.read() as connection:
        counted = (
            select(mailbox.c.state, func.count())
            .where(mailbox.c.tenant_id == tenant_id)
            .group_by(mailbox.c.state)
        )
        states: dict[str, int] = dict(map(tuple, connection.execute(counted)))
        watched, latest = connection.execute(
            select(func.count(mailbox.c.mailbox_id.distinct()), func.max(
                subscription.c.last_notified_at
            ))
            .join(subscription, subscription.c.mailbox_id == mailbox.c.mailbox_id)
            .where(
                mailbox.c.tenant_id == tenant_id,
                subscription.c.state == "active",
                subscription.c.expires_at > now,
                mailbox.c.state.in_(("priming", "live")),
            )
        ).one()  # fmt: skip
    wanted = sum(states.get(name, 0) for name in ("new", "subscribing", "priming", "live"))
    told = f"{watched} of {wanted} mailboxes watched"
    if latest:
        told += f", last notification {(now - latest) / 60e6:.0f} min ago (Graph time)"
    if states.get("parked"):
        told += f", {states['parked']} parked (`outlook-lake status` says why)"
    if watched < wanted or not wanted:
        report.warn(
            "subscriptions",
            told,
            "`outlook_subscriptions` makes them every 15 minutes: un-pause it, or read its log.",
        )
    else:
        report.ok("subscriptions", told)


def check_staging(report: Report, settings: Settings) -> None:
    """Receivers write, and what they wrote is taken."""
    now = time.time()
    open_ = list(_ages(settings.staging / "open", now))
    ready = list(_ages(settings.staging / "ready", now))
    told = f"{len(open_)} open and {len(ready)} waiting segments"
    if ready and max(ready) > WAITING_S:
        report.warn(
            "staging",
            f"{told}, the oldest waits for {max(ready) / 60:.0f} min",
            "Un-pause `outlook_stream` and see that Airflow's triggerer runs; nothing is lost.",
        )
    else:
        report.ok("staging", told)


def _ages(folder: Path, now: float) -> Iterator[float]:
    for entry in folder.glob("[!.]*"):
        try:
            yield now - entry.stat().st_mtime
        except FileNotFoundError:
            continue
