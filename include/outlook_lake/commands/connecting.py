"""`outlook-lake doctor` and `disconnect`: the beginning and the end of a tenant."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer

from outlook_lake.commands.output import AsJson, answer, fail_unless, guarded, say
from outlook_lake.doctor import Finding, examine, has_failed, summary
from outlook_lake.settings import Settings
from outlook_lake.tenants.credentials import tenant_from_environment

__all__ = ["doctor"]

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
        counts = Counter(finding.verdict for finding in findings)
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
