"""One tenant: make the plan, show it, carry it out; once a day compare with Graph's list.

    rows ─▶ plan ─▶ log ─▶ run ─▶ (daily, or asked for) list ─▶ plan again ─▶ run

A process that dies between Graph's 201 and our commit leaves a row `creating`; the next run
asks again with the same nonce, Graph says 409, and the subscription is adopted. One that no
row of ours can have made is deleted: its notifications carry proofs we cannot check.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections import Counter
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sqlalchemy import select

from outlook_lake import clock
from outlook_lake.errors import GraphError, TransientGraphError, UsageError
from outlook_lake.graph.client import GraphClient
from outlook_lake.receiver.client_state import ensure_keys, newest
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.tables import tenant as tenant_table
from outlook_lake.subscriptions import records
from outlook_lake.subscriptions.describe import describe
from outlook_lake.subscriptions.desk import Desk
from outlook_lake.subscriptions.listing import listed_at, listing_due, read_listing
from outlook_lake.subscriptions.model import STREAMS, Action, Listed, Plan, Wanted
from outlook_lake.subscriptions.plan import plan
from outlook_lake.subscriptions.run import IN_FLIGHT, Run
from outlook_lake.tenants.credentials import is_loopback_host
from outlook_lake.tenants.encryption import KeyPair, ensure_pairs
from outlook_lake.tenants.registry import Tenant

__all__ = ["Carried", "subscribe"]

log = logging.getLogger(__name__)

URGENT = frozenset({("reauthorize", "asked"), ("recreate", "removed")})
"""What lifecycle notifications ask for."""
BY_LIST = frozenset({"foreign", "unlisted"})
"""What only Graph's list can show."""
WAIT_S = 75.0
"""How long a run waits for another one to end, longer than a dead one's lease (machine time)."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What was planned, and counts of what was done."""

    plan: Plan
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Work:
    """What every part of one run needs."""

    db: Database
    client: GraphClient
    settings: Settings
    tenant: Tenant
    wanted: Wanted
    urgent: bool
    pair: KeyPair | None = None


async def subscribe(
    db: Database,
    client: GraphClient,
    settings: Settings,
    tenant: Tenant,
    *,
    streams: frozenset[str] = STREAMS,
    mode: str = "basic",
    plan_only: bool = False,
    urgent: bool = False,
    reconcile: bool = False,
) -> Carried:
    """Bring the subscriptions of a tenant to what is wanted; returns the plan and counts.

    Counts: `planned`, `created`, `adopted`, `renewed`, `reauthorized`, `recreated`, `removed`,
    `checked`, `parked`, `spreading` (forbidden so far), `failed`, `priming` (mailboxes that now
    wait for their first enumeration), `listed`, `busy` (1: another run is at it).
    `mode` is `basic` or `rich`, where notifications bring the selected fields, encrypted for our
    newest key pair. `urgent`: only what Graph told of, and no waiting for another run.
    `reconcile`: ask for Graph's list now, not once a day. Raises UsageError without a usable
    notification URL, UnreachableError when Graph cannot validate it, ConsentError and
    TokenRefusedError when the tenant refuses.
    """
    url = "" if tenant.state == "leaving" else _notification_url(settings)
    keys = ensure_keys(settings.keys)
    retired = frozenset(name for name, key in keys.items() if getattr(key, "retired_at", None))
    pair = ensure_pairs(settings.keys / "rich")[-1] if mode == "rich" else None
    wanted = Wanted(
        url=url,
        keys=frozenset(keys) - retired,
        retired=retired,
        silent_changes=settings.subscriptions.silent_changes,
        checks=settings.subscriptions.checks_per_run,
        streams=streams,
        mode=mode,
        cert_id=None if pair is None else pair.cert_id,
        leaving=tenant.state == "leaving",
    )
    work = _Work(db, client, settings, tenant, wanted, urgent, pair)
    if plan_only:
        return Carried(_plan(work, None)[0], {})
    name = f"subscriptions:{tenant.tenant_id}"
    owner = f"subscriptions-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    patience = asyncio.get_running_loop().time() + (0.0 if urgent else WAIT_S)
    while True:
        with leases.named(db, name, owner) as held:
            if held:
                return await _carry_out(work, (name, owner), reconcile)
        if asyncio.get_running_loop().time() >= patience:
            return Carried(_plan(work, None)[0], {"busy": 1})
        # Another run is at it, or died and its lease has to end first.
        await asyncio.sleep(1.0)


async def _carry_out(work: _Work, lease: tuple[str, str], reconcile: bool) -> Carried:
    made, probe = await asyncio.to_thread(_plan, work, None)
    log.info("tenant %s\n%s", work.tenant.domain_id, describe(made))
    counts: Counter[str] = Counter(planned=len(made.actions))
    counts.update(await _run(work, lease, made, probe))
    if not work.urgent and (reconcile or listing_due(work.db, work.tenant.tenant_id)):
        again = await _reconcile(work, lease, counts)
        if again is not None:
            made = Plan((*made.actions, *again.actions), made.mailboxes, made.watched, made.streams)
    return Carried(made, dict(counts))


async def _run(
    work: _Work, lease: tuple[str, str], made: Plan, probe: Action | None
) -> dict[str, int]:
    keys = ensure_keys(work.settings.keys)
    tenant_id = work.tenant.tenant_id
    run = Run(
        work.db, _desk(work), tenant_id, keys, newest(keys), work.wanted.url, lease, work.pair
    )
    if made.actions:
        work.client.widen(IN_FLIGHT)
        await run.go(made.actions, probe)
    return run.counts


async def _reconcile(work: _Work, lease: tuple[str, str], counts: Counter[str]) -> Plan | None:
    """Compare with Graph's list; a list that cannot be read is asked for again next time."""
    db, tenant_id = work.db, work.tenant.tenant_id
    try:
        listed = await read_listing(db, _desk(work), lease)
    except TransientGraphError as error:
        log.warning("the list of subscriptions could not be read: %s", error)
        return None
    if listed is None:  # somebody else has taken over
        return None
    made, probe = await asyncio.to_thread(_plan, work, listed)
    counts["listed"] += len(listed)
    counts["planned"] += len(made.actions)
    if made.actions:
        log.info("tenant %s, compared with Graph's list\n%s", work.tenant.domain_id, describe(made))
    try:
        counts.update(await _run(work, lease, made, probe))
    except GraphError as error:  # what is urgent was done before
        log.warning("what the list of subscriptions showed could not be mended: %s", error)
        return made
    listed_at(db, tenant_id, clock.graph_us())
    return made


def _plan(work: _Work, listed: list[Listed] | None) -> tuple[Plan, Action | None]:
    """The plan, and a renewal that would prove that the tenant still lets us in."""
    with work.db.read() as connection:
        mailboxes, rows = records.read_rows(connection, work.tenant.tenant_id)
    now = clock.graph_us()
    made = plan(mailboxes, rows, now, work.wanted, listed)
    if work.urgent:
        told = tuple(one for one in made.actions if (one.kind, one.reason) in URGENT)
        made = replace(made, actions=told)
    if listed is not None:  # the rest was planned and tried a moment ago
        shown = tuple(o for o in made.actions if o.kind == "adopt" or o.reason in BY_LIST)
        made = replace(made, actions=shown)
    busy = {action.mailbox_id for action in made.actions}
    for row in rows:
        alive = row.state == "active" and (row.expires_at or 0) > now
        if alive and row.mailbox_id not in busy:
            return made, Action("renew", row.mailbox_id, "probe", row.nonce, row.subscription_id)
    return made, None


def _desk(work: _Work) -> Desk:
    given = work.settings.subscriptions
    with work.db.read() as connection:
        limit = connection.execute(
            select(tenant_table.c.minutes_limit).where(
                tenant_table.c.tenant_id == work.tenant.tenant_id
            )
        ).scalar()
    return Desk(
        work.client,
        work.wanted.url,
        minutes=given.lifetime_minutes,
        rich_minutes=given.rich_lifetime_minutes,
        limit=limit,
        writes_per_s=given.writes_per_s,
        lists_per_s=given.lists_per_s,
    )


def _notification_url(settings: Settings) -> str:
    url = settings.receiver.notification_url
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(parts.hostname)):
        return url
    raise UsageError(
        "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL has to be the public https address of the "
        "receiver's /notifications (plain http on loopback only)"
    )
