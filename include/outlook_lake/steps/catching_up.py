"""`catch_up`: rounds that prove past hours, and find what notifications lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.events.apply import Applied, Applier
from outlook_lake.hints.land import land
from outlook_lake.lake.export import export as export_hours
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.drain import Drain
from outlook_lake.looks.holding import renewing
from outlook_lake.looks.walk import Walk
from outlook_lake.state import leases
from outlook_lake.steps.priming import AT_ONCE, _walker
from outlook_lake.steps.streaming import stop_requested

__all__ = ["catch_up"]

SECOND_US = 1_000_000
HINTS_WAIT_S = 120.0
"""Longest wait (machine) for the answers to the hints a round made."""


async def catch_up(
    app: Application, hour: str | None = None, tenant: str | None = None
) -> dict[str, Any]:
    """One round over every mailbox for which `hour` (or all that is over) is not yet proven.

    `hour` is `YYYY-MM-DDTHH`, UTC, Graph time. An hour that is not over is answered
    `not_over`, and nothing is done: only a round that started after an hour's end proves it.
    Ends by answering the hints the rounds made and by exporting the hours that became dirty.
    """
    now = clock.graph_us()
    target = now // SECOND_US * SECOND_US  # a round is dated by Graph's Date, cut to the second
    if hour is not None:
        target = clock.to_us(clock.parse_hour(hour) + clock.HOUR)
        if now < target + app.settings.lake.over_s * 1_000_000:
            return {"not_over": True, "hour": hour}
    wanted = _unproven(app, target, tenant, wishes=True)
    owner = f"{app.run_id}:catch-up"
    # What was announced already is a hint first: no round takes it for unannounced.
    await asyncio.to_thread(land, app.db, app.settings, owner)
    async with app.tenants(tenant) as works, renewing(app.db, owner, app.settings):
        for work in works.values():
            work.client.widen(AT_ONCE)
        applier = Applier(app.db, app.settings, lane="rounds", run_id=owner)
        async with Committer(applier, app.settings.stream.apply_rows) as committer:
            walkers = {key: _walker(app, work, committer) for key, work in works.items()}
            walks = {m: Walk(walkers[t], priming=False) for m, t in wanted.items() if t in walkers}
            rounds = await _walk_all(app, owner, walks)
            applied = committer.applied
        drain = Drain(
            app.db,
            app.settings,
            {work.tenant_id: (work.client, work.decoder) for work in works.values()},
            app.directory_key.secret,
            owner=owner,
        )
        applied.add(await _answer(app, drain, owner, set(wanted)))
    report = await asyncio.to_thread(
        export_hours, app.db, app.settings, tenant=tenant, run_id=owner
    )
    return {
        "mailboxes": len(wanted),
        "rounds": rounds,
        "unproven": len(_unproven(app, target, tenant)),
        "observations": applied.observations,
        "events": applied.events,
        "hints_made": applied.postponed,
        "sealed": [f"{one.domain_id}/{one.hour}" for one in report.sealed],
    }


def _unproven(
    app: Application, target: int, tenant: str | None, *, wishes: bool = False
) -> dict[int, str]:
    """Live mailboxes not proven through `target`; with `wishes`, those that want a round too."""
    one = "" if tenant is None else "AND t.domain_id = :tenant"
    wish = "OR m.round_wanted_at IS NOT NULL" if wishes else ""
    with app.db.read() as connection:
        rows = connection.execute(
            text(
                "SELECT m.mailbox_id, m.tenant_id FROM mailbox m "
                "JOIN tenant t ON t.tenant_id = m.tenant_id WHERE m.state = 'live' "
                f"AND (m.complete_through IS NULL OR m.complete_through < :target {wish}) {one}"
            ),
            {"target": target} | ({} if tenant is None else {"tenant": tenant}),
        )
        return {row.mailbox_id: row.tenant_id for row in rows}


async def _walk_all(app: Application, owner: str, walks: dict[int, Walk]) -> int:
    """Go on with every walk until all are done or given up; returns how many are done."""
    done = 0
    began = time.monotonic()
    left = dict(walks)
    while left and not stop_requested(app):
        if time.monotonic() - began > app.settings.stream.run_s:
            break
        now = clock.machine_us()
        some = [mailbox_id for mailbox_id, walk in left.items() if walk.resume_at <= now][:AT_ONCE]
        held = await asyncio.to_thread(
            leases.claim_these, app.db, owner, app.settings.stream.lease_s, some
        )
        await asyncio.gather(*(left[lease.mailbox_id].go_on(lease) for lease in held))
        for mailbox_id in some:
            walk = left.pop(mailbox_id)
            if walk.done:
                done += 1
            elif not walk.gave_up:
                left[mailbox_id] = walk  # to the end of the line
        if not held:
            await asyncio.sleep(0.2)
    return done


async def _answer(app: Application, drain: Drain, owner: str, mailbox_ids: set[int]) -> Applied:
    """Look at the hints of these mailboxes until the rounds' watermarks have moved."""
    began = time.monotonic()
    while time.monotonic() - began < HINTS_WAIT_S and not stop_requested(app):
        waiting = await asyncio.to_thread(_pending, app, mailbox_ids)
        if not waiting:
            break
        held = await asyncio.to_thread(
            leases.claim_these, app.db, owner, app.settings.stream.lease_s, waiting
        )
        if held:
            await drain.look(held)
        await asyncio.sleep(0.3)
    return drain.drained.applied


def _pending(app: Application, mailbox_ids: set[int]) -> list[int]:
    with app.db.read() as connection:
        rows = connection.execute(
            text(
                "SELECT mailbox_id FROM mailbox "
                "WHERE pending_through IS NOT NULL AND state = 'live'"
            )
        )
        return [mailbox_id for (mailbox_id,) in rows if mailbox_id in mailbox_ids]
