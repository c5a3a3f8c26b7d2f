"""What a client proves itself with at the token endpoint: a secret, or a signed assertion."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography import x509

from graph_simulator.world.model import Tenant

__all__ = ["CredentialRefused", "check_credential"]

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["RS256", "PS256"]
LONGEST_S = 86_400
"""Machine seconds an assertion may live."""


@dataclass(frozen=True, slots=True)
class CredentialRefused(Exception):
    """`AADSTS<number>: text` under the OAuth error invalid_client."""

    number: int
    text: str


def check_credential(tenant: Tenant, form: dict[str, str], endpoint: str) -> None:
    """Raises CredentialRefused. `endpoint` = the URL that was asked, which is the audience."""
    if "client_assertion" in form:
        _check_assertion(tenant, form, endpoint)
        return
    given = form.get("client_secret", "")
    if not given:
        raise CredentialRefused(
            7000216,
            "'client_assertion', 'client_secret' or 'request' is required for the "
            "'client_credentials' grant type.",
        )
    known = [s for s in (tenant.secret, *tenant.secrets) if hmac.compare_digest(given, s)]
    if not known:
        raise CredentialRefused(
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is "
            "the client secret value, not the client secret ID.",
        )
    if known[0] in tenant.expired:
        raise CredentialRefused(
            7000222,
            f"The provided client secret keys for app '{tenant.client_id}' are expired. Visit "
            "the Azure portal to create new keys for your app.",
        )


def _certificate(tenant: Tenant, header: dict[str, Any]) -> x509.Certificate | None:
    """The certificate of the thumbprint in an assertion's header (`x5t#S256`, else `x5t`)."""
    from cryptography.hazmat.primitives import hashes

    wanted = str(header.get("x5t#S256", "")).rstrip("=")
    if wanted:
        pem = tenant.certificates.get(wanted)
        return None if pem is None else x509.load_pem_x509_certificate(pem.encode())
    try:
        short = str(header.get("x5t", ""))
        sha1 = base64.urlsafe_b64decode(short + "=" * (-len(short) % 4))
    except (binascii.Error, ValueError):
        return None
    for pem in tenant.certificates.values():
        certificate = x509.load_pem_x509_certificate(pem.encode())
        if certificate.fingerprint(hashes.SHA1()) == sha1:
            return certificate
    return None


def _check_assertion(tenant: Tenant, form: dict[str, str], endpoint: str) -> None:
    if form.get("client_assertion_type") != ASSERTION:
        raise CredentialRefused(50027, "JWT token is invalid or malformed.")
    token = form["client_assertion"]
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise CredentialRefused(50027, "JWT token is invalid or malformed.") from None
    certificate = _certificate(tenant, header)
    if certificate is None:
        raise CredentialRefused(
            700027,
            "The certificate with identifier used to sign the client assertion is not registered "
            "on application. [Reason - The key was not found.]",
        )
    ends = certificate.not_valid_after_utc.timestamp()
    if not certificate.not_valid_before_utc.timestamp() <= time.time() <= ends:
        raise CredentialRefused(
            700027,
            "Client assertion failed signature validation. [Reason - The key used is expired.]",
        )
    try:
        claims = jwt.decode(
            token,
            certificate.public_key(),  # type: ignore[arg-type]
            algorithms=ALGORITHMS,
            audience=endpoint,
            issuer=tenant.client_id,
            options={"require": ["exp", "aud", "iss", "sub"]},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        raise CredentialRefused(
            700024, "Client assertion is not within its valid time range."
        ) from None
    except jwt.InvalidSignatureError:
        raise CredentialRefused(
            700027,
            "Client assertion failed signature validation. [Reason - The key was found, but use "
            "of the key to verify the signature failed.]",
        ) from None
    except jwt.InvalidAudienceError:
        raise CredentialRefused(
            700023, "Client assertion audience claim does not match Realm issuer."
        ) from None
    except jwt.PyJWTError:
        raise CredentialRefused(
            700021, "Client assertion application identifier doesn't match 'client_id' parameter."
        ) from None
    if claims["sub"] != tenant.client_id or claims["exp"] > time.time() + LONGEST_S:
        raise CredentialRefused(700024, "Client assertion is not within its valid time range.")
