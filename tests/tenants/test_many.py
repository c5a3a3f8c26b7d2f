"""A tenant of many thousands: what befalls all of them at once takes few statements."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import gap, mailbox
from outlook_lake.tenants.scope import park

MANY = 3000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(replace(Settings(), home=tmp_path))
    yield database
    database.close()


def test_a_scope_that_loses_everybody_parks_them_in_few_statements(db: Database):
    rows = [
        {
            "tenant_id": "t",
            "aad_id": f"{number}",
            "tuid": str(uuid.uuid4()),
            "shard": number % 256,
            "state": "live" if number % 3 else "new",
            "watch_from": 5 if number % 3 else None,
        }
        for number in range(MANY)
    ]
    statements: list[str] = []

    def count(*told: Any) -> None:
        statements.append(told[2])

    with db.write() as connection:
        connection.execute(mailbox.insert(), rows)
        everybody = connection.scalars(select(mailbox.c.mailbox_id)).all()
        event.listen(connection, "before_cursor_execute", count)
        park(connection, everybody, "out_of_scope", 50)

    assert len(statements) < 30
    with db.read() as connection:
        states = set(connection.execute(select(mailbox.c.state, mailbox.c.reason)).all())
        gaps = connection.execute(select(gap.c.from_at, gap.c.to_at, gap.c.cause)).all()
    assert states == {("parked", "out_of_scope")}
    assert gaps == [(50, None, "parked")] * (MANY * 2 // 3)
