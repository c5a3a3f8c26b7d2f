"""`catch_up`: rounds that prove past hours, and find what notifications lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.coverage import settle
from outlook_lake.events.apply import Applied, Applier
from outlook_lake.hints.land import land
from outlook_lake.lake.export import export as export_hours
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.drain import Drain
from outlook_lake.looks.holding import renewing
from outlook_lake.looks.running import run_walks
from outlook_lake.looks.walk import Walk
from outlook_lake.state import leases
from outlook_lake.steps.priming import streams_of, troubles_of, walker_of
from outlook_lake.steps.streaming import stop_requested
from outlook_lake.steps.telling import added_hours, newest_batch, proof_of, told_of_catch_up

__all__ = ["catch_up"]

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
HINTS_WAIT_S = 120.0
"""Longest wait (machine) for the answers to the hints a round made."""

ROUNDS_S = 3000.0
"""Longest time (machine) for the rounds of one run: the next hour's run goes on with the rest."""

ROUNDS_AT_ONCE = 128
"""Mailboxes in a round at a time, one request each: about 1,000 requests a second where Graph
takes an eighth of one to answer."""

LATE_US = HOUR_US // 2
"""Graph time: who asks for an hour this long after its end wants it proven, not a quick look."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A mailbox with a round to do."""

    mailbox_id: int
    tenant_id: str
    full: bool
    hidden: bool


async def catch_up(
    app: Application,
    hour: str | None = None,
    tenant: str | None = None,
    *,
    full: bool | None = None,
    lane: int = 0,
    lanes: int = 1,
) -> dict[str, Any]:
    """One round over every mailbox for which `hour` (or all that is over) is not yet proven.

    `hour` is `YYYY-MM-DDTHH`, UTC, Graph time. An hour that is not over is answered
    `not_over`, and nothing is done: only a round that started after an hour's end proves it.

    Rounds are full (all folders, the only proof) when `full` is True, without `hour`, for an
    hour that ended over half an hour ago, for mailboxes that want one, and for each mailbox every
    `looks.full_every_h`; else they are hot (docs/decisions/hot-folders.md). `full` False keeps
    to what is due. `lane` of `lanes` takes its share of the mailboxes. Ends by answering the
    hints the rounds made, by exporting the hours that became dirty, and by closing the gaps that
    are proven now. `added` are the events this run found, by hour; `troubles` names tenants that
    could not be served.
    """
    now = clock.graph_us()
    target = now // SECOND_US * SECOND_US  # a round is dated by Graph's Date, cut to the second
    if hour is not None:
        target = clock.to_us(clock.parse_hour(hour) + clock.HOUR)
        if now < target + app.settings.lake.over_s * SECOND_US:
            return {"not_over": True, "hour": hour}
    if full is None:
        full = hour is None or now - target > LATE_US
    share = {"lane": lane, "lanes": lanes}
    due = _due(app, target, tenant, now, full, share)
    owner = f"{app.run_id}:catch-up{lane}"
    newest = newest_batch(app.db)
    # What was announced already is a hint first: no round takes it for unannounced.
    await asyncio.to_thread(land, app.db, app.settings, owner)
    async with app.tenants(tenant) as works, renewing(app.db, owner, app.settings):
        for work in works.values():
            work.client.widen(ROUNDS_AT_ONCE)
        applier = Applier(app.db, app.settings, lane="rounds", run_id=owner)
        async with Committer(applier, app.settings.stream.apply_rows) as committer:
            walkers = {key: walker_of(app, work, committer) for key, work in works.items()}
            served = [one for one in due if one.tenant_id in walkers]
            ran = await run_walks(
                app.db,
                app.settings,
                owner,
                {
                    one.mailbox_id: Walk(
                        walkers[one.tenant_id], priming=False, full=one.full, hidden=one.hidden
                    )
                    for one in served
                },
                {one.mailbox_id: one.tenant_id for one in served},
                stop=lambda: stop_requested(app),
                limit_s=ROUNDS_S,
                at_once=ROUNDS_AT_ONCE,
            )
            applied = committer.applied
        drain = Drain(
            app.db,
            app.settings,
            {work.tenant_id: (work.client, work.decoder) for work in works.values()},
            app.directory_key.secret,
            owner=owner,
            streams={key: streams_of(work) for key, work in works.items()},
        )
        applied.add(await _answer(app, drain, owner, ran.done))
        requests = sum(work.client.requests for work in works.values())
    report = await asyncio.to_thread(
        export_hours, app.db, app.settings, tenant=tenant, run_id=owner
    )
    settled = await asyncio.to_thread(settle, app.db, app.settings)
    added = added_hours(app.db, owner, newest)
    proof = None if hour is None else proof_of(app.db, hour, tenant)
    all_read = sum(one.full for one in due)
    return {
        "note": told_of_catch_up(hour, proof, len(ran.done), all_read, added),
        "mailboxes": len(due),
        "rounds": len(ran.done),
        "full": all_read,
        "gave_up": ran.gave_up,
        "unproven": _unproven(app, target, tenant, share),
        "requests": requests,
        "observations": applied.observations,
        "events": applied.events,
        "added": added,
        "gaps": {"filled": settled.filled, "partial": settled.partial, "opened": settled.opened},
        "hints_made": applied.postponed,
        "sealed": [f"{one.domain_id}/{one.hour}" for one in report.sealed],
        "troubles": troubles_of(works, ran.troubles),
    }


NOT_PROVEN = """
    FROM mailbox m JOIN tenant t ON t.tenant_id = m.tenant_id
    WHERE m.state = 'live' AND m.shard % :lanes = :lane
      AND (m.complete_through IS NULL OR m.complete_through < :target {wish}) {one}
"""


def _values(target: int, tenant: str | None, share: dict[str, int]) -> dict[str, object]:
    named: dict[str, object] = {} if tenant is None else {"tenant": tenant}
    return {"target": target, **share, **named}


def _one(tenant: str | None) -> str:
    return "" if tenant is None else "AND t.domain_id = :tenant"


def _due(
    app: Application,
    target: int,
    tenant: str | None,
    now: int,
    full: bool,
    share: dict[str, int],
) -> list[_Due]:
    """The rounds to do, and which of them read all folders."""
    every = app.settings.looks.full_every_h
    found = NOT_PROVEN.format(wish="OR m.round_wanted_at IS NOT NULL", one=_one(tenant))
    with app.db.read() as connection:
        rows = connection.execute(
            text(
                f"SELECT m.mailbox_id, m.tenant_id, m.shard, m.full_at, m.round_wanted_at {found}"
            ),
            _values(target, tenant, share),
        ).all()
    # Each mailbox has its hour among `every`, so that the full rounds do not come all at once;
    # every second of them also lists what the tree's delta leaves out.
    hours = target // HOUR_US
    made = []
    for row in rows:
        asked = full or row.round_wanted_at is not None or row.full_at is None
        old = not asked and now - row.full_at >= every * HOUR_US
        turn = row.shard % every == hours % every
        hidden = asked or hours // every % 2 == row.shard // every % 2
        made.append(_Due(row.mailbox_id, row.tenant_id, asked or old or turn, hidden))
    return made


def _unproven(app: Application, target: int, tenant: str | None, share: dict[str, int]) -> int:
    found = NOT_PROVEN.format(wish="", one=_one(tenant))
    with app.db.read() as connection:
        return int(
            connection.execute(
                text(f"SELECT count(*) {found}"), _values(target, tenant, share)
            ).scalar_one()
        )


async def _answer(app: Application, drain: Drain, owner: str, mailbox_ids: set[int]) -> Applied:
    """Look at the hints the rounds made, until their watermarks have moved."""
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
                "WHERE pending_through IS NOT NULL AND state = 'live' "
                "UNION SELECT mailbox_id FROM hint WHERE due_at <= :now"
            ),
            {"now": clock.machine_us()},
        )
        return [mailbox_id for (mailbox_id,) in rows if mailbox_id in mailbox_ids]
