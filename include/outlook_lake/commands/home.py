"""`outlook-lake settings` and `migrate`: what this home is set to, and its database."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from outlook_lake.commands.output import AsJson, answer, guarded, home_that_exists, table
from outlook_lake.events.restored import accept_restored
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.migrate import HEAD

__all__ = ["migrate", "settings"]


@guarded
def settings(as_json: AsJson = False) -> None:
    """Show every value, its unit, what it is for and where it came from.

    Example: OUTLOOK_LAKE_STREAM_COALESCE_S=2 outlook-lake settings
    """
    knobs = list(Settings.load().knobs())
    if as_json:
        answer({knob.name: dataclasses.asdict(knob) for knob in knobs})
        return
    table(
        "settings",
        ("name", "value", "unit", "what for", "from"),
        [(knob.name, knob.value, knob.unit, knob.doc, knob.source) for knob in knobs],
    )


@guarded
def migrate(
    restored: Annotated[
        bool,
        typer.Option(
            "--restored", help="Go on from an older copy: every mailbox gets a new epoch."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the state database to this release's version; every command does it by itself.

    After an older copy was put back, every step refuses until --restored was said once: events
    get new ids from then on, so that no id is given twice.

    Example: outlook-lake migrate
    """
    settings = home_that_exists() if restored else Settings.load()
    db = Database.open(settings)
    try:
        mailboxes = accept_restored(db, settings) if restored else 0
    finally:
        db.close()
    if as_json:
        answer({"version": HEAD, **({"mailboxes_in_a_new_epoch": mailboxes} if restored else {})})
        return
    typer.echo(f"the state database has version {HEAD}")
    if restored:
        typer.echo(f"{mailboxes} mailboxes go on in a new epoch")
