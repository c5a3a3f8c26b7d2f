"""`reprocess`: a window of the past is proven anew, and a receipt says what that brought.

    parked ones are asked for again ─▶ walks (rounds or window looks), giving way to live work
      ─▶ their hints answered ─▶ export ─▶ gaps closed, hours mature ─▶ receipts/reprocess-….json

Killed anywhere it can be run again: what was committed is known, and nothing is told twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select, text, update

from outlook_lake import clock
from outlook_lake.application import Application, TenantWork
from outlook_lake.coverage import Settled, settle
from outlook_lake.coverage.added import events_added
from outlook_lake.coverage.reprocess import Request, gaps_of, preview
from outlook_lake.errors import OutlookLakeError, UsageError
from outlook_lake.events.apply import Applier
from outlook_lake.lake.export import ExportReport
from outlook_lake.lake.export import export as export_hours
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.drain import Drain
from outlook_lake.looks.holding import renewing
from outlook_lake.looks.running import AT_ONCE, Ran, Resumable, run_walks
from outlook_lake.looks.waiting import round_start
from outlook_lake.looks.walk import Walk
from outlook_lake.looks.windows import WindowLook
from outlook_lake.state import leases
from outlook_lake.state.tables import lease as lease_table
from outlook_lake.state.tables import mailbox
from outlook_lake.steps.priming import prime, streams_of, troubles_of, walker_of
from outlook_lake.steps.streaming import stop_requested
from outlook_lake.steps.subscribing import subscriptions

__all__ = ["reprocess", "reprocess_preview"]

WORK_S = 6 * 3600.0
"""Longest time (machine) for the walks; what is left is wanted from the next rounds."""
ANSWER_S = 300.0
"""Longest wait (machine) for the answers to the hints the walks made."""
END_S = 3.0
"""Longest wait (machine) for the second in which a gap ends."""
KEEP_S = 20.0
_SECOND_US = 1_000_000

_PENDING = text(
    "SELECT mailbox_id FROM mailbox WHERE pending_through IS NOT NULL AND state = 'live' "
    "UNION SELECT mailbox_id FROM hint WHERE due_at <= :now"
)
_LAST_END = text(
    "SELECT max(g.to_at) FROM gap g JOIN mailbox m ON m.mailbox_id = g.mailbox_id "
    "WHERE g.state = 'open' AND m.tenant_id IN :tenants"
).bindparams(bindparam("tenants", expanding=True))
_WANT = text(
    "UPDATE mailbox SET round_reason = 'reprocess', round_wanted_at = "
    "CASE WHEN round_wanted_at > :at THEN round_wanted_at ELSE :at END "
    "WHERE mailbox_id IN :some AND state = 'live'"
).bindparams(bindparam("some", expanding=True))


@dataclass(slots=True)
class _Done:
    """What the work did."""

    ran: Ran = field(default_factory=Ran)
    back: int = 0
    requests: int = 0
    left: int = 0
    """Could be read and were not: out of time, stopped, or their tenant is not served now."""
    troubles: list[dict[str, str]] = field(default_factory=list)


def reprocess_preview(app: Application, **asked: Any) -> dict[str, Any]:
    """What `reprocess` would cost and bring, from the same arguments; nothing is changed."""
    asked.pop("by", None)
    return preview(app.db, Request.of(app.db, app.settings, **asked))


async def reprocess(
    app: Application,
    from_hour: str,
    to_hour: str,
    reason: str,
    tenant: str | None = None,
    mailboxes: str | Sequence[str] = "all",
    depth: str = "rounds",
    by: str = "",
) -> dict[str, Any]:
    """Prove the hours of a window anew; returns the receipt, which is also kept as a file.

    Hours `YYYY-MM-DDTHH` (Graph time), the end not included; `mailboxes`: `all`, `unproven`,
    `parked` or tuids; `depth`: `rounds` or `window`; `by` names who approved. One reprocess of a
    tenant at a time. Raises UsageError for what cannot be done, with nothing changed.
    """
    request = Request.of(
        app.db,
        app.settings,
        from_hour=from_hour,
        to_hour=to_hour,
        tenant=tenant,
        mailboxes=mailboxes,
        depth=depth,
        reason=reason,
    )
    owner = f"{app.run_id}:reprocess"
    began = clock.machine_now()
    async with _alone(app, request, owner):
        before = await asyncio.to_thread(gaps_of, app.db, request)
        planned = await asyncio.to_thread(preview, app.db, request)
        done = await _work(app, request, owner, tenant)
        added = await asyncio.to_thread(events_added, app.db, app.settings, owner)
        report = await asyncio.to_thread(
            export_hours, app.db, app.settings, tenant=tenant, run_id=owner
        )
        settled = await asyncio.to_thread(settle, app.db, app.settings)
        receipt = {
            "tenants": planned["tenants"],
            "from": planned["from"],
            "to": planned["to"],
            "depth": depth,
            "reason": request.reason,
            "approved_by": by,
            "began_at": began.isoformat(),
            "ended_at": clock.machine_now().isoformat(),
            **await asyncio.to_thread(_outcome, app, request, done, before),
            "events_added": sum(one["events"] for one in added),
            "events": added,
            **_hours(report, settled),
        }
        path = _keep_receipt(app, request, receipt)
    return {**receipt, "receipt": str(path), "note": _note(receipt)}


async def _work(app: Application, request: Request, owner: str, tenant: str | None) -> _Done:
    done = _Done()
    waiting = request.in_state("parked", "new", "subscribing", "priming")
    if waiting:
        done.back = await _ask_again(app, [one.mailbox_id for one in waiting], tenant, done)
        await _let_gaps_end(app, request)
    live = await asyncio.to_thread(_live, app, request)
    async with app.tenants(tenant) as works, renewing(app.db, owner, app.settings):
        for work in works.values():
            work.client.widen(AT_ONCE)
        applier = Applier(app.db, app.settings, lane="reprocess", run_id=owner)
        async with Committer(applier, app.settings.stream.apply_rows) as committer:
            walks = _walks(app, request, works, committer, live)
            done.ran = await run_walks(
                app.db,
                app.settings,
                owner,
                walks,
                live,
                stop=lambda: stop_requested(app),
                limit_s=WORK_S,
            )
        await _answer(app, works, owner, done.ran.done)
        done.requests = sum(work.client.requests for work in works.values())
        done.troubles += troubles_of(works, done.ran.troubles)
        done.troubles += [
            {"tenant": name, "what": "not served now: paused, or its connection cannot be read"}
            for tenant_id, name in request.tenants.items()
            if tenant_id not in works
        ]
    left = sorted(live.keys() - done.ran.done)
    done.left = len(left) - done.ran.gave_up
    if left and request.depth == "rounds":
        with app.db.write() as connection:
            for start in range(0, len(left), 500):
                some = left[start : start + 500]
                connection.execute(_WANT, {"some": some, "at": clock.graph_us()})
    return done


def _walks(
    app: Application,
    request: Request,
    works: Mapping[str, TenantWork],
    committer: Committer,
    live: Mapping[int, str],
) -> dict[int, Resumable]:
    walkers = {key: walker_of(app, work, committer) for key, work in works.items()}
    made: dict[int, Resumable] = {}
    for mailbox_id, tenant_id in live.items():
        if tenant_id not in walkers:
            continue
        if request.depth == "rounds":
            made[mailbox_id] = Walk(walkers[tenant_id], priming=False)
        else:
            window = request.window
            made[mailbox_id] = WindowLook(walkers[tenant_id], window.from_us, window.to_us)
    return made


async def _ask_again(
    app: Application, mailbox_ids: list[int], tenant: str | None, done: _Done
) -> int:
    """Parked mailboxes are asked for now instead of tomorrow; how many can be read by then."""
    with app.db.write() as connection:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id.in_(mailbox_ids), mailbox.c.state == "parked")
            .values(recheck_at=0)
        )
    try:
        await subscriptions(app, tenant=tenant)
        await prime(app, tenant=tenant)
    except OutlookLakeError as error:
        done.troubles.append({"tenant": tenant or "all", "what": str(error)})
    with app.db.read() as connection:
        return len(
            connection.execute(
                select(mailbox.c.mailbox_id).where(
                    mailbox.c.mailbox_id.in_(mailbox_ids), mailbox.c.state == "live"
                )
            ).all()
        )


async def _let_gaps_end(app: Application, request: Request) -> None:
    """Who just came back has a gap until the next second: a round proves what ended before it."""
    with app.db.read() as connection:
        last = connection.execute(_LAST_END, {"tenants": list(request.tenants)}).scalar()
    left_s = ((last or 0) - round_start()) / _SECOND_US
    if left_s > 0:
        await asyncio.sleep(min(left_s, END_S))


def _live(app: Application, request: Request) -> dict[int, str]:
    """The chosen mailboxes that can be walked now, with their tenants."""
    mine = {one.mailbox_id for one in request.chosen}
    with app.db.read() as connection:
        rows = connection.execute(
            select(mailbox.c.mailbox_id, mailbox.c.tenant_id).where(
                mailbox.c.state == "live", mailbox.c.tenant_id.in_(list(request.tenants))
            )
        )
        return {row.mailbox_id: row.tenant_id for row in rows if row.mailbox_id in mine}


async def _answer(
    app: Application, works: Mapping[str, TenantWork], owner: str, mailbox_ids: set[int]
) -> None:
    """Look at the hints the walks made, until the watermarks have moved."""
    drain = Drain(
        app.db,
        app.settings,
        {work.tenant_id: (work.client, work.decoder) for work in works.values()},
        app.directory_key.secret,
        owner=owner,
        streams={key: streams_of(work) for key, work in works.items()},
    )
    began = time.monotonic()
    while time.monotonic() - began < ANSWER_S and not stop_requested(app):
        with app.db.read() as connection:
            rows = connection.execute(_PENDING, {"now": clock.machine_us()})
            waiting = [row.mailbox_id for row in rows if row.mailbox_id in mailbox_ids]
        if not waiting:
            break
        held = await asyncio.to_thread(
            leases.claim_these, app.db, owner, app.settings.stream.lease_s, waiting
        )
        if held:
            await drain.look(held)
        await asyncio.sleep(0.3)


@asynccontextmanager
async def _alone(app: Application, request: Request, owner: str) -> AsyncIterator[None]:
    """One reprocess of a tenant at a time: two would wait for each other's mailboxes."""
    names = [f"reprocess:{tenant}" for tenant in sorted(request.tenants.values())]

    async def keep() -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            await asyncio.to_thread(_prolong, app, names, owner)

    with _held(app, names, owner):
        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


def _held(app: Application, names: list[str], owner: str) -> ExitStack:
    stack = ExitStack()
    for name in names:
        if not stack.enter_context(leases.named(app.db, name, owner)):
            stack.close()
            raise UsageError(
                f"another reprocess of {name.partition(':')[2]} is at work: wait until its receipt "
                "is there (a minute, if it was killed), then ask again"
            )
    return stack


def _prolong(app: Application, names: list[str], owner: str) -> None:
    until = clock.machine_us() + int(leases.NAMED_LEASE_S * _SECOND_US)
    with app.db.write() as connection:
        connection.execute(
            update(lease_table)
            .where(lease_table.c.name.in_(names), lease_table.c.lease_by == owner)
            .values(lease_until=until)
        )


def _outcome(
    app: Application,
    request: Request,
    done: _Done,
    before: Mapping[int, tuple[int, str, str, str]],
) -> dict[str, Any]:
    after = gaps_of(app.db, request)
    was_open = [gap_id for gap_id, gap in before.items() if gap[3] == "open"]
    # A gap that was widened into another is closed with it.
    now = Counter(after[gap_id][3] for gap_id in was_open if gap_id in after)
    stays = Counter((gap[1], gap[2]) for gap in after.values() if gap[3] == "partial")
    return {
        "mailboxes": len(request.chosen),
        "walked": len(done.ran.done),
        "gave_up": done.ran.gave_up,
        "left": done.left,
        "came_back": done.back,
        "requests": done.requests,
        "gaps_filled": now["filled"],
        "gaps_partial": now["partial"],
        "gaps_open": sum(gap[3] == "open" for gap in after.values()),
        "stays_partial": [
            {"cause": cause, "loss": loss, "gaps": count}
            for (cause, loss), count in sorted(stays.items())
        ],
        "troubles": done.troubles,
    }


def _hours(report: ExportReport, settled: Settled) -> dict[str, Any]:
    return {
        "sealed": [f"{one.domain_id}/{one.hour}" for one in report.sealed],
        "hours_failed": [f"{one.domain_id}/{one.hour}" for one in report.failed],
        "hours_settled": settled.settled + settled.final,
    }


def _keep_receipt(app: Application, request: Request, receipt: Mapping[str, Any]) -> Path:
    folder = app.settings.home / "receipts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = f"{clock.machine_now():%Y%m%dT%H%M%S%f}"
    path = folder / f"reprocess-{request.name}-{stamp}.json"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(receipt, file, indent=1)
    return path


def _note(receipt: Mapping[str, Any]) -> str:
    note = (
        f"{receipt['walked']:,} of {receipt['mailboxes']:,} mailboxes read, "
        f"{receipt['events_added']:,} events added, {len(receipt['sealed']):,} hours rewritten, "
        f"{receipt['gaps_filled']:,} gaps filled, {receipt['gaps_partial']:,} ended partial"
    )
    if receipt["gaps_open"] or receipt["left"] or receipt["gave_up"]:
        note += (
            f"; {receipt['gaps_open']:,} stay open, "
            f"{receipt['left'] + receipt['gave_up']:,} mailboxes are left"
        )
    return note
