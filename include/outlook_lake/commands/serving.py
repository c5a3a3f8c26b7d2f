"""`outlook-lake receiver` and `demo`: commands that stay until they are stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outlook_lake.commands.output import guarded
from outlook_lake.settings import Settings

__all__ = ["demo", "receiver"]


@guarded
def receiver(
    host: Annotated[str | None, typer.Option(help="Default: receiver.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: receiver.port.")] = None,
) -> None:
    """Run the stand-alone webhook until it is told to stop; what it took is on disk by then.

    Start more on other ports behind a load balancer: they share the staging folder and the
    keys, nothing else.

    Example: outlook-lake receiver --host 0.0.0.0 --port 8081
    """
    from outlook_lake.receiver.serve import serve

    serve(Settings.load(), host, port)


@guarded
def demo(
    minutes: Annotated[
        float | None, typer.Option(help="End by itself after so many minutes, with a verdict.")
    ] = None,
    traffic: Annotated[
        Path | None, typer.Option(help="A Parquet file of mail to replay (needs --minutes).")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Airflow's port; the next four too.")] = None,
    mailboxes: Annotated[int | None, typer.Option(help="How many people there are.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the generated people and mail.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of figures at the end.")
    ] = False,
) -> None:
    """Simulated Microsoft Graph, Airflow and the whole product in one terminal.

    Example: outlook-lake demo --minutes 2 --json
    """
    from outlook_lake.demo import main

    options = {
        "--minutes": minutes,
        "--traffic": traffic,
        "--port": port,
        "--mailboxes": mailboxes,
        "--seed": seed,
    }
    arguments = [
        part for name, value in options.items() if value is not None for part in (name, str(value))
    ]
    raise typer.Exit(main([*arguments, *(["--json"] if as_json else [])]))
