"""One home, opened: settings, state database, keys, and a client for each tenant.

Everything that runs a step holds one of these; DAGs, the command line and tests open it the
same way. Where credentials come from is the caller's business (`connection`): Airflow reads
its connections, everyone else the environment.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy import select

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
        """Every registered tenant (or the one with domain_id `only`), ready for requests."""
        with self.db.read() as connection:
            rows = connection.execute(
                select(tenant_table.c.tenant_id, tenant_table.c.domain_id, tenant_table.c.conn_id)
            ).all()
        chosen = [row for row in rows if only is None or row.domain_id == only]
        if only is not None and not chosen:
            known = ", ".join(sorted(row.domain_id for row in rows)) or "none"
            raise UsageError(f"no tenant {only!r} here; known: {known}")
        async with AsyncExitStack() as stack:
            works = {}
            for row in chosen:
                connection_ = self.connection(row.conn_id)
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
