"""From the bytes of a POST to the few fields that may pass.

Decoding is typed: only the members named here are ever turned into values; whatever else
a POST holds (a subject, a body, a sender) is skipped by the parser. Each item is judged
alone, so that a bad one leaves its neighbours unharmed. What is encrypted is kept unread, as
five strings of bounded size; the workers judge it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from outlook_lake.receiver.client_state import Refusal
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.segments import Notification, Rich, record

__all__ = ["MalformedPostError", "Sifted", "TooManyItemsError", "sift"]

MOST_ITEMS = 5000
"""Per POST. Graph's own limit is not documented; 1 MiB holds about 1,100 real items."""

MOST_COMMAS = 16 * MOST_ITEMS
"""Counted before anything is decoded: a third of a million empty items take 0.2 s."""

MOST_CIPHERTEXT = 64 * 1024
"""Characters of base64; a message with 500 recipients fits."""
MOST_TOKENS = 8
LONGEST_TOKEN = 8192
"""Per POST: one for each tenant, of about 1,600 characters."""

CHANGES = frozenset(("created", "updated", "deleted"))
LIFECYCLES = frozenset(("reauthorizationRequired", "subscriptionRemoved", "missed"))

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ITEM_ID = re.compile(r"[A-Za-z0-9_=+/-]{1,512}")
_GUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_MAILBOX = re.compile(rf"/?users(?:/|\(')({_GUID})(?:@[^/']*)?(?:'\))?(?:/|$)", re.IGNORECASE)
_ITEM_IN_PATH = re.compile(r"/messages(?:/([^/']+)|\('([^']+)'\))$", re.IGNORECASE)
_HALF_A_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


class MalformedPostError(ValueError):
    """The body is not JSON with a list called `value`."""


class TooManyItemsError(ValueError):
    """More items than one POST may hold."""


ABSENT = msgspec.Raw(b"")


class _ResourceData(msgspec.Struct, gc=False):
    id: str | None = None


class _Item(msgspec.Struct, gc=False, rename="camel"):
    subscription_id: str | None = None
    client_state: str | None = None
    tenant_id: str | None = None
    change_type: str | None = None
    lifecycle_event: str | None = None
    resource: str | None = None
    resource_data: _ResourceData | None = None
    encrypted_content: msgspec.Raw = ABSENT


class _Encrypted(msgspec.Struct, gc=False, rename="camel"):
    data: str
    data_signature: str
    data_key: str
    encryption_certificate_id: str = ""
    encryption_certificate_thumbprint: str = ""


class _Post(msgspec.Struct, rename="camel"):
    value: list[_Item]
    validation_tokens: msgspec.Raw = ABSENT


class _RawPost(msgspec.Struct, rename="camel"):
    value: list[msgspec.Raw]
    validation_tokens: msgspec.Raw = ABSENT


class Refused(NamedTuple):
    """One item that does not pass: why, and its bytes for the sample's digest."""

    reason: str
    content: memoryview


class Sifted(NamedTuple):
    """`line` is the segment record of what passed (empty when nothing did)."""

    line: bytes
    passed: int
    refused: Sequence[Refused]


_posts = msgspec.json.Decoder(_Post)
_raw_posts = msgspec.json.Decoder(_RawPost)
_items = msgspec.json.Decoder(_Item)
_encrypted = msgspec.json.Decoder(_Encrypted)
_tokens = msgspec.json.Decoder(list[str])
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def sift(body: bytes, keyring: Keyring, received_at: int, vouched_since: int | None) -> Sifted:
    """Judge every item of a POST. Times: microseconds, Graph time.

    Raises MalformedPostError or TooManyItemsError when the POST as a whole cannot be.
    """
    items: Sequence[_Item | None]
    if body.count(b",") > MOST_COMMAS:
        raise TooManyItemsError
    try:
        post = _posts.decode(body)
        items, vouchers = post.value, post.validation_tokens
    except _UNREADABLE:
        # Malformed, or only one item is: a field of a wrong type, half a surrogate pair.
        if b"\\ud" in body or b"\\uD" in body:
            body = _HALF_A_PAIR.sub(rb"\\ufffd", body)
        items, vouchers = _decode_singly(body)
    if len(items) > MOST_ITEMS:
        raise TooManyItemsError
    passed: list[Notification] = []
    rich = False
    reasons: list[tuple[int, str]] = []
    for index, item in enumerate(items):
        made = "bad_shape" if item is None else _judge(item, keyring, received_at, vouched_since)
        if isinstance(made, str):
            reasons.append((index, made))
        else:
            passed.append(made)
            rich = rich or made.rich is not None
    if rich:
        _vouch(passed, vouchers)
    line = record(b"n", _encode(passed)) if passed else b""
    if not reasons:
        return Sifted(line, len(passed), ())
    raw = _decode_raw(body).value  # once more, for the sizes and digests of what was refused
    return Sifted(line, len(passed), [Refused(why, memoryview(raw[i])) for i, why in reasons])


def _decode_singly(body: bytes) -> tuple[Sequence[_Item | None], msgspec.Raw]:
    post = _decode_raw(body)
    if len(post.value) > MOST_ITEMS:
        raise TooManyItemsError
    return [_decode_item(item) for item in post.value], post.validation_tokens


def _decode_raw(body: bytes) -> _RawPost:
    try:
        return _raw_posts.decode(body)
    except _UNREADABLE:
        raise MalformedPostError from None


def _decode_item(raw: msgspec.Raw) -> _Item | None:
    try:
        return _items.decode(raw)
    except _UNREADABLE:
        return None


def _judge(
    item: _Item, keyring: Keyring, received_at: int, vouched_since: int | None
) -> Notification | str:
    """The notification, or the reason why there is none."""
    state, tenant, subscription = item.client_state, item.tenant_id, item.subscription_id
    if not state:
        return "no_client_state"
    if tenant is None or not tenant.isascii():
        return "bad_tenant"
    if subscription is None or not _ID.fullmatch(subscription):
        return "bad_subscription"
    resource = item.resource or ""
    mailbox = _mailbox_of(resource)
    proof = keyring.check(state, tenant, mailbox)
    if isinstance(proof, Refusal) and proof.reason == "unknown_key":
        keyring.refresh()
        proof = keyring.check(state, tenant, mailbox)
    if isinstance(proof, Refusal):
        # A proven tenant is one we signed for, so only a refused one is looked at closely.
        return proof.reason if _ID.fullmatch(tenant) else "bad_tenant"
    change, lifecycle, item_id = item.change_type, item.lifecycle_event, None
    if lifecycle is not None:
        if lifecycle not in LIFECYCLES:
            return "bad_change"
        change = None
    else:
        if change not in CHANGES:
            return "bad_change"
        item_id = _item_of(item, resource)
        if item_id is None or not _ITEM_ID.fullmatch(item_id):
            return "bad_item_id"
    return Notification(
        proof.nonce,
        proof.key_id,
        tenant,
        subscription,
        received_at,
        change,
        lifecycle,
        item_id,
        vouched_since,
        _rich_of(bytes(item.encrypted_content)),
    )


def _rich_of(content: bytes) -> Rich | None:
    """The encrypted part, unread. What is not what Graph sends stays behind, empty."""
    if content in (b"", b"null"):
        return None
    try:
        found = _encrypted.decode(content)
    except _UNREADABLE:
        return Rich()
    parts = (
        found.data,
        found.data_signature,
        found.data_key,
        found.encryption_certificate_id,
        found.encryption_certificate_thumbprint,
    )
    limits = (MOST_CIPHERTEXT, 64, 1024, 128, 64)
    sound = all(
        len(part) <= most and part.isascii() for part, most in zip(parts, limits, strict=True)
    )
    return Rich(*parts) if sound else Rich()


def _vouch(passed: list[Notification], vouchers: msgspec.Raw) -> None:
    """Give the tokens of the POST to the first of its rich notifications."""
    try:
        tokens = _tokens.decode(vouchers)
    except _UNREADABLE:
        tokens = []
    fit = [token for token in tokens if len(token) <= LONGEST_TOKEN and token.isascii()]
    for index, one in enumerate(passed):
        if one.rich is not None:
            rich = msgspec.structs.replace(one.rich, tokens=fit[:MOST_TOKENS])
            passed[index] = msgspec.structs.replace(one, rich=rich)
            return


def _mailbox_of(resource: str) -> str | None:
    """The user a resource names by object id; Graph spells it in several ways."""
    # The usual spelling, without a regular expression: Users/{guid}/Messages/{id}
    if resource[:6] == "Users/" and resource[14:15] == "-" and resource[42:43] == "/":
        return resource[6:42]
    match = _MAILBOX.match(resource)
    return match[1] if match else None


def _item_of(item: _Item, resource: str) -> str | None:
    """`resourceData.id`, or the last part of the resource; an id keeps its case."""
    if item.resource_data is not None and item.resource_data.id is not None:
        return item.resource_data.id
    match = _ITEM_IN_PATH.search(resource)
    return (match[1] or match[2]) if match else None
