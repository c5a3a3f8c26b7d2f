"""`outlook-lake audit` and `verify`: is it true, and is it whole?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from outlook_lake.clock import parse_hour, to_us
from outlook_lake.commands.output import (
    AsJson,
    answer,
    fail_unless,
    guarded,
    home_that_exists,
    say,
    table,
)
from outlook_lake.errors import UsageError
from outlook_lake.lake.audit import FAULTS, Span
from outlook_lake.lake.audit import audit as audit_lake
from outlook_lake.lake.verify import verify as verify_lake

__all__ = ["audit", "verify"]


@guarded
def audit(
    simulator: Annotated[
        str | None, typer.Option(metavar="URL", help="The simulator whose journal is the truth.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="A journal in a file of JSON Lines instead.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Judge from here on: an hour or an ISO time."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="And up to here, without it.")
    ] = None,
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave out mailboxes this home never heard of.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the lake with the simulator's journal: each change one event, none too many.

    Counts what is lost, doubled, wrongly named, in the wrong hour or out of order. What cannot
    be known is excused by name; everything else is a finding (exit code 1).

    Example: outlook-lake audit --simulator http://127.0.0.1:8083 --json
    """
    span = Span(
        from_us=0 if since is None else _moment(since, "--from"),
        to_us=1 << 62 if until is None else _moment(until, "--to"),
    )
    verdict = audit_lake(
        home_that_exists(), simulator, journal=journal, span=span, known_only=known_only
    )
    if as_json:
        answer(verdict)
    else:
        names = ("journal", "events", *FAULTS, "excused", "wide_intervals")
        table("audit", ("figure", "count"), [(name, verdict[name]) for name in names])
        for name, count in verdict["excused_by"].items():
            typer.echo(f"excused, {name}: {count}")
        for row in verdict["outside"]:
            typer.echo(f"mailbox {row['mailbox']} is {row['scope']} here: {row['acts']} acts")
        typer.echo("clean" if verdict["clean"] else "not clean: " + "; ".join(verdict["problems"]))
    fail_unless(verdict["clean"])


@guarded
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Export hours whose file is missing or differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare manifest, digests and files: every sealed hour and every batch, row by row.

    Example: outlook-lake verify --json
    """
    report = verify_lake(home_that_exists(), repair=repair)
    if as_json:
        answer(report.as_dict())
    else:
        typer.echo(f"{report.hours} hours and {report.batches} batches compared")
        for finding in report.findings:
            typer.echo(f"{finding.kind}: {finding.where}: {finding.what}")
        for where in report.repaired:
            typer.echo(f"repaired: {where}")
        if report.findings and not repair:
            say("`outlook-lake verify --repair` writes what can be written again.")
    fail_unless(report.is_whole)


def _moment(text: str, option: str) -> int:
    try:
        return to_us(parse_hour(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: expected an hour such as 2026-11-24T09 or a time such as "
            "2026-11-24T09:30:00Z (UTC)"
        ) from None
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
