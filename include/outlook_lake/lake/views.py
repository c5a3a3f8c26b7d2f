"""The views analysts use, over files alone: no state database, no server, no extension.

    events        sealed hours                         hours       what is sealed, how complete
    events_live   sealed hours and what follows        gaps        who may have lost what, when
    normalized    events_live in the published shape   rounds      how far each mailbox is proven
    outcomes      announced, and gone when looked at   directory   who, for those who may see it

Every query reads the present files, so a connection may stay open for days. Only the first
sealed hour of a lake needs a new connection: before it there is nothing to look at.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from outlook_lake.errors import ForeignFileError, StorageError, UsageError
from outlook_lake.events.manifest import LIVE_SCHEMA, live_path
from outlook_lake.events.schema import BATCH_SCHEMA
from outlook_lake.lake import hours_table, layout
from outlook_lake.lake.engine import connect, sql
from outlook_lake.settings import Settings

__all__ = ["VIEWS", "open_lake", "write_views"]

VIEWS = ("events", "events_live", "normalized", "hours", "gaps", "rounds", "outcomes", "directory")
"""What a reader finds; `live_hours` is the list `events_live` follows."""

_SCHEMA_ROWS = 100_000
"""Rows of nulls in the file DuckDB takes the event log's columns from. It also guesses the size
of the whole log from its first file: only a log it holds for large is joined the way round that
opens nothing but the listed batches. Nulls match no hour; the file has some 30 KB."""


def open_lake(settings: Settings, *, reveal: bool = False) -> duckdb.DuckDBPyConnection:
    """A DuckDB over the lake of this home, in UTC.

    With `reveal` the view `directory` and the addresses in `normalized` are filled; UsageError
    when there is no directory or this user may not read it.
    """
    connection = connect(settings)
    _create_views(connection, settings, reveal=reveal)
    return connection


def write_views(settings: Settings, file: Path) -> bool:
    """Write a DuckDB file whose views any `duckdb` opens; replaces the file in one step.

    It never holds addresses. Returns False when no hour is sealed yet: `events` is then empty
    until the file is written again.
    """
    file = file.absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".views-") as folder:
        staged = Path(folder) / "lake.duckdb"
        with duckdb.connect(str(staged)) as connection:
            _create_views(connection, settings, reveal=False)
        staged.replace(file)
    return _any_sealed(settings)


def _create_views(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, reveal: bool
) -> None:
    schema = _ensure_files(settings)
    places = {
        "home": _literal(str(settings.home)),
        "sealed": _literal(_glob(settings.lake_root / "events", "*/*/*/events.parquet")),
        "schema": _literal(_glob(schema)),
        "live": _literal(_glob(live_path(settings))),
        "log": _literal(_glob(settings.log, "*/*.parquet")),
        **{
            name: _literal(_glob(settings.lake_root / name, f"*/{name}.parquet"))
            for name in hours_table.SCHEMAS
        },
        "directory": _literal(_glob(layout.directory_file(settings))),
    }
    if reveal:
        _check_directory(layout.directory_file(settings))
    connection.execute(sql("utc_text"))
    for name, source in {
        "events": "events" if _any_sealed(settings) else "events_none",
        "live_hours": "live_hours",
        "events_live": "events_live",
        "hours": "hours",
        "gaps": "gaps",
        "rounds": "rounds",
        "outcomes": "outcomes",
        "directory": "directory" if reveal else "directory_none",
        "normalized": "normalized",
    }.items():
        body = sql(source).format_map(places)
        try:
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS\n{body}")
        except duckdb.Error as error:
            raise ForeignFileError(
                f"the view {name} cannot be made, as a file under it cannot be read "
                f"({_first_line(error)}): `outlook-lake verify --repair` writes damaged hours "
                "again, `outlook-lake run export` the lists of hours and batches"
            ) from error


def _any_sealed(settings: Settings) -> bool:
    return next((settings.lake_root / "events").glob("*/*/*/events.parquet"), None) is not None


def _ensure_files(settings: Settings) -> Path:
    """First files where no commit or export has come yet; returns the event log's columns."""
    schema = settings.log / "_schema" / "batch.parquet"  # sorts before `date=…`
    starts = {
        schema: (BATCH_SCHEMA, _SCHEMA_ROWS),
        live_path(settings): (LIVE_SCHEMA, 0),
    }
    for name, columns in hours_table.SCHEMAS.items():
        starts[layout.empty_table(settings, name)] = (columns, 0)
    try:
        for path, (columns, rows) in starts.items():
            if not path.is_file():
                _create(path, pa.table([pa.nulls(rows, one.type) for one in columns], columns))
    except OSError as error:
        raise StorageError(
            f"the home cannot be prepared for reading ({error.strerror}): "
            "check OUTLOOK_LAKE_HOME and the rights of the folders 'log' and 'lake' under it"
        ) from error
    return schema


def _create(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{uuid.uuid4()}.tmp")
    try:
        pq.write_table(table, staged, compression="zstd")
        os.link(staged, path)  # unlike a rename this never replaces what came meanwhile
    except FileExistsError:
        pass
    finally:
        staged.unlink(missing_ok=True)


def _check_directory(path: Path) -> None:
    allowed = os.access(path.parent, os.X_OK) or not path.parent.exists()
    if allowed and not path.is_file():
        raise UsageError(
            "there is no directory to reveal: run `outlook-lake run maintain`, which writes it, "
            "or ask without --reveal"
        )
    if not (allowed and os.access(path, os.R_OK)):
        raise UsageError(
            "addresses and names may be seen only by the owner of the folder 'directory' under "
            "OUTLOOK_LAKE_HOME: ask without --reveal, or as that user"
        )


def _glob(folder: Path, pattern: str = "") -> str:
    """A pattern in which only `pattern` is one: the folder's own name may hold anything."""
    escaped = re.sub(r"[\[*?]", lambda found: f"[{found.group()}]", str(folder))
    return f"{escaped}/{pattern}" if pattern else escaped


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
