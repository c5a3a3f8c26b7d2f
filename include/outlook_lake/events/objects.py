"""Folders and rules as events: few, so they are made one by one, in the shape of all events.

Graph tells neither when nor by whom: what changed did so between two polls. The timestamp is
the poll that showed it, `earliest_at` the one before.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from outlook_lake import clock
from outlook_lake.events.known import namespace
from outlook_lake.events.observation import ObjectChange, Observed
from outlook_lake.events.schema import BATCH_SCHEMA, SCHEMA_VERSION

__all__ = ["events_of"]


def events_of(
    connection: Connection, observed: Sequence[Observed], messages: pa.Table | None
) -> pa.Table:
    """Events of the folders and rules in a batch, numbered after its message events."""
    rows: list[dict[str, Any]] = []
    for one in observed:
        if one.objects:
            owner = _owner(connection, one.lease.mailbox_id)
            last = max(owner["seq"], _highest(messages, owner["tuid"]))
            rows += [_event(owner, last + n, made) for n, made in enumerate(one.objects, start=1)]
    return pa.Table.from_pylist(rows, schema=BATCH_SCHEMA)


def _owner(connection: Connection, mailbox_id: int) -> dict[str, Any]:
    row = connection.execute(
        text(
            "SELECT m.tenant_id, m.tuid, t.domain_id, m.epoch, m.seq FROM mailbox m "
            "JOIN tenant t ON t.tenant_id = m.tenant_id WHERE m.mailbox_id = :mailbox_id"
        ),
        {"mailbox_id": mailbox_id},
    ).one()
    return dict(row._mapping)


def _highest(messages: pa.Table | None, tuid: str) -> int:
    if messages is None:
        return 0
    own = messages.filter(pc.equal(messages.column("tuid"), tuid))
    return pc.max(own.column("seq")).as_py() or 0


def _event(owner: dict[str, Any], seq: int, made: ObjectChange) -> dict[str, Any]:
    at = clock.from_us(made.seen_at)
    name = f"{owner['tuid']}/{owner['epoch']}/{seq}"
    return {
        "domain_id": owner["domain_id"],
        "hour": clock.hour_name(at),
        "event_id": str(uuid.uuid5(uuid.UUID(bytes=namespace(owner["tenant_id"])), name)),
        "event_type": "EMAIL",
        "source": "OUTLOOK",
        "signal_type": "COMMUNICATIONS",
        "tuid": owner["tuid"],
        "timestamp": at,
        "seq": seq,
        "time_basis": "bounded",
        "earliest_at": clock.from_us(min(made.earliest_at, made.seen_at)),
        # Graph cuts the Date of an answer to the second: what it shows may be that much younger.
        "latest_at": clock.from_us(made.seen_at + 999_999),
        "observed_at": at,
        "object_kind": made.object_kind,
        "action": made.action,
        "sighting": made.sighting,
        "changed": list(made.changed),
        "platform_event_id": made.platform_id,
        "item_key": made.key,
        "folder_kind": made.folder_kind,
        "from_folder_kind": made.from_folder_kind,
        "rule": made.rule,
        "schema_version": SCHEMA_VERSION,
    }
