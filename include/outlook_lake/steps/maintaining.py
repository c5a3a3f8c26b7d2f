"""`maintain`: take away what is no longer needed, and compare the lake with the manifest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.lake.maintain import maintain as tidy
from outlook_lake.receiver import rotation
from outlook_lake.state.tables import subscription

__all__ = ["maintain"]


def maintain(app: Application) -> dict[str, Any]:
    """Landed segments, orphans, sealed batches past their keep, keys; returns counts."""
    return {**tidy(app.db, app.settings), "keys_forgotten": len(_forget_keys(app))}


def _forget_keys(app: Application) -> list[str]:
    """Retired keys leave the file when nothing can arrive any more that they have to prove."""
    old, new = subscription.alias("old"), subscription.alias("new")
    living = select(subscription.c.key_id).where(subscription.c.state.in_(("active", "creating")))
    # A subscription that was moved to another key a short while ago may still be delivered for.
    lately = (
        select(old.c.key_id)
        .join(new, (new.c.mailbox_id == old.c.mailbox_id) & (new.c.key_id != old.c.key_id))
        .where(new.c.created_at > clock.graph_us() - rotation.REDELIVERY_US)
    )
    with app.db.read() as connection:
        used = set(connection.scalars(living.distinct()))
        used |= set(connection.scalars(lately.distinct()))
    return rotation.forget(app.settings.keys, used)
