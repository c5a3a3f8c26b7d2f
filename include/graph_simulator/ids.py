"""Ids that look and behave like Exchange's: opaque, case-sensitive, checkable.

An immutable id names an item for as long as it stays in its mailbox. A default id also carries
the item's version and dies when the item moves. Numbers are `mailbox << 24 | n`.
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
import zlib

__all__ = [
    "IdError",
    "change_key",
    "default_id",
    "folder_id",
    "immutable_id",
    "named_uuid",
    "parse_folder_id",
    "parse_item_id",
]

_IMMUTABLE = base64.urlsafe_b64decode("AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A")
_DEFAULT = base64.urlsafe_b64decode("AAMkAGI2TG93NjMwLTkzYmEtNDI2Ny05ODQyLWY4ZTQwMjYyMDE5YgBG")
_FOLDER = base64.urlsafe_b64decode("AQMkADAwATM3ZmYAZS05ZmQzAC0wMTlhAC0wMAItMDAKAC4AAAPsbCfd")
_TAIL = struct.Struct(">QIII")
_NAMESPACE = uuid.UUID("6c1c9d6e-4a55-4d52-9a0f-52a1f4d0b7c3")


class IdError(ValueError):
    """Text that is no id of this kind."""


def _encode(prefix: bytes, number: int, version: int) -> str:
    body = struct.pack(">QI", number, version)
    # the checksum spreads the bits, so that ids differ early and hold '-' and '_'
    check = zlib.crc32(body, len(prefix))
    return base64.urlsafe_b64encode(prefix + _TAIL.pack(number, version, check, 0)).decode()


def _decode(prefix: bytes, text: str) -> tuple[int, int]:
    try:
        raw = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise IdError("not base64") from None
    if len(raw) != len(prefix) + _TAIL.size or not raw.startswith(prefix):
        raise IdError("not an id of this kind")
    number, version, check, zero = _TAIL.unpack_from(raw, len(prefix))
    if zero or check != zlib.crc32(struct.pack(">QI", number, version), len(prefix)):
        raise IdError("checksum differs")
    return number, version


def immutable_id(number: int) -> str:
    """The id that survives moves inside the mailbox."""
    return _encode(_IMMUTABLE, number, 0)


def default_id(number: int, version: int) -> str:
    """The id that Graph gives without a Prefer header; it dies with the next move."""
    return _encode(_DEFAULT, number, version)


def folder_id(number: int) -> str:
    """A folder's id (the same in both id formats)."""
    return _encode(_FOLDER, number, 0)


def parse_item_id(text: str) -> tuple[int, int | None]:
    """(item number, version), version None for an immutable id. Raises IdError."""
    if text.startswith("AAkA"):
        return _decode(_IMMUTABLE, text)[0], None
    return _decode(_DEFAULT, text)


def parse_folder_id(text: str) -> int:
    """The folder's number. Raises IdError."""
    return _decode(_FOLDER, text)[0]


def change_key(number: int, change: int) -> str:
    """The version text that stands in `changeKey` and in the etag."""
    raw = struct.pack(">IQQ", 0x24000000, number, change)
    return base64.b64encode(raw).decode()


def named_uuid(*parts: object) -> str:
    """A UUID that is the same for the same parts, so that one seed gives one tenant."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(str(part) for part in parts)))
