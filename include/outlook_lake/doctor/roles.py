"""The roles in a token, compared with the least set (graph-facts, permissions)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection

from outlook_lake.doctor.findings import Report

__all__ = ["NEEDED", "check_roles", "roles_of"]

NEEDED: dict[str, tuple[str, ...]] = {
    "User.Read.All": ("User.Read.All", "User.ReadBasic.All", "Directory.Read.All"),
    "Mail.ReadBasic.All": ("Mail.ReadBasic.All", "Mail.ReadBasic"),
    "MailboxSettings.Read": ("MailboxSettings.Read",),
}
"""What we ask for → the roles that do as well."""

READS_BODIES = frozenset({"Mail.Read", "Mail.ReadWrite"})
BY_EXCHANGE = frozenset({"Mail.ReadBasic.All", "MailboxSettings.Read"})
"""May also be granted by RBAC for Applications in Exchange, which no token shows."""

ENTRA = "Entra admin centre ▸ App registrations ▸ your app ▸ API permissions"


def roles_of(token: str) -> frozenset[str] | None:
    """The `roles` claim of an access token; None when the token cannot be read.

    Nobody is let in on the strength of this: Graph checks the token, we only read along.
    """
    parts = token.split(".")
    if len(parts) < 2:
        return None
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        roles = json.loads(text).get("roles", [])
    except (binascii.Error, ValueError, AttributeError):
        return None
    return frozenset(str(role) for role in roles) if isinstance(roles, list) else None


def check_roles(report: Report, roles: Collection[str] | None) -> None:
    """Too little fails, too much is complained about."""
    if roles is None:
        report.warn(
            "roles",
            "the token does not tell its roles",
            "Nothing to do: the checks of mailboxes show what the application may.",
        )
        return
    missing = [name for name, enough in NEEDED.items() if not set(enough) & set(roles)]
    writing = sorted(role for role in roles if ".ReadWrite" in role or role.endswith(".Send"))
    reading = sorted(READS_BODIES & set(roles) - set(writing))
    told = ", ".join(sorted(roles)) or "none"
    if missing and not set(missing) <= BY_EXCHANGE:
        report.fail(
            "roles",
            f"missing: {', '.join(missing)}; the token has: {told}",
            f"{ENTRA}: Add a permission ▸ Microsoft Graph ▸ Application permissions ▸ "
            f"{', '.join(missing)}, then press Grant admin consent. A new consent takes up to "
            "15 minutes to reach the tokens.",
        )
    elif reading or writing:
        could = "could read bodies" if reading or "Mail.ReadWrite" in writing else ""
        if writing:
            could += (" and " if could else "") + "could change things"
        report.warn(
            "roles",
            f"{', '.join(reading + writing)}: with this token the application {could}; "
            "it never does, but nobody outside can check that",
            f"{ENTRA}: put Mail.ReadBasic.All in the place of it, remove "
            f"{', '.join(reading + writing)} and press Grant admin consent.",
        )
    elif missing:
        report.warn(
            "roles",
            f"not in the token: {', '.join(missing)}; the token has: {told}",
            "Right if they were granted in Exchange (RBAC for Applications): then the checks of "
            f"a mailbox below are ok. Otherwise {ENTRA}: add them and press Grant admin consent.",
        )
    else:
        report.ok("roles", f"exactly what is needed: {told}")
