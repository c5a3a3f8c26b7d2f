"""A certificate is taken in every form people have it in, or refused in words."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from outlook_lake.errors import UsageError
from outlook_lake.tenants.credentials import parse_connection
from tests.support.certificates import certificate
from tests.tenants.test_credentials import connection

PUBLIC, KEY = certificate()


def given(text: str, **more: Any) -> Any:
    extra = {"certificate_data": text} | more.pop("extra", {})
    return parse_connection("acme", connection(password="", extra=extra, **more)).credentials


def pfx(passphrase: bytes = b"") -> str:
    packed = pkcs12.serialize_key_and_certificates(
        b"app",
        serialization.load_pem_private_key(KEY.encode(), None),  # type: ignore[arg-type]
        x509.load_pem_x509_certificate(PUBLIC.encode()),
        None,
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption(),
    )
    return base64.b64encode(packed).decode()


def ec_key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def short_key() -> Any:
    return rsa.generate_private_key(65537, 1024)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PUBLIC + KEY, id="certificate first"),
        pytest.param(KEY + PUBLIC, id="key first"),
        pytest.param((PUBLIC + KEY).replace("\n", "\\n"), id="line breaks written as two signs"),
        pytest.param((PUBLIC + KEY).replace("\n", " "), id="line breaks lost in a form"),
        pytest.param(pfx(), id="a pfx in base64"),
        pytest.param((PUBLIC + KEY).replace("\n", "\r\n"), id="line ends of Windows"),
        pytest.param("\ufeff" + PUBLIC + KEY, id="a byte order mark before it"),
        pytest.param("\ufeff" + pfx(), id="a byte order mark before a pfx"),
        pytest.param(certificate()[0] + PUBLIC + KEY, id="its issuer's certificate first"),
        pytest.param(KEY + PUBLIC + certificate()[0], id="a chain after it"),
    ],
)
def test_a_certificate_is_read_however_it_was_pasted(text: str):
    credential = given(text).current

    assert credential.kind == "certificate"
    assert credential.expires is not None
    assert credential.certificate is not None
    assert credential.certificate.public_pem == PUBLIC
    assert "PRIVATE" not in repr(credential)


def test_a_pfx_opens_with_its_passphrase():
    opened = parse_connection(
        "acme", connection(password="phrase", extra={"certificate_data": pfx(b"phrase")})
    )

    assert opened.credentials.current.kind == "certificate"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(PUBLIC, "no private key", id="the public part alone"),
        pytest.param(KEY, "no certificate", id="the key alone"),
        pytest.param(PUBLIC + certificate()[1], "does not belong", id="somebody else's key"),
        pytest.param("ssh-rsa AAAAB3", "neither PEM", id="an ssh key"),
        pytest.param(pfx(b"phrase"), "passphrase", id="a pfx without its passphrase"),
        pytest.param("".join(certificate(key=ec_key())), "no RSA key", id="an elliptic curve"),
        pytest.param("".join(certificate(key=short_key())), "1024 bits", id="a short key"),
        pytest.param(PUBLIC.replace("MII", "M") + KEY, "damaged", id="a damaged certificate"),
    ],
)
def test_what_is_no_certificate_with_its_key_is_refused_in_words(text: str, told: str):
    with pytest.raises(UsageError, match=told) as caught:
        given(text)

    assert "BEGIN" not in str(caught.value).replace("-----BEGIN …", "")


def test_a_secret_and_a_certificate_at_once_are_refused():
    with pytest.raises(UsageError, match="not both"):
        parse_connection("acme", connection(extra={"certificate_data": PUBLIC + KEY}))


def test_the_next_credential_may_be_of_the_other_kind():
    credentials = parse_connection(
        "acme",
        connection(
            extra={
                "next_certificate_data": PUBLIC + KEY,
                "secret_expires": "2027-05-31",
            }
        ),
    ).credentials

    assert [one.name for one in credentials.in_order] == ["next", "current"]
    assert credentials.next is not None
    assert credentials.next.expires is not None
    assert str(credentials.current.expires) == "2027-05-31 00:00:00+00:00"


def test_an_ended_certificate_still_reads_so_that_the_doctor_can_tell_when():
    public, key = certificate(timedelta(days=-1))

    assert given(public + key).current.expires is not None


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        pytest.param({"streams": "messages, calls"}, "extra.streams knows", id="unknown stream"),
        pytest.param({"scope": {"group": "Sales"}}, "object id", id="a group by name"),
        pytest.param({"scope": {"purpose": "user"}}, "extra.scope knows", id="unknown member"),
        pytest.param({"scope": "everybody"}, "has to be an object", id="not an object"),
        pytest.param(
            {"scope": {"include": ["a@b.example"], "exclude": ["A@b.example"]}},
            "decide",
            id="in and out",
        ),
        pytest.param({"scope": {"filter": "a&$top=1"}}, "filter", id="more than a filter"),
        pytest.param({"secret_expires": "soon"}, "not a date", id="no date"),
    ],
)
def test_what_a_connection_asks_for_is_checked(extra: dict[str, Any], told: str):
    with pytest.raises(UsageError, match=told):
        parse_connection("acme", connection(extra=extra))
