"""`prime`: every folder of every new mailbox once, so that changes can be told from then on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from sqlalchemy import func, select

from outlook_lake.application import Application, TenantWork
from outlook_lake.events.apply import Applier
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.holding import renewing
from outlook_lake.looks.walk import Walk, Walker
from outlook_lake.state import leases
from outlook_lake.state.tables import mailbox
from outlook_lake.steps.streaming import stop_requested

__all__ = ["prime"]

AT_ONCE = 32
"""Mailboxes walked at a time; each has at most a few requests in flight."""


async def prime(
    app: Application, until_idle: bool = True, tenant: str | None = None
) -> dict[str, int]:
    """Prime all mailboxes in state `priming`; ends when none is left, or after `stream.run_s`.

    Killed anywhere, the next run goes on at the last committed page.
    """
    owner = f"{app.run_id}:prime"
    began = time.monotonic()
    primed = 0
    async with app.tenants(tenant) as works, renewing(app.db, owner, app.settings):
        for work in works.values():
            work.client.widen(AT_ONCE)
        applier = Applier(app.db, app.settings, lane="prime", run_id=owner)
        async with Committer(applier, app.settings.stream.apply_rows) as committer:
            walks: dict[int, Walk] = {}
            walkers = {key: _walker(app, work, committer) for key, work in works.items()}
            while not stop_requested(app) and time.monotonic() - began < app.settings.stream.run_s:
                held = await asyncio.to_thread(
                    leases.claim_in_state,
                    app.db,
                    owner,
                    app.settings.stream.lease_s,
                    state="priming",
                    most=AT_ONCE,
                    tenants=works,
                )
                for lease in held:
                    if lease.mailbox_id not in walks:
                        walks[lease.mailbox_id] = Walk(walkers[lease.tenant_id], priming=True)
                await asyncio.gather(*(walks[lease.mailbox_id].go_on(lease) for lease in held))
                for lease in held:
                    if walks[lease.mailbox_id].done:
                        primed += 1
                        del walks[lease.mailbox_id]
                if not held:
                    if not until_idle or not _left(app, works):
                        break
                    await asyncio.sleep(0.5)
            applied = committer.applied
    return {
        "primed": primed,
        "left": _left(app, works),
        "items": applied.observations,
        "events": applied.events,
    }


def _walker(app: Application, work: TenantWork, committer: Committer) -> Walker:
    return Walker(
        client=work.client,
        decoder=work.decoder,
        db=app.db,
        settings=app.settings,
        name_key=app.directory_key.secret,
        commit=committer.commit,
    )


def _left(app: Application, tenants: Collection[str]) -> int:
    priming = select(func.count()).where(
        mailbox.c.state == "priming", mailbox.c.tenant_id.in_(tenants)
    )
    with app.db.read() as connection:
        return int(connection.execute(priming).scalar_one())
