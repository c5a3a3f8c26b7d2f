"""What Entra says when it refuses a token, in words that say what to do.

Only the numbers (AADSTS…) are read: the texts beside them quote ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from outlook_lake.errors import GraphError, TokenRefusedError, UnreachableError

__all__ = ["CURES", "number_of", "refusal"]

CURES: Mapping[int, tuple[str, str]] = {
    90002: (
        "no tenant with this id",
        "copy 'Directory (tenant) ID' from the application's Overview page into extra.tenant_id",
    ),
    900023: (
        "the tenant id is neither an id nor a domain",
        "copy 'Directory (tenant) ID' from the application's Overview page into extra.tenant_id",
    ),
    700016: (
        "no application with this client id in the tenant",
        "copy 'Application (client) ID' from the application's Overview page into login, and "
        "check that it was registered in this tenant and not deleted",
    ),
    7000215: (
        "wrong client secret",
        "make a new one under Certificates & secrets and copy its Value, which is shown once "
        "(not its Secret ID), into the password",
    ),
    7000222: (
        "the client secret has expired",
        "make a new one under Certificates & secrets and copy its Value into the password",
    ),
    7000112: (
        "the application is disabled in the tenant",
        "Enterprise applications, your app, Properties: set 'Enabled for users to sign in' to Yes",
    ),
    700027: (
        "the certificate is not one of the application's",
        "upload the public part of the connection's certificate under Certificates & secrets",
    ),
    700024: (
        "the certificate's assertion is outside its time",
        "set this machine's clock right (NTP)",
    ),
    65001: (
        "nobody has consented to the application",
        "API permissions: Grant admin consent",
    ),
    53003: (
        "a conditional access policy blocks the application",
        "ask the administrator to exclude this workload identity, or to allow this network",
    ),
}
"""By AADSTS number: what is wrong, and what to do about it."""

_PASSING = frozenset({90033, 90036, 50196, 90055, 50058})
"""Numbers that mean: try again later."""
_NUMBER = re.compile(r"AADSTS(\d+)")


def number_of(answer: Mapping[str, Any]) -> int | None:
    """The AADSTS number of a refusal; None when it has none."""
    codes = answer.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    found = _NUMBER.search(str(answer.get("error_description") or ""))
    return int(found.group(1)) if found else None


def refusal(answer: Mapping[str, Any], kind: str) -> GraphError:
    """The error for an answer without a token. `kind` of the credential: secret, certificate.

    UnreachableError where asking again later helps, else TokenRefusedError.
    """
    number = number_of(answer)
    error = str(answer.get("error") or "")
    request_id = str(answer.get("correlation_id") or "")
    if number in _PASSING or error in ("temporarily_unavailable", "server_error"):
        return UnreachableError("the token endpoint asks to come again later", code=error)
    if number is None or number not in CURES:
        word = "certificate" if kind == "certificate" else "secret"
        what = f"the client id or its {word}"
        cure = "check login and password (or certificate) of the connection"
        told = f"the token endpoint refused {what}: {cure}"
    else:
        told = "the token endpoint refused: {}: {}".format(*CURES[number])
    code = f"AADSTS{number}" if number else error
    return TokenRefusedError(told, status=401, code=code, request_id=request_id)
