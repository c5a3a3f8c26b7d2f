"""`outlook-lake erase`: forget a person."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated, Any

import typer

from outlook_lake.application import Application
from outlook_lake.commands.output import AsJson, answer, guarded, home_that_exists, say, table

__all__ = ["erase"]


@guarded
def erase(
    person: Annotated[str, typer.Argument(help="A mail address, or a tuid.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it only a preview.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a person: directory, inventory, subscription and state; a receipt is written.

    Events stay: they hold a random tuid and keyed hashes, which nobody can read a person out of
    once the directory has forgotten. The mailbox is never watched again.

    Example: outlook-lake erase 3f6c0c1e-9d0e-4c0a-8f5e-0d1f5f0b7a11 --yes
    """
    from outlook_lake import steps

    with Application.open(home_that_exists()) as app:
        if not yes:
            shown = steps.erase_preview(app, person)
            answer(shown) if as_json else _show(shown)
            if not as_json:
                say("nothing was changed; add --yes to forget this person")
            return
        done = asyncio.run(steps.erase(app, person, by=getpass.getuser()))
    if as_json:
        answer(done)
        return
    _show(done)
    for trouble in done["troubles"]:
        say(trouble)
    typer.echo(f"forgotten; receipt: {done['receipt']}")


def _show(told: dict[str, Any]) -> None:
    table("what is known", ("where", "rows"), [*told["rows"].items()])
    lake = told["lake"]
    typer.echo(
        f"{lake['events']:,} events in {lake['hours']:,} hours carry the tuid or a keyed hash "
        "and stay, without a name"
    )
