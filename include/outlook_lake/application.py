"""One home, opened: settings, state database, keys, and a client for each tenant.

Everything that runs a step holds one of these; DAGs, the command line and tests open it the
same way. Where credentials come from is the caller's business (`connection`): Airflow reads
its connections, everyone else the environment.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Row, select, update

from outlook_lake.clock import machine_us
from outlook_lake.errors import UsageError
from outlook_lake.events.restored import compare_log
from outlook_lake.graph.auth import TokenSource
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.offset import keep_offset, load_offset
from outlook_lake.looks.decode import Decoder
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import tenant as tenant_table
from outlook_lake.tenants.credentials import TenantConnection, tenant_from_environment
from outlook_lake.tenants.directory import ensure_key

__all__ = ["Application", "TenantWork"]

log = logging.getLogger(__name__)

ConnectionOf = Callable[[str], TenantConnection]


@dataclass(frozen=True, slots=True)
class TenantWork:
    """One tenant, with what its looks need."""

    tenant_id: str
    domain_id: str
    connection: TenantConnection
    client: GraphClient
    decoder: Decoder


class Application:
    """One opened home; a context manager."""

    def __init__(
        self, settings: Settings, db: Database, connection: ConnectionOf, run_id: str
    ) -> None:
        self.settings = settings
        self.db = db
        self.connection = connection
        self.run_id = run_id
        self.directory_key = ensure_key(settings.keys)

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        connection: ConnectionOf = tenant_from_environment,
        run_id: str = "",
    ) -> Application:
        """Open the home: the database is made and migrated, keys are made once.

        `run_id` names this run in leases and the manifest; default: host, process, random.
        """
        db = Database.open(settings)
        compare_log(db, settings)
        load_offset(db)
        name = run_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        return cls(settings, db, connection, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the database back."""
        self.db.close()

    def connection_ids(self) -> list[str]:
        """The connections this home is told to serve."""
        return [
            name.strip() for name in self.settings.tenants.connections.split(",") if name.strip()
        ]

    @asynccontextmanager
    async def tenants(self, only: str | None = None) -> AsyncIterator[dict[str, TenantWork]]:
        """Every registered tenant (or the one with domain_id `only`), ready for requests.

        Without `only`, a tenant that is not served now (paused, gone, or its connection cannot
        be read) is left out and logged: its trouble is not the others'.
        """
        with self.db.read() as connection:
            rows = connection.execute(select(tenant_table)).all()
        chosen = [row for row in rows if (row.domain_id == only if only else _is_served_now(row))]
        if only is not None and not chosen:
            known = ", ".join(sorted(row.domain_id for row in rows)) or "none"
            raise UsageError(f"no tenant {only!r} here; known: {known}")
        async with AsyncExitStack() as stack:
            works = {}
            for row in chosen:
                try:
                    connection_ = self.connection(row.conn_id)
                except UsageError as error:
                    if only is not None:
                        raise
                    log.error("tenant %s is left out: %s", row.domain_id, error)
                    continue
                credentials = connection_.credentials
                client = GraphClient(credentials, TokenSource(credentials), self.settings)
                works[row.tenant_id] = TenantWork(
                    tenant_id=row.tenant_id,
                    domain_id=row.domain_id,
                    connection=connection_,
                    client=await stack.enter_async_context(client),
                    decoder=Decoder(
                        self.directory_key,
                        hash_categories=self.settings.privacy.categories == "hashed",
                    ),
                )
            yield works
            for work in works.values():
                keep_offset(self.db, self.settings, work.client.offset_s)
            self._note_credentials(works.values())

    def _note_credentials(self, works: Iterable[TenantWork]) -> None:
        """Keep which credential gave the last token (`current`, `next`), for status and doctor."""
        used = {work.tenant_id: work.client.credential for work in works}
        with self.db.read() as connection:
            rows = connection.execute(select(tenant_table.c.tenant_id, tenant_table.c.credential))
            known = {row.tenant_id: row.credential for row in rows}
        changed = {one: name for one, name in used.items() if name and known.get(one) != name}
        if not changed:
            return
        with self.db.write() as connection:
            for tenant_id, name in changed.items():
                connection.execute(
                    update(tenant_table)
                    .where(tenant_table.c.tenant_id == tenant_id)
                    .values(credential=name)
                )


def _is_served_now(row: Row[Any]) -> bool:
    """Gone tenants are not served; paused ones when their time to be asked again has come."""
    if row.state == "paused":
        return (row.retry_at or 0) <= machine_us()
    return bool(row.state != "gone")
