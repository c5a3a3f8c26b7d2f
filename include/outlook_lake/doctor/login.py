"""Does the login host let this application in, with which credential, and until when?

A refusal of Entra carries a number (AADSTS…) that says which field is wrong. The number is all
that is read of it: its text quotes ids.
"""

from __future__ import annotations

import re
import ssl
from datetime import datetime, timedelta

import aiohttp

from outlook_lake.clock import machine_now
from outlook_lake.doctor.findings import Report
from outlook_lake.errors import OutlookLakeError, TokenRefusedError, UnreachableError
from outlook_lake.graph import entra
from outlook_lake.graph.auth import TokenSource
from outlook_lake.tenants.credentials import Credentials, TenantConnection

__all__ = ["check_expiry", "check_login", "check_token"]

TIMEOUT_S = 10.0
SOON = timedelta(days=21)
"""A credential that ends within this is to be rotated now."""

SECRETS = "Entra admin centre ▸ App registrations ▸ your app ▸ Certificates & secrets"
FIELD = "Admin ▸ Connections ▸ your connection"

_NUMBER = re.compile(r"AADSTS(\d+)")


async def check_login(report: Report, credentials: Credentials) -> bool:
    """The login host answers and knows the tenant; returns whether to go on."""
    url = (
        f"{credentials.authority_url}/{credentials.tenant_id}/v2.0/.well-known/openid-configuration"
    )
    host = credentials.authority_url.partition("//")[2]
    try:
        async with _session(credentials) as session, session.get(url) as answer:
            status = answer.status
            await answer.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        kind = "TLS" if isinstance(error, aiohttp.ClientSSLError) else type(error).__name__
        report.fail(
            "login",
            f"{host} does not answer ({kind})",
            "Let this machine reach it by https (firewall, proxy: HTTPS_PROXY); behind a proxy "
            "that opens TLS, name its CA file in extra.verify of the connection.",
        )
        return False
    if status in (400, 404):
        what, cure = entra.CURES[90002]
        report.fail("login", f"{host}: {what}", f"{cure[0].upper()}{cure[1:]}. ({FIELD})")
        return False
    if status != 200:
        report.fail(
            "login", f"{host} answers {status}", "Try again later; see status.cloud.microsoft"
        )
        return False
    report.ok("login", f"{host} answers and knows the tenant ({credentials.cloud})")
    return True


async def check_token(
    report: Report, connection: TenantConnection, tokens: TokenSource
) -> str | None:
    """A token is given; returns it, for the checks that follow."""
    try:
        token = await tokens.token()
    except TokenRefusedError as error:
        what, cure = _told(error)
        report.fail("token", what, cure)
        return None
    except UnreachableError as error:
        report.fail("token", str(error), "Try again in a minute; running work uses older tokens.")
        return None
    except OutlookLakeError as error:
        report.fail("token", str(error), f"{FIELD}: correct what the message names.")
        return None
    waiting = connection.credentials.next
    if waiting is not None and tokens.in_use != waiting.name:
        report.warn(
            "token",
            f"given for the {tokens.in_use} {_kind(connection, tokens)}; the {waiting.name} one "
            "is refused",
            f"{FIELD} ▸ Extra: correct next_client_secret (or next_certificate_data), or take it "
            "out. A new secret takes a minute until it is known.",
        )
    elif waiting is not None:
        report.ok(
            "token",
            f"given for the {waiting.name} {_kind(connection, tokens)}: put it in the place of "
            "the current one, then delete the old one in Entra",
        )
    else:
        report.ok("token", f"given for the {_kind(connection, tokens)} of the connection")
    return token


def check_expiry(report: Report, connection: TenantConnection) -> None:
    """When each credential ends, as far as we can know it.

    Entra does not tell a read-only application when a secret ends: the date is noted in the
    connection (`secret_expires`). A certificate carries its own.
    """
    known = _ends(connection)
    if not known:
        report.warn(
            "expiry",
            "nobody has noted when the client secret ends",
            f'{FIELD} ▸ Extra: add "secret_expires": "YYYY-MM-DD" from {SECRETS}, '
            "so that we can warn three weeks before.",
        )
        return
    now = machine_now()
    told = ", ".join(f"{name} ends {when:%Y-%m-%d}" for name, when in known)
    over = [name for name, when in known if when <= now]
    soon = [name for name, when in known if now < when <= now + SOON]
    cure = f"Rotate: docs/connect.md, Rotate; {SECRETS}."
    if over and len(over) == len(known):
        report.fail("expiry", told, cure)
    elif over or soon:
        report.warn("expiry", told, cure)
    else:
        report.ok("expiry", told)


def _kind(connection: TenantConnection, tokens: TokenSource) -> str:
    used = {one.name: one.kind for one in connection.credentials.in_order}
    kind = used.get(tokens.in_use or "", "secret")
    return "certificate" if kind == "certificate" else "client secret"


def _ends(connection: TenantConnection) -> list[tuple[str, datetime]]:
    """(credential in words, when it ends) of all credentials whose end is known."""
    return [
        (f"the {one.name} {'certificate' if one.certificate else 'client secret'}", one.expires)
        for one in connection.credentials.in_order
        if one.expires is not None
    ]


def _told(error: TokenRefusedError) -> tuple[str, str]:
    """What is wrong and what to do, by the number Entra gave; else in the error's own words."""
    found = _NUMBER.search(error.code)
    known = entra.CURES.get(int(found.group(1))) if found else None
    if found is None or known is None:
        return str(error), f"{FIELD}: check it against {SECRETS}."
    what, cure = known
    return f"{what} ({found.group(0)})", f"{cure[0].upper()}{cure[1:]}. ({SECRETS}; {FIELD})"


def _session(credentials: Credentials) -> aiohttp.ClientSession:
    verify: bool | ssl.SSLContext = True
    if isinstance(credentials.verify, str):
        verify = ssl.create_default_context(cafile=credentials.verify)
    elif credentials.verify is False:
        verify = False
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=verify),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        trust_env=not credentials.is_loopback,
    )
