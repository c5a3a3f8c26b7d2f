"""`disconnect`: stop watching a tenant, keep or remove what is known, and write a receipt.

    leaving → subscriptions removed at Graph → stragglers heard → drained → data kept | removed
            → gone → receipt

Every step may be killed and begun again. A tenant that is `gone` stays so although its
connection is still there, until somebody connects it again on purpose.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.application import Application
from outlook_lake.errors import (
    ConsentError,
    TerminalGraphError,
    TokenRefusedError,
    UnreachableError,
    UsageError,
)
from outlook_lake.state.tables import mailbox, subscription
from outlook_lake.state.tables import tenant as tenant_table
from outlook_lake.steps.removing import holdings, remove
from outlook_lake.steps.streaming import stop_requested, stream
from outlook_lake.steps.subscribing import subscriptions
from outlook_lake.tenants.registry import Tenant, tenants

__all__ = ["disconnect", "disconnect_preview"]

STRAGGLERS_S = 20.0
"""Notifications still come so long after a subscription is gone (machine time)."""
DRAIN_S = 300.0
"""What cannot be looked at within this time (machine) is left: it may never be readable again."""


def disconnect_preview(
    app: Application, tenant: str, reason: str, remove_data: bool = False
) -> dict[str, Any]:
    """What disconnecting would do: counts, sizes, and a table (`table`, Markdown).

    Nothing is changed. Raises UsageError for an unknown tenant or a reason that is none.
    """
    one = _known(app, tenant, reason)
    with app.db.read() as connection:
        watched = connection.execute(
            select(subscription.c.nonce)
            .join(mailbox, mailbox.c.mailbox_id == subscription.c.mailbox_id)
            .where(
                mailbox.c.tenant_id == one.tenant_id,
                subscription.c.state.in_(("active", "creating")),
            )
        ).all()
    have = holdings(app.db, app.settings, one.tenant_id, one.domain_id)
    fate = "**removed for good**" if remove_data else "kept"
    lines = [
        f"Tenant `{one.domain_id}` is *{one.state}* now.",
        "",
        "| what | how much | what becomes of it |",
        "|---|---|---|",
        f"| subscriptions at Graph | {len(watched):,} | removed |",
        f"| mailboxes | {have['mailboxes']:,} | no longer watched |",
        f"| hints that wait | {have['hints']:,} | looked at first |",
        f"| sealed hours | {have['hours']:,} ({have['sealed_events']:,} events) | {fate} |",
        f"| files in the lake | {have['lake_files']:,} ({_mb(have['lake_bytes'])}) | {fate} |",
        f"| batches of the event log | {have['batches']:,} | "
        f"{'rewritten without this tenant' if remove_data else 'kept'} |",
        f"| inventory (items, folders, rules) | "
        f"{have['items'] + have['folders'] + have['rules']:,} | {fate} |",
        f"| people in the directory | {have['people']:,} | {fate} |",
        "",
        "Nothing is changed at Microsoft beside the subscriptions: revoke the consent there.",
    ]
    return {
        "tenant": one.domain_id,
        "state": one.state,
        "remove_data": remove_data,
        "subscriptions": len(watched),
        "have": have,
        "table": "\n".join(lines),
        "note": f"{one.domain_id}: {len(watched):,} subscriptions, {have['mailboxes']:,} "
        f"mailboxes, {have['hours']:,} sealed hours; data "
        f"{'removed' if remove_data else 'kept'}",
    }


async def disconnect(
    app: Application,
    tenant: str,
    reason: str,
    remove_data: bool = False,
    by: str = "",
    stragglers_s: float = STRAGGLERS_S,
) -> dict[str, Any]:
    """Disconnect a tenant; returns the receipt. Doing it twice changes nothing.

    `by` names who approved. Raises UsageError for an unknown tenant, TransientGraphError when
    Graph asks to come back later: run it again then, it goes on where it stopped.
    """
    one = _known(app, tenant, reason)
    began = clock.machine_now()
    _set_state(app, one.tenant_id, "leaving", reason)
    removed, trouble = await _unsubscribe(app, one)
    if removed:
        await asyncio.sleep(stragglers_s)
    drained = await _drain(app, one) if not trouble else "what still waited cannot be looked at"
    with app.db.write() as connection:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.tenant_id == one.tenant_id, mailbox.c.state != "erased")
            .values(state="leaving", reason="disconnected", recheck_at=None)
        )
    gone: dict[str, int] = {}
    if remove_data:
        gone = await asyncio.to_thread(remove, app.db, app.settings, one.tenant_id, one.domain_id)
    _set_state(app, one.tenant_id, "gone", reason)
    receipt = {
        "tenant": one.domain_id,
        "reason": reason,
        "approved_by": by,
        "began_at": began.isoformat(),
        "ended_at": clock.machine_now().isoformat(),
        "subscriptions_removed": removed,
        "subscriptions_left": trouble,
        "drained": drained,
        "data": "removed" if remove_data else "kept",
        "removed": gone,
    }
    path = _write_receipt(app, receipt)
    note = f"{one.domain_id} is gone: {removed:,} subscriptions removed, data {receipt['data']}"
    if trouble:
        note += f"; {trouble}"
    return {**receipt, "receipt": str(path), "note": note}


def _known(app: Application, tenant: str, reason: str) -> Tenant:
    if len(reason.strip()) < 3:
        raise UsageError("say why: --reason is kept in the receipt")
    known = {one.domain_id: one for one in tenants(app.db)}
    if tenant not in known:
        names = ", ".join(sorted(known)) or "none"
        raise UsageError(f"no tenant {tenant!r} here; known: {names}")
    return known[tenant]


def _set_state(app: Application, tenant_id: str, state: str, reason: str) -> None:
    with app.db.write() as connection:
        connection.execute(
            update(tenant_table)
            .where(tenant_table.c.tenant_id == tenant_id)
            .values(state=state, reason=reason, retry_at=None)
        )


async def _unsubscribe(app: Application, one: Tenant) -> tuple[int, str]:
    """Remove what Graph has of ours; returns how many, and what is left in words."""
    try:
        done = await subscriptions(app, tenant=one.domain_id, reconcile=True)
    except (TokenRefusedError, ConsentError, UsageError) as error:
        # Consent revoked, secret gone, connection deleted: nothing we could do, and no harm.
        left = _retire(app, one.tenant_id)
        if not left:
            return 0, ""
        return 0, (
            f"{left:,} subscriptions could not be removed, as Microsoft no longer lets us in "
            f"({type(error).__name__}); Graph ends them by itself within 7 days, and what they "
            "send until then is not taken in"
        )
    if done.get("busy") or done.get("failed"):
        raise UnreachableError(
            f"subscriptions of {one.domain_id} could not be removed yet: another run is at work, "
            "or Graph refused some; this goes on where it stopped"
        )
    _retire(app, one.tenant_id)
    return int(done.get("removed", 0)), ""


def _retire(app: Application, tenant_id: str) -> int:
    """Tombstones: late notifications still find their mailbox; returns how many were alive."""
    mine = select(mailbox.c.mailbox_id).where(mailbox.c.tenant_id == tenant_id)
    with app.db.write() as connection:
        done = connection.execute(
            update(subscription)
            .where(
                subscription.c.mailbox_id.in_(mine),
                subscription.c.state.in_(("active", "creating")),
            )
            .values(state="tombstone", last_error="disconnected")
        )
        return done.rowcount


async def _drain(app: Application, one: Tenant) -> str:
    """What came in is turned into events before the tenant goes."""
    until = time.monotonic() + DRAIN_S

    def enough() -> bool:
        return stop_requested(app) or time.monotonic() > until

    try:
        done = await stream(app, stop=enough, until_idle=True, tenant=one.domain_id)
    except (TerminalGraphError, UsageError) as error:
        return f"what still waited could not be looked at ({type(error).__name__})"
    return f"{done.get('looks', 0)} looks, {done.get('events', 0)} events"


def _write_receipt(app: Application, receipt: dict[str, Any]) -> Path:
    folder = app.settings.home / "receipts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = f"{clock.machine_now():%Y%m%dT%H%M%S}"
    path = folder / f"disconnect-{receipt['tenant']}-{stamp}.json"
    with suppress(FileNotFoundError):
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(receipt, file, indent=1)
    return path


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MB"
