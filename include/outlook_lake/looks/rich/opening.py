"""One ciphertext opened: RSA-OAEP (SHA-1), HMAC-SHA256 before AES-256-CBC, typed decoding.

Nothing raises but `Unusable`, whose reason is a word of the quarantine table. What is decoded
has no place for anything that is not on the allow-list of looks.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from outlook_lake.graph.messages import Message, decode_message
from outlook_lake.hints.rich import Sealed
from outlook_lake.looks.decode import is_whole
from outlook_lake.state.kinds import item_key

__all__ = ["REASONS", "PrivateKeys", "Unusable", "open_sealed"]

REASONS = (
    "bad_shape",  # not what Graph sends, left out by the receiver already
    "unknown_certificate",
    "bad_base64",
    "bad_key",  # its key was not encrypted for our certificate
    "bad_signature",
    "bad_cipher",
    "not_a_message",
    "another_item",
    "not_whole",
)

_SHA1 = hashes.SHA1()
_OAEP = padding.OAEP(mgf=padding.MGF1(_SHA1), algorithm=_SHA1, label=None)
_KEY_BYTES = 32
_BLOCK = 16


class Unusable(Exception):
    """Why nothing can be learnt from a rich notification."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class PrivateKeys:
    """The private keys, by id of the certificate and by its SHA-1 thumbprint (upper case)."""

    by_id: Mapping[str, RSAPrivateKey]
    by_thumbprint: Mapping[str, RSAPrivateKey]

    def of(self, certificate: str, thumbprint: str) -> RSAPrivateKey | None:
        """The key of the certificate something was encrypted for."""
        return self.by_id.get(certificate) or self.by_thumbprint.get(thumbprint.upper())


def open_sealed(sealed: Sealed, keys: PrivateKeys) -> Message:
    """The message in a ciphertext. Raises Unusable."""
    if not sealed.data:
        raise Unusable("bad_shape")
    private = keys.of(sealed.certificate, sealed.thumbprint)
    if private is None:
        raise Unusable("unknown_certificate")
    data, signature, wrapped = (
        _bytes(text) for text in (sealed.data, sealed.signature, sealed.key)
    )
    try:
        key = private.decrypt(wrapped, _OAEP)
    except ValueError:
        raise Unusable("bad_key") from None
    if len(key) != _KEY_BYTES:
        raise Unusable("bad_key")
    if not hmac.compare_digest(hmac.digest(key, data, hashlib.sha256), signature):
        raise Unusable("bad_signature")
    return _message(_decrypted(key, data), sealed.item_key)


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("bad_base64") from None


def _decrypted(key: bytes, data: bytes) -> bytes:
    if not data or len(data) % _BLOCK:
        raise Unusable("bad_cipher")
    aes = Cipher(algorithms.AES(key), modes.CBC(key[:_BLOCK])).decryptor()
    unpadder = PKCS7(_BLOCK * 8).unpadder()
    try:
        padded = aes.update(data) + aes.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise Unusable("bad_cipher") from None


def _message(content: bytes, key: bytes) -> Message:
    try:
        message = decode_message(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unusable("not_a_message") from None
    try:
        mine = item_key(message.id) == key
    except UnicodeEncodeError:
        mine = False
    if not mine:
        raise Unusable("another_item")
    if not is_whole(message):  # what it leaves out would look like a change
        raise Unusable("not_whole")
    return message
