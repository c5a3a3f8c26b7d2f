"""Mailboxes, gaps and hours as they stand after some rounds, without the rounds."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import text

from outlook_lake.clock import to_us
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import gap, mailbox
from tests.support import lake


def watch(
    db: Database,
    since: datetime,
    *,
    proven: datetime | None = None,
    state: str = "live",
    tenant: str = lake.TENANT,
    **columns: Any,
) -> int:
    """A mailbox that is watched since then, and proven up to then."""
    with db.write() as connection:
        made = connection.execute(
            mailbox.insert().values(
                tenant_id=tenant,
                aad_id=str(uuid.uuid4()),
                tuid=str(uuid.uuid4()),
                shard=0,
                state=state,
                watch_from=to_us(since),
                primed_at=to_us(since),
                complete_through=None if proven is None else to_us(proven),
                **columns,
            )
        )
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def miss(
    db: Database,
    mailbox_id: int,
    since: datetime,
    to: datetime | None,
    *,
    cause: str = "lapsed",
    loss: str = "created_and_purged",
    state: str = "open",
    opened_at: datetime | None = None,
) -> int:
    """A gap of a mailbox."""
    with db.write() as connection:
        made = connection.execute(
            gap.insert().values(
                mailbox_id=mailbox_id,
                from_at=to_us(since),
                to_at=None if to is None else to_us(to),
                cause=cause,
                loss=loss,
                state=state,
                opened_at=to_us(opened_at or since),
                note="test",
            )
        )
    return int(made.inserted_primary_key[0])  # type: ignore[index]


def prove(db: Database, mailbox_id: int, at: datetime) -> None:
    """A full round of the mailbox started at `at`, and its hints are answered."""
    with db.write() as connection:
        connection.execute(
            mailbox.update()
            .where(mailbox.c.mailbox_id == mailbox_id)
            .values(complete_through=to_us(at))
        )


def gaps(db: Database) -> list[tuple[str, str, str, str | None]]:
    """(cause, state, loss, closed_by) of all gaps."""
    with db.read() as connection:
        rows = connection.execute(
            text("SELECT cause, state, loss, closed_by FROM gap ORDER BY gap_id")
        )
        return [tuple(row) for row in rows]


def hours(settings: Settings, columns: str = "hour, maturity", where: str = "TRUE") -> list[Any]:
    """What the lake's readers see of its hours."""
    with open_lake(settings) as connection:
        return connection.sql(
            f"SELECT {columns} FROM hours WHERE {where} ORDER BY domain_id, hour"
        ).fetchall()
