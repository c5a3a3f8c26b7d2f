"""Take everything of one tenant out of the home: lake, event log, state, directory.

Each step may be killed and done again: rows first, then files, because a file nobody's row
names does not exist. What other tenants have in the same batch files stays as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Connection, Table, delete, func, select, update

from outlook_lake.events.log import write_batch
from outlook_lake.events.manifest import write_live
from outlook_lake.lake.hours_table import write as write_hours
from outlook_lake.lake.layout import check_domain
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import (
    batch,
    batch_hour,
    directory,
    folder,
    gap,
    hint,
    hour,
    item,
    mailbox,
    outcome,
    rich,
    rule,
    subscription,
    tenant,
)
from outlook_lake.tenants.directory import export_directory

__all__ = ["holdings", "remove", "rows_of", "take_rows"]

OF_MAILBOXES: tuple[Table, ...] = (item, hint, rich, folder, rule, gap, outcome, subscription)
"""Tables whose rows belong to a mailbox, in the order they are emptied."""

AT_ONCE = 500
"""Mailboxes whose rows go in one transaction."""


def holdings(db: Database, settings: Settings, tenant_id: str, domain_id: str) -> dict[str, int]:
    """How much there is of a tenant: rows by table, sealed hours, files and their bytes."""
    mine = select(mailbox.c.mailbox_id).where(mailbox.c.tenant_id == tenant_id)
    with db.read() as connection:
        counts = {"mailboxes": _count(connection, mailbox, mailbox.c.tenant_id == tenant_id)}
        counts |= {
            f"{table.name}s": _count(connection, table, table.c.mailbox_id.in_(mine))
            for table in OF_MAILBOXES
        }
        counts["people"] = _count(connection, directory, directory.c.tenant_id == tenant_id)
        sealed = connection.execute(
            select(func.count(), func.coalesce(func.sum(hour.c.rows), 0)).where(
                hour.c.domain_id == domain_id, hour.c.sealed_seq >= 0
            )
        ).one()
        counts["hours"], counts["sealed_events"] = int(sealed[0]), int(sealed[1])
        counts["batches"] = int(
            connection.execute(
                select(func.count(batch_hour.c.seq.distinct())).where(
                    batch_hour.c.domain_id == domain_id
                )
            ).scalar_one()
        )
    files = [path.stat().st_size for root in _places(settings, domain_id) for path in _files(root)]
    return {**counts, "lake_files": len(files), "lake_bytes": sum(files)}


def remove(db: Database, settings: Settings, tenant_id: str, domain_id: str) -> dict[str, int]:
    """Remove all of it; returns what went. The tenant's own row stays, for its state `gone`."""
    gone: dict[str, int] = {}
    with db.write() as connection:
        counted = connection.execute(delete(hour).where(hour.c.domain_id == domain_id))
        gone["hours"] = counted.rowcount
    gone["batches"] = _rewrite_log(db, settings, domain_id)
    gone["lake_files"] = _remove_partitions(settings, domain_id)
    gone |= _remove_rows(db, tenant_id)
    export_directory(db, settings)
    write_hours(db, settings)
    # An export that was at work meanwhile may have put one file back.
    gone["lake_files"] += _remove_partitions(settings, domain_id)
    return gone


def _rewrite_log(db: Database, settings: Settings, domain_id: str) -> int:
    """Batches without this tenant's rows; one with nothing else is removed."""
    with db.read() as connection:
        found = connection.execute(
            select(batch.c.seq, batch.c.path, batch.c.lane)
            .join(batch_hour, batch_hour.c.seq == batch.c.seq)
            .where(batch_hour.c.domain_id == domain_id)
            .distinct()
            .order_by(batch.c.seq)
        ).all()
    old: list[Path] = []
    for row in found:
        path = settings.home / row.path
        old.append(path)
        others = None
        if path.exists():
            table = pq.read_table(path, filters=[("domain_id", "!=", domain_id)])
            others = write_batch(table, settings, row.lane) if table.num_rows else None
        with db.write() as connection:
            connection.execute(
                delete(batch_hour).where(
                    batch_hour.c.seq == row.seq, batch_hour.c.domain_id == domain_id
                )
            )
            if others is None:
                connection.execute(delete(batch_hour).where(batch_hour.c.seq == row.seq))
                connection.execute(delete(batch).where(batch.c.seq == row.seq))
            else:
                # The same number: nothing new is told, and no sealed hour becomes dirty.
                connection.execute(
                    update(batch)
                    .where(batch.c.seq == row.seq)
                    .values(
                        path=others.path,
                        rows=others.rows,
                        bytes=others.bytes,
                        digest=others.digest,
                    )
                )
    write_live(db, settings)
    for path in old:
        path.unlink(missing_ok=True)
    return len(found)


def _remove_partitions(settings: Settings, domain_id: str) -> int:
    count = 0
    for place in _places(settings, domain_id):
        count += sum(1 for _ in _files(place))
        shutil.rmtree(place, ignore_errors=True)
    return count


def _remove_rows(db: Database, tenant_id: str) -> dict[str, int]:
    counts = dict.fromkeys([f"{table.name}s" for table in OF_MAILBOXES], 0)
    counts["mailboxes"] = 0
    while True:
        with db.write() as connection:
            some = list(
                connection.scalars(
                    select(mailbox.c.mailbox_id)
                    .where(mailbox.c.tenant_id == tenant_id)
                    .order_by(mailbox.c.mailbox_id)
                    .limit(AT_ONCE)
                )
            )
            if not some:
                break
            for table in OF_MAILBOXES:
                went = connection.execute(_of(table, connection, some))
                counts[f"{table.name}s"] += went.rowcount
            connection.execute(delete(mailbox).where(mailbox.c.mailbox_id.in_(some)))
            counts["mailboxes"] += len(some)
    with db.write() as connection:
        went = connection.execute(delete(directory).where(directory.c.tenant_id == tenant_id))
        counts["people"] = went.rowcount
        connection.execute(
            update(tenant)
            .where(tenant.c.tenant_id == tenant_id)
            .values(internal_domains=[], watch_from=None, users_link=None, users_at=None)
        )
    return counts


def take_rows(connection: Connection, mailboxes: list[int]) -> dict[str, int]:
    """Remove what hangs on these mailboxes, in the caller's transaction; their own rows stay."""
    return {
        f"{table.name}s": connection.execute(_of(table, connection, mailboxes)).rowcount
        for table in OF_MAILBOXES
    }


def rows_of(connection: Connection, mailboxes: list[int]) -> dict[str, int]:
    """How many rows hang on these mailboxes, by table."""
    return {
        f"{table.name}s": _count(connection, table, table.c.mailbox_id.in_(mailboxes))
        for table in OF_MAILBOXES
    }


def _of(table: Table, connection: Connection, mailboxes: list[int]) -> Any:
    """Delete a table's rows of these mailboxes, by its key where that begins with the shard."""
    statement = delete(table).where(table.c.mailbox_id.in_(mailboxes))
    if "shard" in table.c:
        shards = select(mailbox.c.shard).where(mailbox.c.mailbox_id.in_(mailboxes)).distinct()
        statement = statement.where(table.c.shard.in_(list(connection.scalars(shards))))
    return statement


def _count(connection: Connection, table: Table, where: Any) -> int:
    return int(
        connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()
    )


def _places(settings: Settings, domain_id: str) -> list[Path]:
    """Every partition of the lake that is this tenant's alone."""
    return sorted(settings.lake_root.glob(f"*/domain_id={check_domain(domain_id)}"))


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())
