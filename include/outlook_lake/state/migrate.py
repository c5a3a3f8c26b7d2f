"""Bring a state database to the newest version, whoever comes first.

The versions live in `migrations/versions`; Alembic keeps the number in the database.
A database that is already at head costs one query.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DatabaseError

from outlook_lake.errors import StateError

__all__ = ["HEAD", "to_head"]

HEAD = "0001"
"""The newest version in `migrations/versions`; a test holds the two together."""

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = "outlook-lake migrate"


def to_head(engine: Engine) -> None:
    """Migrate to `HEAD`; refuses a database that a newer release has written."""
    version = _version(engine)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise StateError(
            f"the state database has version {version}, this release knows {HEAD}: "
            "run the release that wrote it, or a newer one"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        # BEGIN IMMEDIATE (or PostgreSQL's transactional DDL) lets one process migrate; the
        # others find the work done.
        if engine.dialect.name == "postgresql":
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": _LOCK}
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _version(engine: Engine) -> str | None:
    try:
        connection = engine.connect()
    except DatabaseError as error:
        raise StateError(
            f"the state database cannot be opened ({error.orig}): check its rights and the disk; "
            "a damaged one is replaced by a backup (docs/operate/deploy.md)"
        ) from error
    with connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])
