"""`outlook-lake reprocess`: prove a window of the past anew, or see first what that takes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from outlook_lake.application import Application
from outlook_lake.commands.output import (
    AsJson,
    answer,
    fail_unless,
    guarded,
    home_that_exists,
    say,
    table,
)
from outlook_lake.coverage.reprocess import DEPTHS
from outlook_lake.errors import UsageError
from outlook_lake.steps import reprocess as reprocess_window
from outlook_lake.steps import reprocess_preview

__all__ = ["reprocess"]


@guarded
def reprocess(
    from_hour: Annotated[
        str, typer.Option("--from", metavar="YYYY-MM-DDTHH", help="First hour (UTC).")
    ],
    to_hour: Annotated[
        str, typer.Option("--to", metavar="YYYY-MM-DDTHH", help="First hour after it (UTC).")
    ],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the receipt.")],
    tenant: Annotated[
        str | None, typer.Option(metavar="DOMAIN_ID", help="Only this tenant.")
    ] = None,
    mailbox: Annotated[
        list[str] | None, typer.Option(metavar="TUID", help="Only this mailbox; may be repeated.")
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only parked mailboxes.")] = False,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Only mailboxes that are not proven yet.")
    ] = False,
    depth: Annotated[
        str, typer.Option(help="rounds: all folders, the proof; window: what came or changed.")
    ] = DEPTHS[0],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it takes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove hours of the past anew, or with --dry-run say what that takes and what it cannot bring.

    Live work goes first. What it brought is printed and kept under receipts/ in the home.

    Example: outlook-lake reprocess --from 2026-11-23T00 --to 2026-11-23T09 --reason "webhook down"
    """
    if sum((bool(mailbox), parked, unproven)) > 1:
        raise UsageError("give one of --mailbox, --parked and --unproven, not several")
    who: str | list[str] = mailbox or ("parked" if parked else "unproven" if unproven else "all")
    asked: dict[str, Any] = {
        "from_hour": from_hour,
        "to_hour": to_hour,
        "tenant": tenant,
        "mailboxes": who,
        "depth": depth,
        "reason": reason,
    }
    with Application.open(home_that_exists()) as app:
        if dry_run:
            told = reprocess_preview(app, **asked)
        else:
            told = asyncio.run(reprocess_window(app, **asked))
    if as_json:
        answer(told)
    else:
        say(told["note"])
        table(
            "preview" if dry_run else "receipt",
            ("what", "how much"),
            [(name, value) for name, value in told.items() if name not in ("table", "note")],
        )
    fail_unless(dry_run or not (told["troubles"] or told["gave_up"] or told["left"]))
