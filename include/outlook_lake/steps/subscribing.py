"""`subscriptions`: who is in scope, and a live subscription for each of them."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select

from outlook_lake.application import Application
from outlook_lake.errors import UsageError
from outlook_lake.state.tables import mailbox
from outlook_lake.subscriptions.carry_out import subscribe
from outlook_lake.tenants.directory import export_directory
from outlook_lake.tenants.registry import register_tenant, tenants
from outlook_lake.tenants.scope import refresh_mailboxes

__all__ = ["subscriptions"]


async def subscriptions(app: Application, tenant: str | None = None) -> dict[str, int]:
    """Register the tenants of the connections, refresh their users, plan and carry out.

    Returns counts over all tenants; `priming` is how many mailboxes wait for `prime`.
    """
    connections = {}
    for conn_id in app.connection_ids():
        found = app.connection(conn_id)
        domain_id = found.domain_id or found.credentials.tenant_id
        register_tenant(app.db, conn_id, found.credentials, domain_id, found.internal_domains)
        connections[domain_id] = found
    if not connections:
        raise UsageError(
            "no connection to serve: set OUTLOOK_LAKE_TENANTS_CONNECTIONS to the ids of "
            "connections of type msgraph"
        )
    counts: Counter[str] = Counter()
    registered = {one.domain_id: one for one in tenants(app.db)}
    async with app.tenants(tenant) as works:
        for work in works.values():
            one = registered[work.domain_id]
            counts.update(await refresh_mailboxes(app.db, work.client, one, app.directory_key))
            counts.update(await subscribe(app.db, work.client, app.settings, one))
    export_directory(app.db, app.settings)
    with app.db.read() as connection:
        counts["priming"] = connection.execute(
            select(func.count()).select_from(mailbox).where(mailbox.c.state == "priming")
        ).scalar_one()
    return dict(counts)
