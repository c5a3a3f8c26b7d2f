"""How commands answer: JSON for machines on stdout, words for people, faults on stderr.

Exit codes: 0 as asked, 1 a finding (a failed check, an unclean audit, a step that failed),
2 wrong use, with a message that says what to do.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import duckdb
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from outlook_lake.errors import OutlookLakeError, UsageError
from outlook_lake.settings import Settings

__all__ = ["AsJson", "answer", "fail_unless", "guarded", "home_that_exists", "say", "table"]

P = ParamSpec("P")
R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with a clear line and the right exit code instead of a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UsageError as error:
            say(f"outlook-lake: {error}")
            raise typer.Exit(2) from None
        except OutlookLakeError as error:
            say(f"outlook-lake: {error}")
            raise typer.Exit(1) from None
        except BrokenPipeError:
            sys.stdout = None  # the reader has seen enough
            raise typer.Exit(0) from None
        except (duckdb.Error, pa.ArrowException) as error:
            say(
                f"outlook-lake: a file of the lake or the log cannot be read "
                f"({type(error).__name__}): `outlook-lake verify` names it"
            )
            raise typer.Exit(1) from None
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            say(f"outlook-lake: {error.strerror or type(error).__name__}{where}")
            raise typer.Exit(1) from None

    return run


def answer(value: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def say(text: str) -> None:
    """Tell people something without touching stdout."""
    typer.echo(text, err=True)


def fail_unless(good: bool) -> None:
    """End with exit code 1 when something was found."""
    if not good:
        raise typer.Exit(1)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a small table for people."""
    drawn = Table(*columns, title=title, title_justify="left", show_edge=False, pad_edge=False)
    for row in rows:
        drawn.add_row(*("-" if cell is None else str(cell) for cell in row))
    Console().print(drawn)


def home_that_exists() -> Settings:
    """The settings of a home somebody has already used; UsageError otherwise.

    Who may read the lake need not be allowed to look into the folder of the state database.
    """
    settings = Settings.load()
    if settings.state_file is not None and not _is_there(settings.state_file):
        raise UsageError(
            f"there is no lake in {settings.home}: set OUTLOOK_LAKE_HOME to the right folder, "
            "start `make demo`, or connect a tenant with `outlook-lake run subscriptions`"
        )
    return settings


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)
