"""`maintain`: take away what is no longer needed, and compare the lake with the manifest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.hints.rich import forget_old
from outlook_lake.lake.maintain import maintain as tidy
from outlook_lake.receiver import rotation
from outlook_lake.state.tables import subscription
from outlook_lake.tenants.encryption import forget_pairs

__all__ = ["maintain"]


def maintain(app: Application) -> dict[str, Any]:
    """Landed segments, orphans, sealed batches past their keep, keys; returns counts."""
    forget_old(app.db)
    forgotten = len(_forget_keys(app)) + len(_forget_pairs(app))
    return {**tidy(app.db, app.settings), "keys_forgotten": forgotten}


def _forget_pairs(app: Application) -> list[str]:
    """Key pairs no living subscription is encrypted for; what comes late is looked at."""
    used = select(subscription.c.cert_id).where(
        subscription.c.state.in_(("active", "creating")), subscription.c.cert_id.is_not(None)
    )
    with app.db.read() as connection:
        return forget_pairs(
            app.settings.keys / "rich", {str(name) for name in connection.scalars(used.distinct())}
        )


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
