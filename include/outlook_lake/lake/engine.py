"""DuckDB as this project uses it: UTC, bounded, offline, SQL from files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import duckdb

from outlook_lake.settings import Settings

__all__ = ["connect", "sql"]


def connect(
    settings: Settings, *, threads: int | None = None, share: int = 1
) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory; `share` of them run side by side within the memory setting."""
    spill = settings.home / "run" / "duckdb"
    spill.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(
        config={
            "threads": threads or settings.lake.threads,
            "memory_limit": f"{settings.lake.memory_mb // share}MiB",
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@cache
def sql(name: str) -> str:
    """The text of `lake/sql/<name>.sql`."""
    return (files("outlook_lake.lake") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
