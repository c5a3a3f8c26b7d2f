"""Opaque tokens of paging and delta: everything a continuation needs, with a checksum.

The token holds the round's state, so nothing has to be remembered between two pages and a
restart changes nothing. What makes tokens die is their age in Graph time, and faults.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import msgspec

from graph_simulator.errors import GraphError

__all__ = ["pack", "sync_state_lost", "unpack"]


def pack(values: list[Any]) -> str:
    """Text of a list of numbers and short strings."""
    body = msgspec.msgpack.encode(values)
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode()


def unpack(text: str, kind: str) -> list[Any]:
    """The list behind a token of this kind. Raises GraphError (400) for anything else."""
    try:
        raw = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
        if zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
            raise ValueError("checksum")
        values = msgspec.msgpack.decode(raw[4:])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        values = None
    if not isinstance(values, list) or not values or values[0] != kind:
        raise GraphError(400, "SyncStateInvalid", "The sync state is not valid.")
    return values


def sync_state_lost() -> GraphError:
    """410: the token's generation is gone, start over."""
    return GraphError(
        410,
        "SyncStateNotFound",
        "The sync state generation is not found; generation=518;[highest=523][523][521][522]",
    )
