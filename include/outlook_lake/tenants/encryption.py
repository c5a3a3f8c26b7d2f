"""Key pairs that rich notifications are encrypted for: one PEM file each, key and certificate.

    state/keys/rich/<certificate id>.pem     0600; ids sort by when they were made

Graph gets the certificate, which says nothing and is signed by itself. New and renewed
subscriptions use the newest pair; an older one opens what was encrypted for it until nothing
refers to it any more.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from outlook_lake.clock import machine_now
from outlook_lake.errors import StateError
from outlook_lake.receiver.client_state import sync_folder, write_private

__all__ = ["KeyPair", "ensure_pairs", "forget_pairs", "load_pairs", "make_pair"]

KEY_BITS = 2048
"""Graph takes 2048 to 4096; opening costs 0.7 ms with 2048 and 4.8 ms with 4096."""
LIFE = timedelta(days=3 * 365)
GOES_ON = timedelta(hours=4)
"""Graph delivers again for so long; a pair is kept at least so long after it was replaced."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, which never shows in a repr."""

    cert_id: str
    certificate: str
    """Base64 of the DER form, as a subscription takes it."""
    thumbprint: str
    """SHA-1 in upper-case hexadecimal digits."""
    private: rsa.RSAPrivateKey
    made_at: datetime

    def __repr__(self) -> str:
        return f"KeyPair({self.cert_id!r})"


def load_pairs(folder: Path) -> list[KeyPair]:
    """All pairs, oldest first; StateError in words when a file cannot be used."""
    return [_read(path) for path in sorted(folder.glob("*.pem"))]


def ensure_pairs(folder: Path) -> list[KeyPair]:
    """As `load_pairs`, making the first one where there is none."""
    pairs = load_pairs(folder)
    return pairs or [make_pair(folder)]


def make_pair(folder: Path) -> KeyPair:
    """Another pair, durable: the newest from now on."""
    now = machine_now()
    name = f"rich-{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(3)}"
    private = rsa.generate_private_key(65537, KEY_BITS)
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outlook-lake")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(common)
        .issuer_name(common)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
        .sign(private, hashes.SHA256())
    )
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text += certificate.public_bytes(Encoding.PEM)
    path, beside = folder / f"{name}.pem", folder / f".{name}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(beside, text)
        beside.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise StateError(f"a key pair cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
    return _read(path)


def forget_pairs(folder: Path, in_use: Collection[str]) -> list[str]:
    """Delete pairs nothing of `in_use` refers to, but for the newest and fresh ones; their ids."""
    pairs = load_pairs(folder)
    gone = [
        older.cert_id
        for older, newer in pairwise(pairs)
        if older.cert_id not in in_use and newer.made_at + GOES_ON < machine_now()
    ]
    for name in gone:
        with suppress(FileNotFoundError):
            (folder / f"{name}.pem").unlink()
    return gone


def _read(path: Path) -> KeyPair:
    try:
        text = path.read_bytes()
        private = load_pem_private_key(text, None)
        certificate = x509.load_pem_x509_certificate(text)
    except (OSError, ValueError, TypeError) as error:
        raise StateError(
            f"the key pair {path} cannot be used ({type(error).__name__}). Restore it from a "
            "backup, or move it away: what was encrypted for it is then looked at instead."
        ) from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise StateError(f"the key pair {path} is not RSA")
    return KeyPair(
        cert_id=path.stem,
        certificate=base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex().upper(),
        private=private,
        made_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
    )
