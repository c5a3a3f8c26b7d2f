"""`subscriptions`: who is in scope, and a live subscription for each of them.

Tenants are served one after another, each on its own: what befalls one is told in `troubles`
and does not reach the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

from sqlalchemy import func, select

from outlook_lake import clock
from outlook_lake.application import Application, TenantWork
from outlook_lake.errors import (
    ConsentError,
    GraphError,
    OutlookLakeError,
    TokenRefusedError,
    UsageError,
)
from outlook_lake.hints.land import land
from outlook_lake.state.tables import mailbox
from outlook_lake.subscriptions import signals, trouble
from outlook_lake.subscriptions.carry_out import subscribe
from outlook_lake.subscriptions.describe import describe, note
from outlook_lake.subscriptions.model import Plan
from outlook_lake.subscriptions.run import COUNTS
from outlook_lake.tenants.directory import export_directory
from outlook_lake.tenants.registry import Tenant, register_tenant, tenants
from outlook_lake.tenants.scope import refresh_mailboxes

__all__ = ["act_at_once", "streams_watched", "subscriptions"]

log = logging.getLogger(__name__)


async def subscriptions(
    app: Application,
    tenant: str | None = None,
    plan_only: bool = False,
    reconcile: bool = False,
) -> dict[str, Any]:
    """Register the tenants of the connections, refresh their users, plan and carry out.

    Returns counts over all tenants; `priming` is how many mailboxes wait for `prime`, `plan`
    the plan as lines without ids or addresses, `note` a few words for a task note (the plan, or
    what was done), `troubles` what befell single tenants (`tenant`, `what`).
    `plan_only`: no subscription is touched. `reconcile`: compare with Graph's own list now, not
    once a day. A tenant named by `tenant` is asked even while it is paused.

    Raises the first trouble when no tenant could be served at all, UsageError when there is
    none to serve.
    """
    troubles: list[dict[str, str]] = []
    errors: list[OutlookLakeError] = []

    def befell(domain_id: str, error: OutlookLakeError) -> None:
        troubles.append({"tenant": domain_id, "what": str(error)})
        errors.append(error)

    _register(app, tenant, befell)
    _known(app, tenant)
    # What was announced already is no silence, and what Graph removed is known now.
    await asyncio.to_thread(land, app.db, app.settings, f"{app.run_id}:subscriptions")
    counts: Counter[str] = Counter()
    plans: list[str] = []
    notes: list[str] = []
    served = 0
    for one in tenants(app.db):
        if tenant not in (None, one.domain_id):
            continue
        if one.state == "gone":
            if one.conn_id in app.connection_ids():
                notes.append(f"{one.domain_id}: disconnected, not served though still listed")
            continue
        try:
            waiting = _waiting(app, one) if tenant is None else None
            if waiting is not None:
                raise waiting
            async with app.tenants(one.domain_id) as works:
                work = works[one.tenant_id]
                did, plan, lesser = await _serve(app, work, one, plan_only, reconcile)
        except OutlookLakeError as error:
            befell(one.domain_id, error)
            continue
        served += 1
        counts.update(did)
        plans += [f"tenant {one.domain_id}", *describe(plan).splitlines()]
        words = note(plan) if plan_only else _done(did)
        notes.append(f"{one.domain_id}: {words}")
        if lesser is not None:
            befell(one.domain_id, lesser)
    export_directory(app.db, app.settings)
    if errors and not served:
        raise errors[0]
    with app.db.read() as connection:
        counts["priming"] = connection.execute(
            select(func.count()).select_from(mailbox).where(mailbox.c.state == "priming")
        ).scalar_one()
    return {**counts, "plan": plans, "note": "; ".join(notes), "troubles": troubles}


async def act_at_once(app: Application, work: TenantWork) -> dict[str, int]:
    """What a call of landing asks for: the urgent part of the step, without the list of users.

    Errors stay the tenant's: they are logged, and the step of every quarter hour goes on.
    """
    call = signals.called(app.db).get(work.tenant_id)
    one = next((row for row in tenants(app.db) if row.tenant_id == work.tenant_id), None)
    if call is None or one is None or one.state in ("gone", "paused"):
        return {}
    try:
        done = await subscribe(
            app.db,
            work.client,
            app.settings,
            one,
            streams=streams_watched(work),
            mode=work.connection.mode,
            urgent=True,
        )
    except GraphError as error:
        if trouble.is_of_the_tenant(error):
            await asyncio.to_thread(trouble.pause, app.db, app.settings, one.tenant_id, error)
        else:
            log.warning("subscriptions of %s could not be mended: %s", one.domain_id, error)
        # Not asked again by this call: the step of every quarter hour goes on from here.
        signals.answered(app.db, work.tenant_id, call)
        return {}
    except UsageError as error:
        log.warning("subscriptions of %s could not be mended: %s", one.domain_id, error)
        signals.answered(app.db, work.tenant_id, call)
        return {}
    if not done.counts.get("busy"):
        signals.answered(app.db, work.tenant_id, call)
    return done.counts


def _register(app: Application, only: str | None, befell: Any) -> None:
    """Make the tenants of all connections known; one connection's fault is only its own."""
    if not app.connection_ids():
        raise UsageError(
            "no connection to serve: set OUTLOOK_LAKE_TENANTS_CONNECTIONS to the ids of "
            "connections of type msgraph"
        )
    names = {one.conn_id: one.domain_id for one in tenants(app.db)}
    for conn_id in app.connection_ids():
        try:
            found = app.connection(conn_id)
            domain_id = found.domain_id or found.credentials.tenant_id
            register_tenant(app.db, conn_id, found.credentials, domain_id, found.internal_domains)
        except UsageError as error:
            # A tenant known from earlier tells it when it is served.
            if conn_id not in names and only in (None, conn_id):
                befell(conn_id, error)


def _known(app: Application, only: str | None) -> None:
    known = sorted(one.domain_id for one in tenants(app.db))
    if only is not None and only not in known:
        raise UsageError(f"no tenant {only!r} here; known: {', '.join(known) or 'none'}")


def _waiting(app: Application, one: Tenant) -> GraphError | None:
    """What a paused tenant suffers from, while its time to be asked again has not come."""
    paused = trouble.waits_until(app.db, one.tenant_id)
    if paused is None:
        return None
    until, reason = paused
    minutes = max(1, round((until - clock.machine_us()) / 60e6))
    what = (
        f"paused: {reason}. It is asked again in {minutes} min, or at once by "
        f"`outlook-lake run subscriptions --tenant {one.domain_id}`"
    )
    return ConsentError(what) if reason == trouble.CONSENT else TokenRefusedError(what)


async def _serve(
    app: Application, work: TenantWork, one: Tenant, plan_only: bool, reconcile: bool
) -> tuple[Counter[str], Plan, OutlookLakeError | None]:
    """One tenant; returns counts, its plan, and what failed without stopping it."""
    counts: Counter[str] = Counter()
    lesser: OutlookLakeError | None = None
    call = signals.called(app.db).get(one.tenant_id)
    try:
        if one.state != "leaving":
            try:
                counts.update(
                    await refresh_mailboxes(
                        app.db, work.client, one, app.directory_key, work.connection.scope
                    )
                )
            except TokenRefusedError:
                raise
            except (GraphError, UsageError) as error:
                # Who is known stays watched, whatever the list of users says, and although the
                # group of the scope is gone.
                lesser = _may_not_list(error) if isinstance(error, ConsentError) else error
                log.error("the users of %s could not be listed: %s", one.domain_id, lesser)
        done = await subscribe(
            app.db,
            work.client,
            app.settings,
            one,
            streams=streams_watched(work),
            mode=work.connection.mode,
            plan_only=plan_only,
            reconcile=reconcile,
        )
    except GraphError as error:
        if trouble.is_of_the_tenant(error):
            await asyncio.to_thread(trouble.pause, app.db, app.settings, one.tenant_id, error)
        raise
    if plan_only:
        return counts, done.plan, lesser
    counts.update(done.counts)
    if lesser is None or not isinstance(lesser, ConsentError):
        await asyncio.to_thread(trouble.go_on, app.db, one.tenant_id)
    if call is not None and not done.counts.get("busy"):
        signals.answered(app.db, one.tenant_id, call)
    return counts, done.plan, lesser


def _may_not_list(error: ConsentError) -> ConsentError:
    return ConsentError(
        "the application may not list who is in scope: grant User.Read.All, with a group in the "
        "scope also GroupMember.Read.All, and consent as an administrator",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )


def _done(counts: Counter[str]) -> str:
    if counts.get("busy"):
        return "another run is at it"
    words = [f"{counts[name]:,} {name}" for name in COUNTS if counts.get(name)]
    return ", ".join(words) or "nothing to do"


def streams_watched(work: TenantWork) -> frozenset[str]:
    """The streams a tenant's connection asks for."""
    return work.connection.streams
