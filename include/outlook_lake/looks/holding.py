"""Holding mailboxes: leases are prolonged in the background, and given back by whoever ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases

__all__ = ["give_back", "renewing"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def renewing(
    db: Database, owner: str, settings: Settings, *, lease_s: float | None = None
) -> AsyncIterator[None]:
    """Prolong all leases of an owner in the background, every `stream.renew_s`.

    `lease_s` when they are shorter than `stream.lease_s`: then three times in each.
    """
    lasts_s = lease_s or settings.stream.lease_s
    every_s = min(settings.stream.renew_s, lasts_s / 3)

    async def renew() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await asyncio.to_thread(leases.renew, db, owner, lasts_s)
            except SQLAlchemyError as error:
                # Leases that run out meanwhile are lost at the commit, and nothing else is.
                log.warning("leases could not be renewed: %s", type(error).__name__)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def give_back(db: Database, owner: str) -> None:
    """Give back whatever an owner still holds; what it left half done fails at its fence."""
    with db.write() as connection:
        connection.execute(
            text(
                "UPDATE mailbox SET lease_until = 0, fence = fence + 1 "
                "WHERE lease_by = :owner AND lease_until > 0"
            ),
            {"owner": owner},
        )
