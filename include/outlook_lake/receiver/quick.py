"""The usual POST, judged in a third of the time: plain items of subscriptions proven before.

Takes a POST whole or not at all. One item that is anything else (rich, a lifecycle item, forged,
misshapen) sends all of it to `sifting`, which is the rule; this is only its short way, and the
record it makes is the same to the byte (a test compares them).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from outlook_lake.receiver.client_state import Proof
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.segments import Notification, record
from outlook_lake.receiver.sifting import MOST_ITEMS, Sifted

__all__ = ["Quick"]

MOST_REMEMBERED = 131_072
"""Subscriptions, about 700 bytes each. Only proven ones: forgeries cannot push them out."""

_ID_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=+/-"
_SUBSCRIPTION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHANGES = {
    change: f',"change":"{change}","item":"' for change in ("created", "updated", "deleted")
}


class _ResourceData(msgspec.Struct, gc=False):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class _Item(msgspec.Struct, gc=False, rename="camel"):
    subscription_id: str
    client_state: str
    tenant_id: str
    change_type: Literal["created", "updated", "deleted"]
    resource: str
    resource_data: _ResourceData
    lifecycle_event: None = None
    encrypted_content: None = None


class _Post(msgspec.Struct):
    value: list[_Item]


_Known = tuple[str, str, str, str]
"""Tenant, subscription and the begin of the resource, which must be the same again; and how the
record of such an item begins."""

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
                or found[0] != item.tenant_id
                or found[1] != item.subscription_id
                or not item.resource.startswith(found[2])
            ):
                found = self._prove(item)
                if found is None:
                    return None
            id_ = item.resource_data.id
            ids.append(id_)
            made.append(f"{found[3]}{stamp}{_CHANGES[item.change_type]}{id_}{ends}")
        try:
            if "".join(ids).encode().translate(None, _ID_CHARACTERS):
                return None
        except UnicodeEncodeError:
            return None
        return Sifted(record(b"n", f"[{','.join(made)}]".encode()), len(made), ())

    def _prove(self, item: _Item) -> _Known | None:
        resource = item.resource
        mailbox = resource[6:42]
        if not item.tenant_id.isascii() or not _SUBSCRIPTION.fullmatch(item.subscription_id):
            return None
        if resource[:6] != "Users/" or resource[14:15] != "-" or resource[42:43] != "/":
            return None
        proof = self._check(item.client_state, item.tenant_id, mailbox)
        if not isinstance(proof, Proof):
            return None
        whole = Notification(proof.nonce, proof.key_id, item.tenant_id, item.subscription_id, 0)
        begins = msgspec.json.encode(whole).decode().removesuffix("0}")
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        found = (item.tenant_id, item.subscription_id, resource[:43], begins)
        self._known[item.client_state] = found
        return found
