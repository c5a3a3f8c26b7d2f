"""Does the login host let this application in, with which credential, and until when?

A refusal of Entra carries a number (AADSTS…) that says which field is wrong. The number is all
that is read of it: its text quotes ids.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from outlook_lake.clock import machine_now
from outlook_lake.doctor.findings import Report
from outlook_lake.errors import OutlookLakeError, TokenRefusedError, UnreachableError
from outlook_lake.graph.auth import TokenSource
from outlook_lake.tenants.credentials import Credentials, TenantConnection

__all__ = ["check_expiry", "check_login", "check_token"]

TIMEOUT_S = 10.0
SOON = timedelta(days=21)
"""A credential that ends within this is to be rotated now."""

SECRETS = "Entra admin centre ▸ App registrations ▸ your app ▸ Certificates & secrets"
FIELD = "Admin ▸ Connections ▸ your connection"

CURES: dict[int, tuple[str, str]] = {
    90002: (
        "no tenant with this id",
        f"{FIELD} ▸ Tenant ID: copy 'Directory (tenant) ID' from the application's Overview page.",
    ),
    900023: (
        "the tenant id is neither an id nor a domain",
        f"{FIELD} ▸ Tenant ID: copy 'Directory (tenant) ID' from the application's Overview page.",
    ),
    700016: (
        "no application with this client id in the tenant",
        f"{FIELD} ▸ Client ID: copy 'Application (client) ID' from the application's Overview "
        "page; check that it was registered in this tenant and not deleted.",
    ),
    7000215: (
        "wrong client secret",
        f"{SECRETS}: make a new client secret and copy its *Value*, which is shown once (not its "
        f"Secret ID), into {FIELD} ▸ Client Secret.",
    ),
    7000222: (
        "the client secret has expired",
        f"{SECRETS} ▸ New client secret; copy its *Value* into {FIELD} ▸ Client Secret.",
    ),
    7000112: (
        "the application is disabled in the tenant",
        "Entra admin centre ▸ Enterprise applications ▸ your app ▸ Properties: set 'Enabled for "
        "users to sign in' to Yes.",
    ),
    700027: (
        "the certificate is not one of the application's",
        f"{SECRETS} ▸ Certificates: upload the certificate (public part, .cer or .pem) that "
        "belongs to the private key in the connection.",
    ),
}
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
        what, cure = CURES[90002]
        report.fail("login", f"{host}: {what}", cure)
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
        number = _number_in(error) or await _number_from(connection.credentials)
        what, cure = CURES.get(
            number or 0,
            (
                str(error),
                f"{FIELD}: check Client ID and Client Secret (or certificate) against {SECRETS}.",
            ),
        )
        told = f"{what} (AADSTS{number})" if number else what
        report.fail("token", told, cure)
        return None
    except UnreachableError as error:
        report.fail("token", str(error), "Try again in a minute; running work uses older tokens.")
        return None
    except OutlookLakeError as error:
        report.fail("token", str(error), f"{FIELD}: correct what the message names.")
        return None
    report.ok("token", f"given for {_in_use(tokens)}")
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


def _in_use(tokens: TokenSource) -> str:
    name = getattr(tokens, "credential", None) or getattr(tokens, "in_use", None) or "current"
    return f"the {name} credential"


def _ends(connection: TenantConnection) -> list[tuple[str, datetime]]:
    """(credential in words, when it ends) of all credentials whose end is known."""
    found: list[tuple[str, datetime]] = []
    for name in ("current", "next"):
        one = getattr(connection.credentials, name, None)
        ends = _moment(getattr(one, "expires", None) or getattr(one, "expires_at", None))
        if ends is not None:
            found.append((f"the {name} credential", ends))
    return found


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _number_in(error: TokenRefusedError) -> int | None:
    found = _NUMBER.search(f"{error} {error.code}")
    return int(found.group(1)) if found else None


async def _number_from(credentials: Credentials) -> int | None:
    """Which number Entra refuses a client secret with; None when it cannot be told."""
    secret = getattr(credentials, "client_secret", None) or getattr(
        getattr(credentials, "current", None), "secret", None
    )
    if not secret:
        return None
    url = f"{credentials.authority_url}/{credentials.tenant_id}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": secret,
        "scope": f"{credentials.graph_url}/.default",
    }
    try:
        async with (
            _session(credentials) as session,
            session.post(url, data=form, allow_redirects=False) as answer,
        ):
            told = await answer.json(content_type=None)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return None
    if not isinstance(told, dict):
        return None
    codes = told.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    found = _NUMBER.search(str(told.get("error_description") or ""))
    return int(found.group(1)) if found else None


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
