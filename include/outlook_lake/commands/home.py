"""`outlook-lake settings` and `migrate`: what this home is set to, and its database."""

from __future__ import annotations

import dataclasses

import typer

from outlook_lake.commands.output import AsJson, answer, guarded, table
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
def migrate(as_json: AsJson = False) -> None:
    """Bring the state database to this release's version; every command does it by itself.

    Example: outlook-lake migrate
    """
    Database.open(Settings.load()).close()
    if as_json:
        answer({"version": HEAD})
    else:
        typer.echo(f"the state database has version {HEAD}")
