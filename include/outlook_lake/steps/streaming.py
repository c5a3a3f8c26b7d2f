"""`stream`: notifications into events, for one lane, and subscriptions mended at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from outlook_lake.application import Application, TenantWork
from outlook_lake.lake.merge import merge
from outlook_lake.looks.drain import Drain
from outlook_lake.looks.rich.reader import RichReader
from outlook_lake.steps.subscribing import act_at_once, streams_watched
from outlook_lake.subscriptions import signals

__all__ = ["stop_requested", "stream"]

LISTEN_S = 1.0
"""Machine time between two looks for a call of landing."""
LEAVE_S = 1.5
"""Machine time for what is being mended when the drain ends: a stop takes two seconds."""


async def stream(
    app: Application,
    lane: int = 0,
    stop: Callable[[], bool] | None = None,
    until_idle: bool = False,
    tenant: str | None = None,
) -> dict[str, Any]:
    """Drain one lane until idle, for ten minutes, or until the stop file appears.

    `until_idle` ends as soon as no hint is left (for the command line and tests). What Graph
    told of its subscriptions (removed, to be reauthorized) is acted upon beside the drain, by
    the first lane. Returns counts of segments, notifications, looks, pushed
    states and events, and of subscriptions `renewed`, `recreated` and so on where there were any.
    """
    async with app.tenants(tenant) as works:
        drain = Drain(
            app.db,
            app.settings,
            {work.tenant_id: (work.client, work.decoder) for work in works.values()},
            app.directory_key.secret,
            owner=f"{app.run_id}:stream{lane}",
            lane=lane,
            streams={key: streams_watched(work) for key, work in works.items()},
            rich={
                key: RichReader(app.settings, work.connection.credentials, work.tenant_id)
                for key, work in works.items()
            },
        )
        async with _listening(app, works if lane == 0 else {}) as mended:
            drained = await drain.run(
                stop=stop or (lambda: stop_requested(app)), until_idle=until_idle
            )
    # A run leaves some hundred small batches: fewer files, quicker live queries.
    await asyncio.to_thread(merge, app.db, app.settings, run_id=app.run_id)
    return {**drained.counts(), **{name: count for name, count in mended.items() if count}}


def stop_requested(app: Application) -> bool:
    """Whether the stop file of this home is there: long steps end within two seconds."""
    return (app.settings.home / "run" / "stop").exists()


@asynccontextmanager
async def _listening(app: Application, works: dict[str, TenantWork]) -> AsyncIterator[Counter[str]]:
    """Answer calls of landing beside the drain, and those of its last turn at its end."""
    mended: Counter[str] = Counter()

    async def answer() -> None:
        called = await asyncio.to_thread(signals.called, app.db)
        for tenant_id in called.keys() & works.keys():
            mended.update(await act_at_once(app, works[tenant_id]))

    over = asyncio.Event()

    async def listen() -> None:
        while not over.is_set():
            await answer()
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LISTEN_S)
        await answer()

    if not works:
        yield mended
        return
    listener = asyncio.create_task(listen())
    try:
        yield mended
    finally:
        over.set()
        # What is not answered by then is carried on by the next run.
        _, late = await asyncio.wait({listener}, timeout=LEAVE_S)
        if late:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
    if not late:
        listener.result()
