"""`hours` says of every hour how much of it is proven, and what may be missing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from outlook_lake.clock import to_us
from outlook_lake.lake.export import export
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import gap, mailbox
from tests.support import lake

HALF = timedelta(minutes=30)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database)
    lake.commit(
        database, settings, [lake.event(n, at=lake.NINE + n * lake.AN_HOUR) for n in range(3)]
    )
    yield database
    database.close()


def watch(
    db: Database, since: datetime, *, proven: datetime | None = None, state: str = "live"
) -> int:
    with db.write() as connection:
        made = connection.execute(
            mailbox.insert().values(
                tenant_id=lake.TENANT,
                aad_id=str(uuid.uuid4()),
                tuid=str(uuid.uuid4()),
                shard=0,
                state=state,
                watch_from=to_us(since),
                complete_through=None if proven is None else to_us(proven),
            )
        )
    return int(made.inserted_primary_key[0])


def miss(db: Database, mailbox_id: int, since: datetime, to: datetime, state: str) -> None:
    with db.write() as connection:
        connection.execute(
            gap.insert().values(
                mailbox_id=mailbox_id,
                from_at=to_us(since),
                to_at=to_us(to),
                cause="lapsed",
                loss="timing",
                state=state,
            )
        )


def counted(db: Database, settings: Settings) -> list[tuple[int, int, int]]:
    """(mailboxes, complete, gaps) of the hours 9, 10 and 11."""
    export(db, settings)
    with open_lake(settings) as connection:
        return connection.sql(
            "SELECT mailboxes, complete, gaps FROM hours WHERE rows > 0 ORDER BY hour"
        ).fetchall()


def test_an_hour_is_proven_by_what_started_after_its_end(db: Database, settings: Settings) -> None:
    watch(db, lake.NINE, proven=lake.NINE + 2 * lake.AN_HOUR)  # hours 9 and 10
    watch(db, lake.NINE + HALF, proven=lake.NINE + lake.AN_HOUR + HALF)  # hour 9
    watch(db, lake.NINE + lake.AN_HOUR)  # from 10 on, nothing yet

    assert counted(db, settings) == [(2, 2, 0), (3, 1, 0), (3, 0, 0)]


def test_who_left_counts_as_long_as_it_was_proven(db: Database, settings: Settings) -> None:
    watch(db, lake.NINE, proven=lake.NINE + lake.AN_HOUR, state="erased")

    assert counted(db, settings) == [(1, 1, 0), (0, 0, 0), (0, 0, 0)]


def test_a_gap_is_counted_in_every_hour_it_touches_until_it_is_filled(
    db: Database, settings: Settings
) -> None:
    one = watch(db, lake.NINE)
    miss(db, one, lake.NINE + HALF, lake.NINE + lake.AN_HOUR, "open")
    miss(db, one, lake.NINE + HALF, lake.NINE + lake.AN_HOUR + HALF, "partial")
    miss(db, one, lake.NINE, lake.NINE + 3 * lake.AN_HOUR, "filled")

    assert [row[2] for row in counted(db, settings)] == [2, 1, 0]


def test_another_tenants_mailboxes_do_not_count(db: Database, settings: Settings) -> None:
    watch(db, lake.NINE)
    lake.add_tenant(db, domain_id="other")
    lake.commit(db, settings, [lake.event(9, domain_id="other")])
    export(db, settings)

    with open_lake(settings) as connection:
        rows = connection.sql(
            "SELECT domain_id, mailboxes FROM hours WHERE hour = '2026-11-23T09' ORDER BY 1"
        ).fetchall()
    assert rows == [("acme", 1), ("other", 0)]
