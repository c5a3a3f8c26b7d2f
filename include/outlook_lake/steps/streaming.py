"""`stream`: notifications into events, for one lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from outlook_lake.application import Application
from outlook_lake.lake.merge import merge
from outlook_lake.looks.drain import Drain

__all__ = ["stop_requested", "stream"]


async def stream(
    app: Application,
    lane: int = 0,
    stop: Callable[[], bool] | None = None,
    until_idle: bool = False,
    tenant: str | None = None,
) -> dict[str, int]:
    """Drain one lane until idle, for ten minutes, or until the stop file appears.

    `until_idle` ends as soon as no hint is left (for the command line and tests). Returns
    counts of segments, notifications, looks and events.
    """
    async with app.tenants(tenant) as works:
        drain = Drain(
            app.db,
            app.settings,
            {work.tenant_id: (work.client, work.decoder) for work in works.values()},
            app.directory_key.secret,
            owner=f"{app.run_id}:stream{lane}",
            lane=lane,
        )
        drained = await drain.run(stop=stop or (lambda: stop_requested(app)), until_idle=until_idle)
    # A run leaves some hundred small batches: fewer files, quicker live queries.
    await asyncio.to_thread(merge, app.db, app.settings, run_id=app.run_id)
    return drained.counts()


def stop_requested(app: Application) -> bool:
    """Whether the stop file of this home is there: long steps end within two seconds."""
    return (app.settings.home / "run" / "stop").exists()
