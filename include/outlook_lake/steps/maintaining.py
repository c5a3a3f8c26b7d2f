"""`maintain`: take away what is no longer needed, and compare the lake with the manifest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from outlook_lake.application import Application
from outlook_lake.lake.maintain import maintain as tidy
from outlook_lake.receiver import rotation
from outlook_lake.state.tables import subscription

__all__ = ["maintain"]


def maintain(app: Application) -> dict[str, Any]:
    """Landed segments, orphans, sealed batches past their keep, keys; returns counts."""
    return {**tidy(app.db, app.settings), "keys_forgotten": len(_forget_keys(app))}


def _forget_keys(app: Application) -> list[str]:
    """Retired keys that no living subscription was signed with leave the file."""
    with app.db.read() as connection:
        used = connection.scalars(
            select(subscription.c.key_id)
            .where(subscription.c.state.in_(("active", "creating")))
            .distinct()
        )
        return rotation.forget(app.settings.keys, set(used))
