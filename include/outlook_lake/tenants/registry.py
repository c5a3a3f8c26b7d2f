"""The tenants this home serves: registered from connections, known by their `domain_id`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from outlook_lake.errors import UsageError
from outlook_lake.state import Database
from outlook_lake.state.tables import tenant as table
from outlook_lake.tenants.credentials import Credentials

__all__ = ["Tenant", "add_internal_domains", "pause", "register_tenant", "tenants"]

# A domain_id names a folder of the lake: no path, no surprise.
_DOMAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organisation. `watch_from`: microseconds, Graph time; None before the first watch."""

    tenant_id: str
    domain_id: str
    conn_id: str
    cloud: str
    internal_domains: tuple[str, ...]
    state: str
    reason: str | None
    watch_from: int | None


def register_tenant(
    db: Database,
    conn_id: str,
    credentials: Credentials,
    domain_id: str,
    internal_domains: Iterable[str] = (),
) -> Tenant:
    """Make a tenant known, or take up what changed in its connection; running twice is once.

    Raises UsageError when the name is no name, is taken, or would rename a tenant whose
    events already carry another one.
    """
    if len(domain_id) > 100 or not _DOMAIN_ID.fullmatch(domain_id):
        raise UsageError(
            f"domain_id {domain_id!r} cannot name a tenant: letters, digits, '-', '_' and "
            "single dots, at most 100"
        )
    domains = {name.strip().lower() for name in internal_domains if name.strip()}
    with db.write() as connection:
        known = {row.tenant_id: row for row in connection.execute(select(table))}
        row = known.get(credentials.tenant_id)
        taken = [r for r in known.values() if r.domain_id == domain_id and r is not row]
        if taken:
            raise UsageError(f"domain_id {domain_id!r} already names another tenant")
        if row is None:
            connection.execute(
                table.insert().values(
                    tenant_id=credentials.tenant_id,
                    domain_id=domain_id,
                    conn_id=conn_id,
                    cloud=credentials.cloud,
                    internal_domains=sorted(domains),
                    state="live",
                )
            )
        elif row.domain_id != domain_id:
            raise UsageError(
                f"this tenant's events carry domain_id {row.domain_id!r}; it cannot become "
                f"{domain_id!r}"
            )
        else:
            together = sorted({*row.internal_domains, *domains})
            if (row.conn_id, row.cloud, row.internal_domains) != (
                conn_id,
                credentials.cloud,
                together,
            ):
                connection.execute(
                    update(table)
                    .where(table.c.tenant_id == credentials.tenant_id)
                    .values(conn_id=conn_id, cloud=credentials.cloud, internal_domains=together)
                )
        return _read(connection, credentials.tenant_id)[0]


def tenants(db: Database) -> list[Tenant]:
    """All tenants, by name."""
    with db.read() as connection:
        return _read(connection, None)


def pause(db: Database, tenant_id: str, reason: str | None) -> None:
    """Pause a tenant with the reason an operator reads, or let it go on (None)."""
    with db.write() as connection:
        connection.execute(
            update(table)
            .where(table.c.tenant_id == tenant_id)
            .values(state="paused" if reason else "live", reason=reason)
        )


def add_internal_domains(connection: Connection, tenant_id: str, domains: Iterable[str]) -> None:
    """Domains of the tenant's own mailboxes count as inside, in the caller's transaction."""
    known = connection.scalars(
        select(table.c.internal_domains).where(table.c.tenant_id == tenant_id)
    ).one()
    together = sorted({*known, *(name for name in domains if name)})
    if together != known:
        connection.execute(
            update(table).where(table.c.tenant_id == tenant_id).values(internal_domains=together)
        )


def _read(connection: Connection, tenant_id: str | None) -> list[Tenant]:
    query = select(table).order_by(table.c.domain_id)
    if tenant_id is not None:
        query = query.where(table.c.tenant_id == tenant_id)
    return [
        Tenant(
            tenant_id=row.tenant_id,
            domain_id=row.domain_id,
            conn_id=row.conn_id,
            cloud=row.cloud,
            internal_domains=tuple(row.internal_domains),
            state=row.state,
            reason=row.reason,
            watch_from=row.watch_from,
        )
        for row in connection.execute(query)
    ]
