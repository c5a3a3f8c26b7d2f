"""`witness`: Graph's counts of folders against the inventory, and a round where they differ."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.coverage import settle
from outlook_lake.coverage.trace import compare
from outlook_lake.coverage.witness import Looked, look, watched
from outlook_lake.errors import GraphError, UsageError
from outlook_lake.hints.land import land

__all__ = ["witness"]


async def witness(
    app: Application,
    tenant: str | None = None,
    hour: str | None = None,
) -> dict[str, Any]:
    """Compare all live mailboxes, or with `hour` (`YYYY-MM-DDTHH`) that hour's share of the day.

    Twenty-four runs with following hours look at every mailbox once, and again at those that
    differed. What differs by the same number ten minutes later (Graph time) becomes a gap and a
    wanted round; what agrees again closes it. With `looks.message_trace = on` the settled
    hours are compared with the tenant's message trace too. Returns counts; `troubles` names tenants
    that could not be asked. UsageError when the inventory forgets items (`inventory.horizon_days`):
    it cannot be compared then.
    """
    if app.settings.inventory.horizon_days:
        raise UsageError(
            "the witness compares Graph's counts with an inventory that forgets nothing: "
            "set inventory.horizon_days to 0, or do without"
        )
    share = None if hour is None else clock.parse_hour(hour).hour
    totals = {"mailboxes": 0, "agreed": 0, "differed": 0, "unclear": 0, "gaps": 0, "requests": 0}
    traced = {"hours": 0, "rows": 0, "missing": 0, "mailboxes": 0, "requests": 0}
    troubles: list[dict[str, str]] = []
    owner = f"{app.run_id}:witness"
    # What was announced already is a hint first, and no difference.
    await asyncio.to_thread(land, app.db, app.settings, owner)
    async with app.tenants(tenant) as works:
        for work in works.values():
            some = await asyncio.to_thread(watched, app.db, work.tenant_id, share)
            try:
                found = await look(
                    work.client,
                    app.db,
                    app.settings,
                    owner,
                    some,
                )
            except GraphError as error:
                troubles.append({"tenant": work.domain_id, "what": str(error)})
                continue
            _count(totals, len(some), found)
            if app.settings.looks.message_trace == "on":
                try:
                    told = await compare(
                        work.client,
                        app.db,
                        app.settings,
                        app.directory_key,
                        work.tenant_id,
                        work.domain_id,
                    )
                except GraphError as error:
                    what = f"its message trace could not be read: {error}"
                    troubles.append({"tenant": work.domain_id, "what": what})
                    continue
                traced = {name: traced[name] + count for name, count in asdict(told).items()}
    await asyncio.to_thread(settle, app.db, app.settings)
    return {**totals, "traced": traced, "troubles": troubles}


def _count(totals: dict[str, int], mailboxes: int, found: Looked) -> None:
    totals["mailboxes"] += mailboxes
    totals["agreed"] += len(found.agreed)
    totals["differed"] += len(found.differed)
    totals["unclear"] += len(found.unclear)
    totals["gaps"] += len(found.opened)
    totals["requests"] += found.requests
