"""Read, over the connection that also commits, what is known of a batch's items.

DuckDB cannot attach SQLite or PostgreSQL here, so rows come as Arrow tables.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, text

from outlook_lake.events.diff import Known

__all__ = ["read_known", "table_of"]

IN_ONE_QUERY = 400

MAILBOXES = pa.schema(
    [
        ("mailbox_id", pa.int64()),
        ("tenant_id", pa.string()),
        ("tuid", pa.string()),
        ("domain_id", pa.string()),
        ("namespace", pa.binary(16)),
        ("internal_domains", pa.list_(pa.string())),
        ("watch_from", pa.int64()),
        ("complete_through", pa.int64()),
        ("epoch", pa.int32()),
        ("seq", pa.int64()),
        ("fence", pa.int64()),
    ]
)

INVENTORY = pa.schema(
    [
        ("mailbox_id", pa.int64()),
        ("item_key", pa.binary(16)),
        ("folder_no", pa.int32()),
        ("created_at", pa.int64()),
        ("received_at", pa.int64()),
        ("modified_at", pa.int64()),
        ("seen_at", pa.int64()),
        ("bits", pa.int32()),
        ("mutable_hash", pa.int64()),
        ("from_domain", pa.string()),
        ("recipients", pa.int32()),
        ("imid_hash", pa.int64()),
        ("origin", pa.int16()),
        ("gone_at", pa.int64()),
    ]
)

FOLDERS = pa.schema(
    [
        ("mailbox_id", pa.int64()),
        ("folder_no", pa.int32()),
        ("folder_id", pa.string()),
        ("kind", pa.string()),
    ]
)

KEYS = pa.schema([("mailbox_id", pa.int64()), ("item_key", pa.binary(16))])

PEOPLE = pa.schema(
    [("mailbox_id", pa.int64()), ("address_key", pa.binary(16)), ("tuid", pa.string())]
)


def table_of(rows: Iterable[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Rows of a query as an Arrow table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)],
        schema=schema,
    )


def read_known(connection: Connection, observations: pa.Table) -> Known:
    """Everything `diff` compares a batch with; one state of the database."""
    keys = list(
        zip(
            observations.column("shard").to_pylist(),
            observations.column("mailbox_id").to_pylist(),
            observations.column("item_key").to_pylist(),
            strict=True,
        )
    )
    mailbox_ids = sorted({mailbox_id for _, mailbox_id, _ in keys})
    mailboxes = _mailboxes(connection, mailbox_ids)
    return Known(
        inventory=_inventory(connection, sorted(keys)),
        mailboxes=mailboxes,
        folders=_folders(connection, mailbox_ids),
        waiting=_waiting(connection, keys),
        people=_people(connection, observations, mailboxes),
    )


def _mailboxes(connection: Connection, mailbox_ids: list[int]) -> pa.Table:
    rows: list[Any] = []
    for some in _chunks(mailbox_ids):
        rows += connection.execute(
            text(
                "SELECT m.mailbox_id, m.tenant_id, m.tuid, t.domain_id, t.internal_domains, "
                "m.watch_from, m.complete_through, m.epoch, m.seq, m.fence FROM mailbox m "
                f"JOIN tenant t ON t.tenant_id = m.tenant_id WHERE m.mailbox_id IN ({_ids(some)})"
            )
        ).all()
    made = [
        (*row[:4], namespace(row.tenant_id), _domains(row.internal_domains), *row[5:])
        for row in rows
    ]
    return table_of(made, MAILBOXES)


def namespace(tenant_id: str) -> bytes:
    """The UUID namespace of a tenant's events: its own id, or one made from it."""
    try:
        return uuid.UUID(tenant_id).bytes
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_URL, tenant_id).bytes


def _domains(stored: object) -> list[str]:
    if isinstance(stored, str):
        import json

        stored = json.loads(stored)
    return [str(domain) for domain in stored] if isinstance(stored, list) else []


def _inventory(connection: Connection, keys: list[tuple[int, int, bytes]]) -> pa.Table:
    rows: list[Any] = []
    for start in range(0, len(keys), IN_ONE_QUERY):
        some = keys[start : start + IN_ONE_QUERY]
        marks = ",".join(
            f"({int(shard)},{int(mailbox_id)},:k{n})"
            for n, (shard, mailbox_id, _) in enumerate(some)
        )
        rows += connection.execute(
            text(
                "SELECT i.mailbox_id, i.item_key, i.folder_no, i.created_at, i.received_at, "
                "i.modified_at, i.seen_at, i.bits, i.mutable_hash, d.name, i.recipients, "
                "i.imid_hash, i.origin, i.gone_at "
                "FROM item i LEFT JOIN domain d ON d.domain_no = i.from_domain_no "
                f"WHERE (i.shard, i.mailbox_id, i.item_key) IN (VALUES {marks})"
            ),
            {f"k{n}": key for n, (_, _, key) in enumerate(some)},
        ).all()
    return table_of(rows, INVENTORY)


def _folders(connection: Connection, mailbox_ids: list[int]) -> pa.Table:
    rows: list[Any] = []
    for some in _chunks(mailbox_ids):
        rows += connection.execute(
            text(
                "SELECT mailbox_id, folder_no, folder_id, kind FROM folder "
                f"WHERE mailbox_id IN ({_ids(some)})"
            )
        ).all()
    return table_of(rows, FOLDERS)


def _waiting(connection: Connection, keys: list[tuple[int, int, bytes]]) -> pa.Table:
    rows: list[Any] = []
    for start in range(0, len(keys), IN_ONE_QUERY):
        some = keys[start : start + IN_ONE_QUERY]
        marks = ",".join(f"({int(mailbox_id)},:k{n})" for n, (_, mailbox_id, _) in enumerate(some))
        rows += connection.execute(
            text(
                "SELECT mailbox_id, item_key FROM hint "
                f"WHERE (mailbox_id, item_key) IN (VALUES {marks})"
            ),
            {f"k{n}": key for n, (_, _, key) in enumerate(some)},
        ).all()
    return table_of(rows, KEYS)


def _people(connection: Connection, observations: pa.Table, mailboxes: pa.Table) -> pa.Table:
    """Which senders are mailboxes of the same tenant."""
    tenants = dict(
        zip(
            mailboxes.column("mailbox_id").to_pylist(),
            mailboxes.column("tenant_id").to_pylist(),
            strict=True,
        )
    )
    pairs = {
        (mailbox_id, key)
        for mailbox_id, key in zip(
            observations.column("mailbox_id").to_pylist(),
            observations.column("from_key").to_pylist(),
            strict=True,
        )
        if key is not None
    }
    found: dict[tuple[str, bytes], str] = {}
    wanted = sorted({key for _, key in pairs})
    for start in range(0, len(wanted), IN_ONE_QUERY):
        some = wanted[start : start + IN_ONE_QUERY]
        marks = ",".join(f":k{n}" for n in range(len(some)))
        for tenant_id, key, tuid in connection.execute(
            text(
                "SELECT d.tenant_id, d.address_key, m.tuid FROM directory d "
                f"JOIN mailbox m ON m.mailbox_id = d.mailbox_id WHERE d.address_key IN ({marks})"
            ),
            {f"k{n}": key for n, key in enumerate(some)},
        ):
            found[(tenant_id, key)] = tuid
    rows = [
        (mailbox_id, key, found[(tenants[mailbox_id], key)])
        for mailbox_id, key in pairs
        if (tenants.get(mailbox_id, ""), key) in found
    ]
    return table_of(rows, PEOPLE)


def _chunks(numbers: list[int]) -> Iterable[list[int]]:
    return (numbers[start : start + 1000] for start in range(0, len(numbers), 1000))


def _ids(numbers: list[int]) -> str:
    return ",".join(str(int(number)) for number in numbers)
