"""`clientState`: the proof a notification carries that we asked for it.

    1.<key id>.<nonce>.<tag>.<mac>          base64url without padding, about 70 characters

`tag` = 8 bytes of HMAC(key, mailbox), `mac` = 16 bytes of HMAC(key, version, tenant, nonce,
tag). Any number of receivers check it with the key file alone; the nonce leads landing to
the subscription. Graph keeps at most 128 characters.

    state/keys/client_state.json   {"keys": [{"id", "secret", "created_at", "retired_at"}]}

The newest key stands last and signs; a retired one only still proves (`rotation`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from outlook_lake.clock import machine_us
from outlook_lake.errors import StateError

__all__ = [
    "Key",
    "KeyFile",
    "KeyRecord",
    "Proof",
    "Refusal",
    "Verifier",
    "check",
    "ensure_keys",
    "load_keys",
    "make",
    "new_nonce",
    "new_record",
    "newest",
    "sync_folder",
    "write_private",
]

VERSION = "1"
KEY_FILE = "client_state.json"
MAX_LENGTH = 128
"""Graph's limit on `clientState` (graph-facts: 128, although one page says 255 on receipt)."""

_TAG_BYTES = 8
_MAC_BYTES = 16
_CACHED_PROOFS = 131_072
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key. `created_at`, `retired_at`: microseconds, machine time; 0 = not retired."""

    key_id: str
    secret: bytes
    created_at: int = 0
    retired_at: int = 0

    def __repr__(self) -> str:
        return f"Key({self.key_id!r})"


@dataclass(frozen=True, slots=True)
class Proof:
    """A `clientState` that one of our keys made for this tenant and mailbox."""

    nonce: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a `clientState` proves nothing; `reason` is a word of the quarantine table."""

    reason: str


class KeyRecord(msgspec.Struct, omit_defaults=True):
    """A key as its file holds it."""

    id: str
    secret: str
    created_at: int = 0
    retired_at: int = 0


class KeyFile(msgspec.Struct):
    """The file of keys, oldest first."""

    keys: list[KeyRecord]


def new_record() -> KeyRecord:
    """A fresh key: 32 random bytes."""
    return KeyRecord(
        id=secrets.token_hex(4), secret=_b64(secrets.token_bytes(32)), created_at=machine_us()
    )


def make(key: Key, tenant_id: str, mailbox_id: str, nonce: str) -> str:
    """The `clientState` of one subscription. `mailbox_id` is the user's Entra object id.

    Raises ValueError when the nonce or key id holds anything but base64url characters.
    """
    if not _WORD.fullmatch(nonce) or not _WORD.fullmatch(key.key_id):
        raise ValueError("nonce and key id hold 1-64 characters of A-Z a-z 0-9 _ -")
    tag = _tag(key, mailbox_id)
    state = f"{VERSION}.{key.key_id}.{nonce}.{tag}.{_mac(key, tenant_id, nonce, tag)}"
    if len(state) > MAX_LENGTH:
        raise ValueError(f"clientState has {len(state)} characters, Graph keeps {MAX_LENGTH}")
    return state


def check(
    keys: Mapping[str, Key], client_state: str, tenant_id: str, mailbox_id: str | None
) -> Proof | Refusal:
    """Whether one of `keys` made this `clientState`; constant time in what is secret.

    `mailbox_id` is None where the item names no mailbox (lifecycle notifications).
    """
    parts = client_state.split(".") if len(client_state) <= MAX_LENGTH else []
    if len(parts) != 5 or parts[0] != VERSION or not client_state.isascii():
        return Refusal("bad_client_state")
    _, key_id, nonce, tag, mac = parts
    if not _WORD.fullmatch(nonce):
        return Refusal("bad_client_state")
    key = keys.get(key_id)
    if key is None:
        return Refusal("unknown_key")
    if not hmac.compare_digest(_mac(key, tenant_id, nonce, tag), mac):
        return Refusal("forged")
    if mailbox_id is not None and not hmac.compare_digest(_tag(key, mailbox_id), tag):
        return Refusal("other_mailbox")
    return Proof(nonce, key_id)


class Verifier:
    """`check` with the answers of the busiest subscriptions remembered.

    Only proofs are remembered: a flood of forgeries cannot push them out.
    """

    def __init__(self, keys: Mapping[str, Key]) -> None:
        @lru_cache(maxsize=_CACHED_PROOFS)
        def proven(client_state: str, tenant_id: str, mailbox_id: str | None) -> Proof:
            answer = check(keys, client_state, tenant_id, mailbox_id)
            if isinstance(answer, Refusal):
                raise _Refused(answer)
            return answer

        self._proven = proven

    def check(self, client_state: str, tenant_id: str, mailbox_id: str | None) -> Proof | Refusal:
        """As `check` with this verifier's keys."""
        try:
            return self._proven(client_state, tenant_id, mailbox_id)
        except _Refused as refused:
            return refused.refusal


class _Refused(Exception):
    """Carries a refusal past the cache, which keeps returned values only."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def load_keys(folder: Path) -> dict[str, Key]:
    """All keys by id, oldest first; StateError in words when the file cannot be used."""
    path = folder / KEY_FILE
    try:
        records = msgspec.json.decode(path.read_bytes(), type=KeyFile).keys
        keys = {
            record.id: Key(
                record.id,
                base64.urlsafe_b64decode(record.secret + "=="),
                record.created_at,
                record.retired_at,
            )
            for record in records
        }
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise StateError(
            f"the key file {path} cannot be used ({type(error).__name__}). Restore it from a "
            "backup; without it every notification of the present subscriptions is refused."
        ) from None
    if not keys or any(len(key.secret) < 32 for key in keys.values()):
        raise StateError(f"the key file {path} holds no usable key (32 bytes or more).")
    return keys


def ensure_keys(folder: Path) -> dict[str, Key]:
    """Load the keys, making the first one (0600, durable) where there is none.

    Many processes may start at once: the first to link its file wins, all read the same.
    """
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
        try:
            write_private(beside, msgspec.json.encode(KeyFile([new_record()])))
            with suppress(FileExistsError):  # another process was first; its key counts
                os.link(beside, path)
            sync_folder(folder)
        except OSError as error:
            raise StateError(
                f"the first key cannot be written to {folder}: {error.strerror}."
            ) from error
        finally:
            beside.unlink(missing_ok=True)
    return load_keys(folder)


def newest(keys: Mapping[str, Key]) -> Key:
    """The key new subscriptions are signed with: the last one that is not retired."""
    serving = [key for key in keys.values() if not key.retired_at]
    return (serving or list(keys.values()))[-1]


def new_nonce() -> str:
    """A fresh nonce, 16 random bytes: the primary key of a subscription row."""
    return _b64(secrets.token_bytes(16))


def _tag(key: Key, mailbox_id: str) -> str:
    digest = hmac.digest(key.secret, mailbox_id.lower().encode(), hashlib.sha256)
    return _b64(digest[:_TAG_BYTES])


def _mac(key: Key, tenant_id: str, nonce: str, tag: str) -> str:
    text = "|".join((VERSION, tenant_id.lower(), nonce, tag))
    return _b64(hmac.digest(key.secret, text.encode(), hashlib.sha256)[:_MAC_BYTES])


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write_private(file: Path, data: bytes) -> None:
    """Write a new file of mode 0600, durably."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
