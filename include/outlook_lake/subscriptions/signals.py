"""What one process tells another about a tenant's subscriptions, in the state database.

Landing calls for the subscription step when Graph removed a subscription or holds one back;
whoever runs a stream hears it within a second and answers. A call that came while it was
being answered stays.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from outlook_lake import clock
from outlook_lake.state import Database
from outlook_lake.state.tables import meta

__all__ = ["answered", "call", "called", "remember", "remembered"]

CALLS = "subscriptions_called:"


def call(connection: Connection, tenant_id: str) -> None:
    """Ask for the subscription step of a tenant, in the caller's transaction."""
    _put(connection, CALLS + tenant_id, str(clock.machine_us()))


def called(db: Database) -> dict[str, str]:
    """Tenants whose step is asked for, each with the call that `answered` takes."""
    with db.read() as connection:
        rows = connection.execute(select(meta).where(meta.c.name.startswith(CALLS))).all()
    return {row.name.removeprefix(CALLS): row.value for row in rows}


def answered(db: Database, tenant_id: str, the_call: str) -> None:
    """A step that began after this call has ended; a later call stays."""
    with db.write() as connection:
        connection.execute(
            meta.delete().where(meta.c.name == CALLS + tenant_id, meta.c.value == the_call)
        )


def remember(db: Database, name: str, at: int) -> None:
    """Keep an instant (microseconds) under a name."""
    with db.write() as connection:
        _put(connection, name, str(at))


def remembered(db: Database, name: str) -> int | None:
    """The instant kept under a name."""
    with db.read() as connection:
        value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return None if value is None else int(value)


def _put(connection: Connection, name: str, value: str) -> None:
    connection.execute(meta.delete().where(meta.c.name == name))
    connection.execute(meta.insert().values(name=name, value=value))
