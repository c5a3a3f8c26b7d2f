"""What one credential of an application is: a client secret, or a certificate with its key.

A certificate comes as PEM (key and certificate, in any order, with or without its line
breaks) or as base64 of a PKCS#12 file (.pfx). Its thumbprints and its end are read from it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

__all__ = ["Certificate", "Credential", "read_certificate"]

LEAST_BITS = 2048
"""Entra takes no shorter RSA key."""
_DER = serialization.Encoding.DER
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)

_NOT_RSA = (
    "its key is no RSA key, and only those sign for Entra here: make one of 2048 bits or more"
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, both PEM; the key never shows in a repr."""

    public_pem: str = field(repr=False)
    private_key_pem: str = field(repr=False)
    expires: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """One of the (at most two) credentials of a connection: `current` or `next`."""

    name: str
    secret: str = field(default="", repr=False)
    certificate: Certificate | None = None
    noted_end: datetime | None = None
    """When the secret ends, as somebody noted it: Entra does not tell a read-only application."""

    @property
    def expires(self) -> datetime | None:
        """When it ends (UTC), as far as we can know."""
        return self.certificate.expires if self.certificate else self.noted_end

    @property
    def kind(self) -> str:
        """`certificate` or `secret`."""
        return "certificate" if self.certificate else "secret"

    def for_msal(self) -> Any:
        """The form in which msal takes it."""
        if self.certificate is None:
            return self.secret
        return {
            "private_key": self.certificate.private_key_pem,
            "public_certificate": self.certificate.public_pem,
        }


def read_certificate(text: str, passphrase: str = "") -> Certificate:
    """Read a certificate with its key; ValueError says what is wrong and quotes nothing."""
    phrase = passphrase.encode() or None
    blocks = _blocks(text)
    if not blocks:
        return _from_pkcs12(text, phrase)
    certificates = [pem for name, pem in blocks if name == "CERTIFICATE"]
    keys = [pem for name, pem in blocks if name.endswith("PRIVATE KEY")]
    if not certificates:
        raise ValueError("it holds a private key but no certificate: put both PEM blocks in it")
    if not keys:
        raise ValueError("it holds a certificate but no private key: put both PEM blocks in it")
    try:
        found = [x509.load_pem_x509_certificate(pem.encode()) for pem in certificates]
    except ValueError:
        raise ValueError("its CERTIFICATE block is damaged: copy the file again, whole") from None
    try:
        key = serialization.load_pem_private_key(keys[0].encode(), phrase)
    except TypeError:
        raise ValueError(
            "its private key is encrypted: give its passphrase as the password"
            if phrase is None
            else "a password is set beside a certificate whose key is not encrypted: a connection "
            "has a client secret or a certificate, not both (extra.next_… holds the second one)"
        ) from None
    except ValueError:
        raise ValueError("its private key is damaged, or the passphrase is wrong") from None
    except UnsupportedAlgorithm:
        raise ValueError(_NOT_RSA) from None
    return _checked(found, key)


def _blocks(text: str) -> list[tuple[str, str]]:
    """PEM blocks with their line breaks mended: forms and JSON like to lose them."""
    found = []
    for name, body in _BLOCK.findall(text.replace("\\n", "\n")):
        headers = [line for line in body.splitlines() if ":" in line]
        if headers:  # an encrypted key of the old form: its headers are lines of their own
            found.append((name, f"-----BEGIN {name}-----{body}-----END {name}-----\n"))
            continue
        packed = "".join(body.split())
        lines = "\n".join(packed[n : n + 64] for n in range(0, len(packed), 64))
        found.append((name, f"-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n"))
    return found


def _from_pkcs12(text: str, phrase: bytes | None) -> Certificate:
    try:
        data = base64.b64decode("".join(text.lstrip("\ufeff").split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "it is neither PEM (-----BEGIN …) nor base64 of a PKCS#12 file (.pfx)"
        ) from None
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(data, phrase)
    except ValueError:
        raise ValueError(
            "it is no PKCS#12 file, or its passphrase (the password) is wrong; a public "
            "certificate alone (.cer) does not do, the private key is needed"
        ) from None
    except UnsupportedAlgorithm:
        raise ValueError(_NOT_RSA) from None
    if key is None or certificate is None:
        raise ValueError("the PKCS#12 file has to hold a certificate and its private key")
    return _checked([certificate], key)


def _checked(found: Sequence[x509.Certificate], key: Any) -> Certificate:
    """The certificate of this key; others beside it are the chain of its issuer."""
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(_NOT_RSA)
    if key.key_size < LEAST_BITS:
        raise ValueError(
            f"its key has {key.key_size} bits: Entra takes RSA keys of {LEAST_BITS} bits or more"
        )
    ours = key.public_key().public_bytes(_DER, _SPKI)
    certificate = next((one for one in found if _key_of(one) == ours), None)
    if certificate is None:
        raise ValueError("the private key does not belong to the certificate")
    return Certificate(
        public_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        expires=certificate.not_valid_after_utc.astimezone(UTC),
    )


def _key_of(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(_DER, _SPKI)
    except (ValueError, UnsupportedAlgorithm):
        return b""
