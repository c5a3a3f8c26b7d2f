"""Graph's own list of subscriptions, compared with ours once a day.

The list shows deleted subscriptions and misses live ones (docs#5603, msgraph-sdk-dotnet#545):
it never ends a subscription of ours, it only says which to ask for by id, and which ones post
to us although nobody here knows them.
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import select

from outlook_lake import clock
from outlook_lake.state import Database
from outlook_lake.state.tables import subscription
from outlook_lake.subscriptions import records, signals
from outlook_lake.subscriptions.desk import Desk
from outlook_lake.subscriptions.model import Listed

__all__ = ["listed_at", "listing_due", "read_listing"]

EVERY_US = 24 * 3600 * 1_000_000
"""Graph time."""
LEASE_S = 60.0
KEEP_S = 10.0


def listing_due(db: Database, tenant_id: str) -> bool:
    """Whether a day of Graph time has passed since the list of a tenant was read."""
    at = signals.remembered(db, _name(tenant_id))
    return at is None or at + EVERY_US <= clock.graph_us()


def listed_at(db: Database, tenant_id: str, at: int) -> None:
    """Remember when the list was read and carried out (microseconds, Graph time)."""
    signals.remember(db, _name(tenant_id), at)


async def read_listing(db: Database, desk: Desk, lease: tuple[str, str]) -> list[Listed] | None:
    """All pages, at Graph's pace; None when the run's lease was lost meanwhile.

    What Graph could not delete when it was asked to is left out: such ones end by themselves.
    """
    found: list[Listed] = []
    kept_at = time.monotonic()
    async for page in desk.listing():
        found += page
        if time.monotonic() - kept_at >= KEEP_S:
            kept_at = time.monotonic()
            if not await asyncio.to_thread(_keep, db, lease):
                return None
    hopeless = await asyncio.to_thread(_undeletable, db)
    return [entry for entry in found if entry.subscription_id not in hopeless]


def _keep(db: Database, lease: tuple[str, str]) -> bool:
    with db.write() as connection:
        return records.keep_lease(connection, *lease, LEASE_S)


def _undeletable(db: Database) -> set[str]:
    with db.read() as connection:
        return {
            str(subscription_id).lower()
            for subscription_id in connection.scalars(
                select(subscription.c.subscription_id).where(
                    subscription.c.state == "tombstone",
                    subscription.c.last_error == "undeletable",
                )
            )
        }


def _name(tenant_id: str) -> str:
    return f"subscriptions_listed_at:{tenant_id}"
