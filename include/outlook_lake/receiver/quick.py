"""The usual POST, judged in a third of the time: plain items of subscriptions proven before.

Takes a POST whole or not at all. One item that is anything else (rich, a lifecycle item, forged,
misshapen) sends all of it to `sifting`, which is the rule; this is only its short way, and the
record it makes is the same to the byte (a test compares them).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from outlook_lake.receiver.client_state import Proof
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.segments import Notification, record
from outlook_lake.receiver.sifting import MOST_ITEMS, Sifted

__all__ = ["Quick"]

MOST_REMEMBERED = 131_072
"""Subscriptions, about 700 bytes each. Only proven ones: forgeries cannot push them out."""

_ID_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=+/-"
_LONGEST_ID = 512
_SUBSCRIPTION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHANGES = {
    change: f',"change":"{change}","item":"' for change in ("created", "updated", "deleted")
}


class _ResourceData(msgspec.Struct, gc=False):
    id: str


class _Item(msgspec.Struct, gc=False, rename="camel"):
    subscription_id: str
    client_state: str
    tenant_id: str
    change_type: str
    resource: str
    resource_data: _ResourceData
    lifecycle_event: msgspec.Raw | None = None
    encrypted_content: msgspec.Raw | None = None


class _Post(msgspec.Struct):
    value: list[_Item]


class _Known(NamedTuple):
    """What must be the same again, and how the record of such an item begins."""

    tenant: str
    subscription: str
    mailbox: str
    begins: str


_decode = msgspec.json.Decoder(_Post).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Quick:
    """Belongs to one event loop. Forgets everything when the keys change."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._check = keyring.check
        self._known: dict[str, _Known] = {}

    def sift(self, body: bytes, received_at: int, vouched_since: int | None) -> Sifted | None:
        """As `sifting.sift`, or None when it is to decide. Times: microseconds, Graph time."""
        if self._check is not self._keyring.check:
            self._check = self._keyring.check
            self._known.clear()
        try:
            items = _decode(body).value
        except _UNREADABLE:
            return None
        if not 0 < len(items) <= MOST_ITEMS:
            return None
        made: list[str] = []
        ids: list[str] = []
        known = self._known
        stamp = str(received_at)
        ends = '"}' if vouched_since is None else f'","vouched_since":{vouched_since}}}'
        for item in items:
            found = known.get(item.client_state)
            if (
                found is None
                or found.tenant != item.tenant_id
                or found.subscription != item.subscription_id
                or found.mailbox != item.resource[6:42]
            ):
                found = self._prove(item)
            change = _CHANGES.get(item.change_type)
            id_ = item.resource_data.id
            if (
                found is None
                or change is None
                or item.resource[:6] != "Users/"
                or item.resource[42:43] != "/"
                or item.lifecycle_event is not None
                or item.encrypted_content is not None
                or not 0 < len(id_) <= _LONGEST_ID
            ):
                return None
            ids.append(id_)
            made.append(f"{found.begins}{stamp}{change}{id_}{ends}")
        try:
            if "".join(ids).encode().translate(None, _ID_CHARACTERS):
                return None
        except UnicodeEncodeError:
            return None
        return Sifted(record(b"n", f"[{','.join(made)}]".encode()), len(made), ())

    def _prove(self, item: _Item) -> _Known | None:
        mailbox = item.resource[6:42]
        if not item.tenant_id.isascii() or not _SUBSCRIPTION.fullmatch(item.subscription_id):
            return None
        if item.resource[14:15] != "-" or not mailbox.isascii():
            return None
        proof = self._check(item.client_state, item.tenant_id, mailbox)
        if not isinstance(proof, Proof):
            return None
        whole = Notification(proof.nonce, proof.key_id, item.tenant_id, item.subscription_id, 0)
        begins = msgspec.json.encode(whole).decode().removesuffix("0}")
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        found = _Known(item.tenant_id, item.subscription_id, mailbox, begins)
        self._known[item.client_state] = found
        return found
