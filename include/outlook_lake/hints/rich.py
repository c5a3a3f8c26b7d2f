"""Ciphertext of rich notifications, waiting beside the hints they came with.

    landing ─▶ keep (in the transaction of the hints) ─▶ take, once ─▶ looks/rich

It is never needed: who takes it takes it away, and when nothing comes of it (a key is missing,
a worker dies) the hint is still there and the item is looked at as always.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b

import msgspec
from sqlalchemy import Connection, text

from outlook_lake import clock
from outlook_lake.receiver.segments import Notification, Rich
from outlook_lake.state import Database
from outlook_lake.state.kinds import item_key
from outlook_lake.state.tables import rich as table

__all__ = ["Pouch", "Sealed", "forget_old", "take", "tenant_of"]

MOST_PER_ITEM = 8
"""In one landing; an item about which more is told is looked at."""
OLD_US = 24 * 3600 * 1_000_000
"""Machine time; what nobody took by then belongs to a mailbox that is not read."""
COLUMNS = (
    "item_key, digest, received_at, copies, token, data, signature, key, certificate, thumbprint"
)

_KEEP = text(
    f"""
    INSERT INTO rich (mailbox_id, {COLUMNS}, kept_at)
    VALUES (:mailbox_id, {", ".join(f":{name.strip()}" for name in COLUMNS.split(","))}, :kept_at)
    ON CONFLICT (mailbox_id, item_key, digest) DO UPDATE SET copies = rich.copies + 1
    """
)
_TAKE = text(
    "DELETE FROM rich WHERE mailbox_id = :mailbox_id AND item_key = :item_key AND digest = :digest"
)


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """One ciphertext. `received_at`: Graph time; `copies`: how often it came, to the letter."""

    item_key: bytes
    digest: bytes
    received_at: int
    copies: int
    token: str | None
    """The validation token of its tenant, unchecked."""
    data: str
    signature: str
    key: str
    certificate: str
    thumbprint: str

    @property
    def size(self) -> int:
        """Characters of ciphertext."""
        return len(self.data)


class _Claims(msgspec.Struct):
    tid: str = ""


_claims = msgspec.json.Decoder(_Claims)


@lru_cache(maxsize=1024)
def tenant_of(token: str) -> str:
    """The tenant a token claims, in lower case, before anybody has checked it; or empty."""
    parts = token.split(".")
    try:
        body = base64.urlsafe_b64decode(parts[1] + "==") if len(parts) == 3 else b""
        return _claims.decode(body).tid.lower()
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return ""


class Pouch:
    """What one landing keeps."""

    def __init__(self) -> None:
        self._tokens: list[str] = []
        self._rows: dict[tuple[int, bytes], list[dict[str, object]]] = {}

    def hear(self, note: Notification) -> None:
        """Learn the tokens of a POST; of every notification, in the order they came."""
        if note.rich is not None and note.rich.tokens is not None:
            self._tokens = note.rich.tokens

    def add(self, mailbox_id: int, note: Notification) -> None:
        """Keep what belongs to a notification that became a hint."""
        if note.rich is None or note.item is None:
            return
        rows = self._rows.setdefault((mailbox_id, item_key(note.item)), [])
        if len(rows) < MOST_PER_ITEM:
            token = next((t for t in self._tokens if tenant_of(t) == note.tenant.lower()), None)
            rows.append(_row(mailbox_id, note.item, note.received_at, note.rich, token))

    def store(self, connection: Connection) -> None:
        """Write it down."""
        rows = [row for some in self._rows.values() for row in some]
        if rows:
            connection.execute(_KEEP, rows)


def _row(
    mailbox_id: int, item: str, received_at: int, rich: Rich, token: str | None
) -> dict[str, object]:
    return {
        "mailbox_id": mailbox_id,
        "item_key": item_key(item),
        "digest": blake2b(f"{rich.data}.{rich.key}".encode(), digest_size=16).digest(),
        "received_at": received_at,
        "copies": 1,
        "token": token,
        "data": rich.data,
        "signature": rich.signature,
        "key": rich.key,
        "certificate": rich.certificate,
        "thumbprint": rich.thumbprint,
        "kept_at": clock.machine_us(),
    }


def take(
    db: Database, wanted: Mapping[int, Iterable[bytes]]
) -> dict[tuple[int, bytes], list[Sealed]]:
    """Take away what waits for these items (keys by mailbox), oldest first."""
    found: dict[tuple[int, bytes], list[Sealed]] = {}
    keys = {(mailbox_id, key) for mailbox_id, some in wanted.items() for key in some}
    ids = sorted(wanted)
    with db.read() as connection:
        for start in range(0, len(ids), 500):
            some = ",".join(str(int(mailbox_id)) for mailbox_id in ids[start : start + 500])
            for row in connection.execute(
                text(
                    f"SELECT mailbox_id, {COLUMNS} FROM rich WHERE mailbox_id IN ({some}) "
                    "ORDER BY received_at"
                )
            ):
                if (row[0], row[1]) in keys:
                    found.setdefault((row[0], row[1]), []).append(Sealed(*row[1:]))
    if found:
        with db.write() as connection:
            connection.execute(
                _TAKE,
                [
                    {"mailbox_id": place[0], "item_key": place[1], "digest": one.digest}
                    for place, some in found.items()
                    for one in some
                ],
            )
    return found


def forget_old(db: Database) -> int:
    """Take away what nobody took for a day; how many."""
    with db.write() as connection:
        return connection.execute(
            table.delete().where(table.c.kept_at < clock.machine_us() - OLD_US)
        ).rowcount
