"""`prime`: every folder of every new mailbox once, so that changes can be told from then on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import func, select

from outlook_lake.application import Application, TenantWork
from outlook_lake.events.apply import Applier
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.holding import renewing
from outlook_lake.looks.running import AT_ONCE, refused_tokens
from outlook_lake.looks.walk import Walk
from outlook_lake.looks.walker import STREAMS, Walker
from outlook_lake.state import leases
from outlook_lake.state.tables import mailbox
from outlook_lake.steps.streaming import stop_requested

__all__ = ["prime", "streams_of", "troubles_of", "walker_of"]

LEASE_S = 9.0
"""Machine time: shorter than the stream's, so that a killed priming soon lets the stream at a
mailbox in which people work. A lease that runs out early costs a page read again."""

IDLE_S = 0.1


async def prime(
    app: Application, until_idle: bool = True, tenant: str | None = None
) -> dict[str, Any]:
    """Prime all mailboxes in state `priming`; ends when none is left, or after `stream.run_s`.

    Killed anywhere, the next run goes on at the last committed page. `troubles` names tenants
    that could not be served.
    """
    owner = f"{app.run_id}:prime"
    began = time.monotonic()
    primed = 0
    lease_s = min(LEASE_S, app.settings.stream.lease_s)
    async with (
        app.tenants(tenant) as works,
        renewing(app.db, owner, app.settings, lease_s=lease_s),
    ):
        for work in works.values():
            work.client.widen(AT_ONCE)
        applier = Applier(app.db, app.settings, lane="prime", run_id=owner)
        async with Committer(applier, app.settings.stream.apply_rows) as committer:
            walks: dict[int, Walk] = {}
            walkers = {key: walker_of(app, work, committer) for key, work in works.items()}
            refused: dict[str, str] = {}
            while not stop_requested(app) and time.monotonic() - began < app.settings.stream.run_s:
                held = await asyncio.to_thread(
                    leases.claim_in_state,
                    app.db,
                    owner,
                    lease_s,
                    state="priming",
                    most=AT_ONCE,
                    tenants=works.keys() - refused.keys(),
                )
                for lease in held:
                    if lease.mailbox_id not in walks:
                        walks[lease.mailbox_id] = Walk(walkers[lease.tenant_id], priming=True)
                refused |= await refused_tokens(
                    held, (walks[lease.mailbox_id].go_on(lease) for lease in held)
                )
                for lease in held:
                    if walks[lease.mailbox_id].done:
                        primed += 1
                        del walks[lease.mailbox_id]
                if not held:
                    if not until_idle or not _left(app, works.keys() - refused.keys()):
                        break
                    await asyncio.sleep(IDLE_S)
            applied = committer.applied
    return {
        "primed": primed,
        "left": _left(app, works),
        "items": applied.observations,
        "events": applied.events,
        "troubles": troubles_of(works, refused),
    }


def streams_of(work: TenantWork) -> frozenset[str]:
    """What a tenant is watched for."""
    return frozenset(getattr(work.connection, "streams", STREAMS))


def troubles_of(
    works: Mapping[str, TenantWork], refused: Mapping[str, str]
) -> list[dict[str, str]]:
    """Troubles by tenant id, told by the tenant's name."""
    return [{"tenant": works[key].domain_id, "what": what} for key, what in refused.items()]


def walker_of(app: Application, work: TenantWork, committer: Committer) -> Walker:
    """What walks of a tenant need, committing through `committer`."""
    return Walker(
        client=work.client,
        decoder=work.decoder,
        db=app.db,
        settings=app.settings,
        name_key=app.directory_key.secret,
        commit=committer.commit,
        streams=streams_of(work),
    )


def _left(app: Application, tenants: Collection[str]) -> int:
    priming = select(func.count()).where(
        mailbox.c.state == "priming", mailbox.c.tenant_id.in_(tenants)
    )
    with app.db.read() as connection:
        return int(connection.execute(priming).scalar_one())
