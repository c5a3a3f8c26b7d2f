"""Why an item should be looked at: a set of bits, joined when hints coalesce."""

from __future__ import annotations

from enum import IntFlag
from hashlib import blake2b

__all__ = ["NOTIFIED", "OF_CHANGE", "HintKind", "item_key"]


class HintKind(IntFlag):
    """One bit a reason; `hint.kinds` in the state database holds their sum."""

    CREATED = 1
    UPDATED = 2
    DELETED = 4
    REMOVED = 8  # a delta row said @removed
    RETRY = 16  # Graph could not answer
    DOUBT = 32  # we are not sure: partial row, fresh look, resync, lag
    OPERATOR = 64  # a person asked


NOTIFIED = HintKind.CREATED | HintKind.UPDATED | HintKind.DELETED
"""Kinds that came from a notification: their first_at dates a change."""

OF_CHANGE = {
    "created": HintKind.CREATED,
    "updated": HintKind.UPDATED,
    "deleted": HintKind.DELETED,
}


def item_key(item_id: str) -> bytes:
    """BLAKE2b-128 of an immutable id: 16 bytes, what the inventory and the events join on."""
    return blake2b(item_id.encode(), digest_size=16).digest()
