"""`outlook-lake coverage` and `gaps`: what is proven, and what may be missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from outlook_lake.commands.output import AsJson, answer, guarded, home_that_exists, say, table
from outlook_lake.coverage.page import MOST_GAPS, list_gaps, overview
from outlook_lake.state.database import Database

__all__ = ["coverage", "gaps"]

FromHour = Annotated[
    str | None,
    typer.Option("--from", metavar="YYYY-MM-DDTHH", help="First hour (UTC); default: 48 h back."),
]
ToHour = Annotated[
    str | None,
    typer.Option("--to", metavar="YYYY-MM-DDTHH", help="First hour no longer wanted (UTC)."),
]
LEGEND = (
    ("██", "green", "settled or final"),
    ("▓▓", "yellow", "all proven, not settled yet"),
    ("▒▒", "dark_orange", "partly proven"),
    ("░░", "bright_black", "not proven yet"),
    ("!!", "red", "an open gap"),
    ("±±", "green", "whole but for a loss that is named"),
)


@guarded
def coverage(from_hour: FromHour = None, to_hour: ToHour = None, as_json: AsJson = False) -> None:
    """Show which hours are proven, as a heat map: one line per tenant and day.

    Example: outlook-lake coverage --from 2026-11-23T00 --to 2026-11-24T00
    """
    db = Database.open(home_that_exists())
    try:
        found = overview(db, from_hour, to_hour)
    finally:
        db.close()
    if as_json:
        answer(found)
        return
    console = Console()
    if not found["cells"]:
        say("No tenant is watched yet: connect one with `outlook-lake run subscriptions`.")
    for domain_id, cells in found["cells"].items():
        console.print(f"{domain_id}")
        console.print(
            "            " + " ".join(f"{hour:02d}" for hour in range(24)), highlight=False
        )
        for day, line in _days(cells):
            console.print(Text.assemble(f"{day}  ", *line), highlight=False)
    console.print(Text("  ").join(Text.assemble((m, s), f" {w}") for m, s, w in LEGEND))
    table("what stands in the way", ("what", "how much"), _lines(found))


@guarded
def gaps(
    tenant: Annotated[
        str | None, typer.Option(metavar="DOMAIN_ID", help="Only this tenant.")
    ] = None,
    cause: Annotated[
        str | None, typer.Option(metavar="CAUSE", help="Only this cause, such as lapsed.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are filled.")] = False,
    as_json: AsJson = False,
) -> None:
    """List who may have lost what, from when to when, and why; the latest first.

    Example: outlook-lake gaps --cause missed
    """
    db = Database.open(home_that_exists())
    try:
        found = list_gaps(db, tenant=tenant, cause=cause, closed=every)
    finally:
        db.close()
    if as_json:
        answer({"gaps": found})
        return
    table(
        "gaps",
        ("tenant", "mailbox", "from", "to", "cause", "may be lost", "state", "note"),
        [
            (
                row["domain_id"],
                row["tuid"],
                _minute(row["from_at"]),
                _minute(row["to_at"]),
                row["cause"],
                row["loss"],
                row["state"],
                row["note"],
            )
            for row in found
        ],
    )
    if len(found) == MOST_GAPS:
        say(f"These are the latest {MOST_GAPS}; the view `gaps` of `outlook-lake sql` has all.")


def _days(cells: Iterable[dict[str, Any]]) -> list[tuple[str, list[str | tuple[str, str]]]]:
    days: dict[str, dict[int, tuple[str, str]]] = {}
    for cell in cells:
        day, _, hour = cell["hour"].partition("T")
        days.setdefault(day, {})[int(hour)] = _mark(cell)
    return [
        (day, [part for hour in range(24) for part in (marks.get(hour, "  "), " ")])
        for day, marks in sorted(days.items())
    ]


def _mark(cell: dict[str, Any]) -> tuple[str, str]:
    if cell["open_gaps"]:
        chosen = 4
    elif cell["maturity"] != "open":
        chosen = 5 if cell["gaps"] else 0
    elif cell["complete"] and cell["complete"] == cell["mailboxes"]:
        chosen = 1
    else:
        chosen = 2 if cell["complete"] else 3
    return LEGEND[chosen][:2]


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [
        (
            f"{row['state']} gaps: {row['cause']}",
            f"{row['gaps']} in {row['mailboxes']} mailbox(es), may have lost: {row['loss']}",
        )
        for row in found["gaps"]
    ]
    lines += [
        (f"parked: {row['reason'] or 'no reason given'}", f"{row['mailboxes']} mailbox(es)")
        for row in found["parked"]
    ]
    silent, budget = found["silent"], found["budget"]
    lines += [
        ("silent subscriptions", f"{silent['mailboxes']}, {silent['doubted']} doubted"),
        ("full rounds wanted", str(budget["rounds_wanted"])),
        (
            "asked by Graph to wait",
            f"{budget['throttled_mailboxes']} mailbox(es), up to {budget['longest_pause_s']} s",
        ),
    ]
    return lines


def _minute(at: Any) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M}"
