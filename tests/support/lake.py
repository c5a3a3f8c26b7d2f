"""Events, batches and homes for tests of the event log and the lake."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from outlook_lake.clock import graph_us, hour_name
from outlook_lake.events import log, manifest
from outlook_lake.events.schema import BATCH_SCHEMA
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import tenant

DOMAIN = "acme"
TENANT = "3f0b1a9e-0000-4000-8000-000000000001"
NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)

Row = dict[str, Any]


def key(name: str) -> bytes:
    """Sixteen bytes that stand for a name."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def event(
    number: int,
    *,
    at: datetime | None = None,
    tuid: str = "tuid-1",
    action: str = "email_received",
    domain_id: str = DOMAIN,
    **columns: Any,
) -> Row:
    """One event row of a batch; `number` makes its id, its item and (by default) its time."""
    moment = at or NINE + timedelta(seconds=number)
    item = f"item-{number}"
    row: Row = {
        "domain_id": domain_id,
        "hour": hour_name(moment),
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{domain_id}{tuid}{number}")),
        "event_type": "EMAIL",
        "source": "OUTLOOK",
        "signal_type": "COMMUNICATIONS",
        "tuid": tuid,
        "timestamp": moment,
        "seq": number,
        "time_basis": "graph",
        "earliest_at": moment,
        "latest_at": moment,
        "observed_at": moment + timedelta(seconds=2),
        "object_kind": "message",
        "action": action,
        "sighting": "notification",
        "changed": ["existence"],
        "platform_event_id": item,
        "item_key": key(item),
        "change_type": "created",
        "from_tuid": None,
        "from_key": key("sender"),
        "from_domain": "external.example",
        "sender_differs": False,
        "is_external_sender": True,
        "to_count": 1,
        "cc_count": 1,
        "bcc_count": 0,
        "recipient_count": 2,
        "external_recipient_count": 0,
        "to_domains": ["acme.example"],
        "cc_domains": ["acme.example"],
        "recipients": [
            {"key": key("to"), "domain": "acme.example", "kind": "to", "external": False},
            {"key": key("cc"), "domain": "acme.example", "kind": "cc", "external": False},
        ],
        "has_attachments": number % 3 == 0,
        "is_read": False,
        "is_draft": False,
        "importance": ("low", "normal", "high")[number % 3],
        "flag_status": "notflagged",
        "inference": "focused",
        "categories": [],
        "conversation_id": f"conversation-{number}",
        "internet_message_id": f"<{number}@external.example>",
        "folder_kind": "inbox",
        "from_folder_kind": None,
        "received_at": moment,
        "sent_at": moment - timedelta(seconds=4),
        "created_at": moment - timedelta(seconds=2),
        "modified_at": moment,
        "rule": None,
        "schema_version": 1,
    }
    row.update(columns)
    return row


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as apply hands them to the log."""
    return pa.Table.from_pylist(list(rows), schema=BATCH_SCHEMA)


def home(path: Path, **lake: Any) -> Settings:
    """Settings of a home of its own."""
    settings = Settings(home=path)
    return replace(settings, lake=replace(settings.lake, **lake))


def add_tenant(
    db: Database, *, watch_from: datetime | None = None, domain_id: str = DOMAIN
) -> None:
    """A tenant whose hours the lake has to hold."""
    with db.write() as connection:
        connection.execute(
            tenant.insert().values(
                tenant_id=TENANT if domain_id == DOMAIN else str(uuid.uuid4()),
                domain_id=domain_id,
                conn_id="outlook_test",
                cloud="global",
                internal_domains=["acme.example"],
                state="live",
                watch_from=None if watch_from is None else int(watch_from.timestamp() * 1_000_000),
            )
        )


def commit(
    db: Database, settings: Settings, rows: Iterable[Mapping[str, Any]], lane: str = "0"
) -> int:
    """Write, commit and list one batch, as apply does; returns its number."""
    batch = log.write_batch(table(rows), settings, lane)
    with db.write() as connection:
        seq = manifest.record(connection, batch, lane, "test", graph_us())
    manifest.write_live(db, settings)
    return seq
