"""`outlook-lake doctor` and `disconnect`: the beginning and the end of a tenant."""

from __future__ import annotations

import asyncio
import getpass
from collections import Counter
from typing import Annotated

import typer

from outlook_lake.application import Application
from outlook_lake.commands.output import (
    AsJson,
    answer,
    fail_unless,
    guarded,
    home_that_exists,
    say,
)
from outlook_lake.doctor import Finding, examine, has_failed, summary
from outlook_lake.settings import Settings
from outlook_lake.tenants.credentials import tenant_from_environment

__all__ = ["disconnect", "doctor"]

SIGNS = {
    "ok": "  ok      ",
    "warning": "! warning ",
    "failed": "✗ failed  ",
    "skipped": "- skipped ",
}


@guarded
def doctor(
    tenant: Annotated[
        str | None, typer.Option(metavar="DOMAIN_ID", help="Only this tenant.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test the connection: every check with its verdict, what shows it, and the cure.

    Asks the login host, Graph and the receiver as the product does, makes one subscription and
    removes it. Ends with 1 when a check failed; warnings do not.

    Example: outlook-lake doctor --tenant contoso.com
    """
    findings = asyncio.run(examine(Settings.load, tenant_from_environment, tenant))
    if as_json:
        counts = Counter(str(finding.verdict) for finding in findings)
        answer(
            {
                "healthy": not has_failed(findings),
                **{verdict: counts[verdict] for verdict in SIGNS},
                "checks": [finding.as_dict() for finding in findings],
            }
        )
    else:
        _show(findings)
    fail_unless(not has_failed(findings))


@guarded
def disconnect(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Its domain_id.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the receipt.")],
    remove_data: Annotated[
        bool, typer.Option("--remove-data", help="Also remove lake, log, inventory, directory.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop watching a tenant: subscriptions go, data is kept or removed, a receipt is written.

    The connection may stay: a tenant that is gone is not served again. Can be run again after
    it was stopped anywhere.

    Example: outlook-lake disconnect contoso.com --reason "contract ended" --dry-run
    """
    from outlook_lake import steps

    with Application.open(home_that_exists()) as app:
        shown = steps.disconnect_preview(app, tenant, reason, remove_data)
        if dry_run:
            answer(shown) if as_json else typer.echo(shown["table"])
            return
        if not as_json:
            say(shown["table"])
        done = asyncio.run(steps.disconnect(app, tenant, reason, remove_data, by=getpass.getuser()))
    if as_json:
        answer(done)
    else:
        typer.echo(f"{done['note']}\nreceipt: {done['receipt']}")


def _show(findings: list[Finding]) -> None:
    about: str | None = "?"
    for finding in findings:
        if finding.tenant != about:
            about = finding.tenant
            typer.echo(f"\n{about or 'this home'}")
        typer.echo(f"{SIGNS[finding.verdict]}{finding.check}: {finding.evidence}")
        if finding.cure:
            typer.echo(f"            → {finding.cure}")
    say("\n" + summary(findings))
