"""The directory: the one place where addresses and names live, found by keyed hash.

Events hold 16-byte keys; whoever may see people joins this table, and erasing a row makes
the whole lake forget. The hash key is `state/keys/directory.json`: without it nobody can
test whether an address occurs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, select, text

from outlook_lake.clock import machine_us
from outlook_lake.errors import StateError, StorageError
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import directory, mailbox, tenant

__all__ = [
    "DIRECTORY_SCHEMA",
    "DirectoryKey",
    "Person",
    "address_key",
    "address_keys",
    "ensure_key",
    "export_directory",
    "forget",
    "remember",
]

KEY_FILE = "directory.json"
KEY_BYTES = 16
_CHUNK = 5_000

DIRECTORY_SCHEMA = pa.schema(
    [
        ("tenant_id", pa.string()),
        ("address_key", pa.binary(KEY_BYTES)),
        ("tuid", pa.string()),
        ("address", pa.string()),
        ("name", pa.string()),
        ("domain", pa.string()),
        ("first_seen", pa.timestamp("us", tz="UTC")),
        ("last_seen", pa.timestamp("us", tz="UTC")),
    ]
)

# A row nothing new is said about is left alone for an hour of Graph time: most calls then
# write nothing.
_REMEMBER = text(
    """
    INSERT INTO directory (tenant_id, address_key, mailbox_id, address, name, domain,
                           first_seen, last_seen)
    VALUES (:tenant_id, :address_key, :mailbox_id, :address, :name, :domain, :seen_at, :seen_at)
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET
        mailbox_id = coalesce(excluded.mailbox_id, directory.mailbox_id),
        name = coalesce(excluded.name, directory.name),
        last_seen = CASE WHEN directory.last_seen > excluded.last_seen
                         THEN directory.last_seen ELSE excluded.last_seen END
    WHERE directory.address <> ''
      AND (excluded.last_seen >= directory.last_seen + 3600000000
           OR (excluded.mailbox_id IS NOT NULL
               AND (directory.mailbox_id IS NULL OR directory.mailbox_id <> excluded.mailbox_id))
           OR (excluded.name IS NOT NULL
               AND (directory.name IS NULL OR directory.name <> excluded.name)))
    """
)

_FORGET = text(
    """
    INSERT INTO directory (tenant_id, address_key, mailbox_id, address, name, domain,
                           first_seen, last_seen)
    VALUES (:tenant_id, :address_key, NULL, '', NULL, '', :seen_at, :seen_at)
    ON CONFLICT (tenant_id, address_key) DO UPDATE SET
        mailbox_id = NULL, address = '', name = NULL, domain = '', last_seen = excluded.last_seen
    WHERE directory.address <> ''
    """
)


@dataclass(frozen=True, slots=True)
class DirectoryKey:
    """The secret addresses are hashed with; never shown."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """One address for the directory. `mailbox_id` when it belongs to a mailbox in scope."""

    address: str
    name: str | None = None
    mailbox_id: int | None = None


def ensure_key(folder: Path) -> DirectoryKey:
    """The key of this home, made (0600, durable) where there is none; the first maker wins."""
    path = folder / KEY_FILE
    if not path.exists():
        _make_key(folder, path)
    try:
        secret = base64.urlsafe_b64decode(json.loads(path.read_text(encoding="utf-8"))["secret"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"the directory's key file cannot be used ({type(error).__name__}): restore "
            f"state/keys/{KEY_FILE} from a backup. With another key no sender of old events "
            "could be found again."
        ) from None
    if len(secret) < 32:
        raise StateError(f"state/keys/{KEY_FILE} holds no usable key (32 bytes or more)")
    return DirectoryKey(secret)


def address_key(key: DirectoryKey, address: str) -> bytes:
    """The keyed hash that stands for an address; spelling in capitals makes no difference."""
    normal = address.strip().lower().encode()
    return hmac.digest(key.secret, normal, hashlib.sha256)[:KEY_BYTES]


def address_keys(key: DirectoryKey, addresses: Sequence[str | None] | pa.Array) -> pa.Array:
    """Keyed hashes of a column of addresses, null for null; each distinct one is hashed once."""
    column = addresses if isinstance(addresses, pa.Array) else pa.array(addresses, pa.string())
    encoded = column.dictionary_encode()
    hashed = pa.array(
        [address_key(key, word) for word in encoded.dictionary.to_pylist()], pa.binary(KEY_BYTES)
    )
    return hashed.take(encoded.indices)


def remember(
    connection: Connection,
    key: DirectoryKey,
    tenant_id: str,
    people: Iterable[Person],
    seen_at: int,
) -> int:
    """Add or refresh people in the caller's transaction; returns how many were offered.

    `seen_at`: Graph time, microseconds. A known name or mailbox is never emptied.
    """
    rows = [
        {
            "tenant_id": tenant_id,
            "address_key": address_key(key, person.address),
            "mailbox_id": person.mailbox_id,
            "address": person.address.strip().lower(),
            "name": person.name or None,
            "domain": person.address.strip().lower().rpartition("@")[2],
            "seen_at": seen_at,
        }
        for person in people
        if person.address.strip()
    ]
    for start in range(0, len(rows), _CHUNK):
        connection.execute(_REMEMBER, rows[start : start + _CHUNK])
    return len(rows)


def forget(connection: Connection, keys: Sequence[bytes], seen_at: int) -> None:
    """Leave an empty row for each of these addresses in every tenant: only their keyed hash.

    It stays so that the next mail to or from them does not bring them back, whoever writes it.
    """
    everywhere = connection.scalars(select(tenant.c.tenant_id)).all()
    rows = [
        {"tenant_id": one, "address_key": key, "seen_at": seen_at}
        for one in everywhere
        for key in keys
    ]
    if rows:
        connection.execute(_FORGET, rows)


def export_directory(db: Database, settings: Settings) -> Path:
    """Write `directory/directory.parquet` (0600 in a 0700 folder), replaced in one step."""
    query = (
        select(
            directory.c.tenant_id,
            directory.c.address_key,
            mailbox.c.tuid,
            directory.c.address,
            directory.c.name,
            directory.c.domain,
            directory.c.first_seen,
            directory.c.last_seen,
        )
        .outerjoin(mailbox, mailbox.c.mailbox_id == directory.c.mailbox_id)
        .where(directory.c.address != "")
        .order_by(directory.c.tenant_id, directory.c.address_key)
    )
    with db.read() as connection:
        rows = connection.execute(query).all()
    columns = list(zip(*rows, strict=True)) or [()] * len(DIRECTORY_SCHEMA)
    table = pa.table(
        [
            pa.array(column, kind.type)
            for column, kind in zip(columns, DIRECTORY_SCHEMA, strict=True)
        ],
        schema=DIRECTORY_SCHEMA,
    )
    target = settings.directory_root / "directory.parquet"
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        settings.directory_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise StorageError(
            f"the directory cannot be written ({error.strerror}): views show keyed hashes until "
            "it can"
        ) from error
    return target


def _make_key(folder: Path, path: Path) -> None:
    value = {
        "secret": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "created_at": machine_us(),
    }
    beside = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first; its key counts
            os.link(beside, path)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StateError(f"the directory's key cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
