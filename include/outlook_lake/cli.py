"""`outlook-lake`: everything a person or a script asks of this project.

Every command has `--help` with an example and, where it answers, `--json`. Exit codes: 0 as
asked, 1 a finding, 2 wrong use.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

from outlook_lake import __version__
from outlook_lake.commands import (
    checking,
    connecting,
    coverage,
    erasing,
    home,
    keys,
    reading,
    reprocessing,
    serving,
    steps,
    watching,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="outlook-lake",
    help="What happens in a company's mailboxes, as hourly Parquet, without its content.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    connecting.doctor,
    reading.sql,
    reading.views,
    watching.status,
    coverage.coverage,
    coverage.gaps,
    reprocessing.reprocess,
    home.settings,
    steps.run,
    serving.receiver,
    checking.audit,
    checking.verify,
    connecting.disconnect,
    erasing.erase,
    keys.keys,
    home.migrate,
    serving.demo,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def about(
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    """What happens in a company's mailboxes, as hourly Parquet, without its content."""
    if version:
        typer.echo(__version__)
        raise typer.Exit()


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; ends the process with its exit code."""
    app(args=None if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
