"""`outlook-lake sql` and `views`: DuckDB over the lake."""

from __future__ import annotations

import re
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import duckdb
import pyarrow.csv as pa_csv
import typer

from outlook_lake.commands.output import AsJson, answer, guarded, home_that_exists, say
from outlook_lake.errors import ForeignFileError, UsageError
from outlook_lake.lake.views import VIEWS, open_lake, write_views

__all__ = ["Format", "sql", "views"]

_ROWS_SHOWN = 100
_DAMAGED = re.compile(
    r"No magic bytes|too small to be a Parquet file|[Cc]orrupt|Snappy|ZSTD|thrift"
)
_ROWS_AT_ONCE = 10_000


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@guarded
def sql(
    command: Annotated[
        str | None, typer.Option("-c", "--command", metavar="QUERY", help="Run this and end.")
    ] = None,
    shape: Annotated[
        Format, typer.Option("--format", help="csv and json print every row.")
    ] = Format.TABLE,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show addresses and names (their owner only).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines; as --format json.")] = False,
) -> None:
    """Ask the lake: views events, events_live, normalized, hours, gaps, rounds, outcomes.

    Without -c queries are read from the terminal or from stdin, each ended by a semicolon.

    Example: outlook-lake sql -c "SELECT action, count(*) FROM events_live GROUP BY action"
    """
    shape = Format.JSON if as_json else shape
    with open_lake(home_that_exists(), reveal=reveal) as connection:
        if command is not None:
            _show(connection, command, shape)
            return
        if sys.stdin.isatty():
            say(f"views: {', '.join(VIEWS)}; end a query with ; and the shell with Ctrl-D")
        _shell(connection, shape)


@guarded
def views(
    file: Annotated[
        Path | None, typer.Option(help="Where to write it; default: lake.duckdb in the home.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a DuckDB file with the views, for any program that opens DuckDB files.

    It holds no rows and no addresses: the views read the lake where it lies.

    Example: outlook-lake views --file lake.duckdb && duckdb lake.duckdb
    """
    settings = home_that_exists()
    target = (file or settings.home / "lake.duckdb").absolute()
    has_hours = write_views(settings, target)
    if as_json:
        answer({"file": str(target), "views": list(VIEWS), "has_sealed_hours": has_hours})
        return
    typer.echo(f"{target}: {', '.join(VIEWS)}")
    if not has_hours:
        say("No hour is sealed yet: write the file again when `outlook-lake status` shows one.")


def _shell(connection: duckdb.DuckDBPyConnection, shape: Format) -> None:
    interactive = sys.stdin.isatty()
    if interactive:
        import readline  # noqa: F401  (gives input() history and editing)
    query = ""
    while True:
        try:
            line = input(("lake> " if not query else "  ... ") if interactive else "")
        except EOFError:
            break
        except KeyboardInterrupt:
            say("")
            query = ""
            continue
        query += line + "\n"
        if query.strip() and query.rstrip().endswith(";"):
            try:
                _show(connection, query, shape)
            except UsageError as error:
                if not interactive:
                    raise
                say(str(error))
            query = ""
    if query.strip():
        _show(connection, query, shape)


def _show(connection: duckdb.DuckDBPyConnection, query: str, shape: Format) -> None:
    """Run the statements of a text and print what each answers."""
    try:
        statements = [statement.query for statement in connection.extract_statements(query)]
    except duckdb.Error as error:
        raise UsageError(f"the query cannot be answered: {error}") from None
    for statement in statements:
        _show_one(connection, statement, shape)


def _show_one(connection: duckdb.DuckDBPyConnection, query: str, shape: Format) -> None:
    try:
        relation: duckdb.DuckDBPyRelation | None = connection.sql(query)
        if relation is None:  # a statement without an answer, such as SET
            return
        if shape is Format.TABLE:
            width = shutil.get_terminal_size((120, 40)).columns
            relation.show(max_width=width, max_rows=_ROWS_SHOWN)
        elif shape is Format.CSV:
            # CSV knows no lists and structs: everything goes out as DuckDB writes it as text.
            _write_csv(relation.project("CAST(COLUMNS(*) AS VARCHAR)"))
        else:
            _write_json(relation.project("to_json(struct_pack(*COLUMNS(*)))"))
    except duckdb.Error as error:
        if _DAMAGED.search(str(error)):
            raise ForeignFileError(
                f"a file cannot be read: {str(error).partition(chr(10))[0]}; "
                "`outlook-lake verify` says whether it is one of the lake's"
            ) from None
        raise UsageError(f"the query cannot be answered: {error}") from None


def _write_json(lines: duckdb.DuckDBPyRelation) -> None:
    for batch in lines.to_arrow_reader(_ROWS_AT_ONCE):
        typer.echo("\n".join(batch.column(0).to_pylist()), nl=batch.num_rows > 0)


def _write_csv(texts: duckdb.DuckDBPyRelation) -> None:
    reader = texts.to_arrow_reader(_ROWS_AT_ONCE)
    with pa_csv.CSVWriter(sys.stdout.buffer, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
