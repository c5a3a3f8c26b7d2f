"""One connection door to the state database: `read()` and `write()`.

SQLite runs in WAL mode with `synchronous=FULL` (a commit is durable), `BEGIN IMMEDIATE` for
writers and a busy time-out of 60 s; PostgreSQL is used as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

from outlook_lake.errors import StateError
from outlook_lake.settings import Settings
from outlook_lake.state import migrate

__all__ = ["Database", "url_of"]

BUSY_TIMEOUT_MS = 60_000


class Database:
    """The state database of one home. Open once per process; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """Open the database, made and migrated when it is not there yet."""
        if settings.state_file is not None:
            _private_file(settings.state_file)
        # An error of the database must not quote the addresses and ids it was given.
        engine = create_engine(url_of(settings), hide_parameters=True)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin)
        migrate.to_head(engine)
        return cls(engine)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database and changes nothing."""
        with self.engine.connect() as connection:
            yield connection
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back when anything is raised."""
        options = {"immediate": True}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection


def url_of(settings: Settings) -> URL:
    """Where the state database is; a path may hold any character, so it is not pasted."""
    if settings.state_file is not None:
        return URL.create("sqlite", database=str(settings.state_file))
    return make_url(settings.database_url)


def _private_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"the state database cannot be made ({error.strerror}): "
            "check that OUTLOOK_LAKE_HOME is on a writable disk with space left"
        ) from error


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are ours: see _begin
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA temp_store=MEMORY")
    cursor.execute("PRAGMA cache_size=-65536")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
