"""Sign-in: several secrets, expired ones, certificates, a token endpoint in trouble."""

from __future__ import annotations

import time
import urllib.parse
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.support.simulator import Reply, SimulatorProcess

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def ask(graph: SimulatorProcess, **given: str) -> Reply:
    """Ask for a token of the first tenant."""
    form = {
        "grant_type": "client_credentials",
        "client_id": graph.tenant["client_id"],
        "scope": "https://graph.microsoft.com/.default",
        **given,
    }
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    path = f"/{graph.tenant['tenant_id']}/oauth2/v2.0/token"
    return graph.http("POST", path, urllib.parse.urlencode(form).encode(), kind)


def number(reply: Reply) -> int:
    """The AADSTS number of a refusal."""
    return int(reply.body["error_codes"][0])


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """An application's private key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate_of(key: rsa.RSAPrivateKey, days: int = 30) -> x509.Certificate:
    """A self-signed certificate; negative `days`: it has ended so long ago."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lake")])
    ends = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=90))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )


def upload(graph: SimulatorProcess, certificate: x509.Certificate) -> str:
    """Register a certificate; returns its thumbprint as an assertion names it."""
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    wish = {"tenant": graph.tenant["tenant_id"], "certificate": pem}
    return str(graph.control("POST", "certificates", wish)["thumbprint"])


def prove(
    graph: SimulatorProcess,
    key: rsa.RSAPrivateKey,
    thumbprint: str,
    algorithm: str = "PS256",
    **changed: Any,
) -> Reply:
    """Ask with an assertion."""
    client, tenant = graph.tenant["client_id"], graph.tenant["tenant_id"]
    claims = {
        "aud": f"{graph.url}/{tenant}/oauth2/v2.0/token",
        "iss": client,
        "sub": client,
        "exp": int(time.time()) + 600,
        "jti": str(uuid.uuid4()),
        **changed,
    }
    token = jwt.encode(claims, key, algorithm, {"x5t#S256": thumbprint})
    return ask(graph, client_assertion_type=ASSERTION, client_assertion=token)


def test_several_secrets_are_good_at_once_until_one_is_expired(graph: SimulatorProcess) -> None:
    tenant = {"tenant": graph.tenant["tenant_id"]}
    one = graph.control("POST", "secrets", tenant)["secret"]
    two = graph.control("POST", "secrets", tenant)["secret"]
    first = graph.tenant["client_secret"]
    assert len({one, two, first}) == 3
    assert {ask(graph, client_secret=s).status for s in (one, two, first)} == {200}
    graph.control("POST", "secrets/expire", {"secret": one})
    refused = ask(graph, client_secret=one)
    assert (refused.status, refused.body["error"], number(refused)) == (
        401, "invalid_client", 7000222,
    )  # fmt: skip
    assert one not in str(refused.body)
    assert {ask(graph, client_secret=s).status for s in (two, first)} == {200}
    assert number(ask(graph, client_secret="guessed")) == 7000215
    assert number(ask(graph)) == 7000216
    unknown = graph.http("POST", "/simulator/secrets/expire", {"secret": "guessed"})
    assert unknown.status == 404


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_an_assertion_of_a_registered_certificate_is_taken(
    graph: SimulatorProcess, key: rsa.RSAPrivateKey, algorithm: str
) -> None:
    thumbprint = upload(graph, certificate_of(key))
    reply = prove(graph, key, thumbprint, algorithm)
    assert reply.status == 200, reply.body
    graph.token = reply.body["access_token"]
    assert graph.get("/users?$top=1").status == 200


def test_an_assertion_that_entra_would_refuse_is_refused(
    graph: SimulatorProcess, key: rsa.RSAPrivateKey
) -> None:
    thumbprint = upload(graph, certificate_of(key))
    ended = upload(graph, certificate_of(key, days=-1))
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert number(prove(graph, key, "bm90IHRoZXJl")) == 700027
    assert number(prove(graph, stranger, thumbprint)) == 700027
    assert number(prove(graph, key, ended)) == 700027
    assert number(prove(graph, key, thumbprint, aud="https://elsewhere.example")) == 700023
    assert number(prove(graph, key, thumbprint, exp=int(time.time()) - 600)) == 700024
    assert number(prove(graph, key, thumbprint, iss=str(uuid.uuid4()))) == 700021


def test_the_token_endpoint_throttles_and_fails(graph: SimulatorProcess) -> None:
    graph.control("POST", "faults", {"kind": "token_429", "retry_after": 3})
    throttled = ask(graph, client_secret=graph.tenant["client_secret"])
    graph.control("DELETE", "faults?kind=token_429")
    assert (throttled.status, throttled.headers["retry-after"]) == (429, "3")
    graph.control("POST", "faults", {"kind": "token_5xx"})
    broken = {ask(graph, client_secret=graph.tenant["client_secret"]).status for _ in range(8)}
    graph.control("DELETE", "faults?kind=token_5xx")
    assert broken == {500, 502, 503, 504}
    assert graph.get("/users?$top=1").status == 200, "tokens given before carry on"
    assert ask(graph, client_secret=graph.tenant["client_secret"]).status == 200
