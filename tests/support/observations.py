"""Builders for what Graph showed and what was known: one message, told by what differs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from outlook_lake.events import known as stored
from outlook_lake.events.diff import Diff, Known, diff, engine
from outlook_lake.events.observation import OBSERVATION_SCHEMA
from outlook_lake.settings import Settings
from outlook_lake.state.kinds import HintKind

SECOND = 1_000_000
MINUTE = 60 * SECOND
WATCHED = 1_790_000_000 * SECOND
"""Graph time from which the mailbox of these tests is watched (2026-09-21T14:13:20Z)."""

FOLDERS = {
    "inbox": 1,
    "sent": 2,
    "deleted": 3,
    "drafts": 4,
    "other": 5,
    "dumpster": 6,
    "outbox": 7,
    "junk": 8,
}

CREATED, UPDATED, DELETED = HintKind.CREATED, HintKind.UPDATED, HintKind.DELETED


def shown(
    *,
    at: int,
    folder: str = "inbox",
    item: bytes = b"k" * 16,
    hint: int = 0,
    hint_at: int | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A whole message as a look at Graph time `at` (seconds after WATCHED) shows it."""
    base: dict[str, Any] = {
        "mailbox_id": 1,
        "shard": 3,
        "item_key": item,
        "item_id": "AAMk" + item.hex(),
        "ordinal": at,
        "seen_at": WATCHED + at * SECOND,
        "gone": False,
        "sighting": "notification" if hint else "delta",
        "hint_kinds": int(hint),
        "hint_first_at": WATCHED + (hint_at if hint_at is not None else at) * SECOND
        if hint
        else None,
        "hint_earliest_at": None,
        "hint_count": 1 if hint else 0,
        "hint_attempts": 0,
        "folder_id": f"F{FOLDERS[folder]}",
        "created_at": WATCHED + 10 * SECOND,
        "modified_at": WATCHED + 10 * SECOND,
        "received_at": WATCHED + 10 * SECOND,
        "sent_at": WATCHED + 8 * SECOND,
        "internet_message_id": "<a@b.example>",
        "conversation_id": "conversation",
        "from_key": b"s" * 16,
        "from_domain": "partner.example",
        "sender_differs": False,
        "recipients": [{"key": b"r" * 16, "domain": "contoso.example", "kind": "to"}],
        "has_attachments": False,
        "importance": "normal",
        "flag_status": "notflagged",
        "flag_dates": None,
        "categories": [],
        "inference": "focused",
        "is_read": False,
        "is_draft": False,
    }
    unknown = fields.keys() - base.keys()
    if unknown:
        raise TypeError(f"no such column: {sorted(unknown)}")
    return base | fields


def absent(*, at: int, hint: int = DELETED, item: bytes = b"k" * 16) -> dict[str, Any]:
    """The item is not there any more."""
    row = shown(at=at, item=item, hint=hint)
    for name in OBSERVATION_SCHEMA.names[13:]:
        row[name] = None
    return row | {"gone": True}


@cache
def shared_engine() -> duckdb.DuckDBPyConnection:
    """One DuckDB for all comparisons of a test run: comparing leaves nothing behind."""
    return engine(Settings.load({}))


class Mailbox:
    """One mailbox whose inventory remembers from look to look, as the state database would."""

    def __init__(
        self, *, complete_through: int | None = None, owner_key: bytes | None = None
    ) -> None:
        self.engine = shared_engine()
        self.owner_key = owner_key
        self.inventory: dict[bytes, dict[str, Any]] = {}
        self.waiting: set[bytes] = set()
        self.complete_through = complete_through
        self.seq = 0

    def look(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        """Apply these observations; the events they give, in order of seq."""
        found = self.compare(rows)
        events = sorted(found.events.to_pylist(), key=lambda event: event["seq"])
        self.seq += len(events)
        for row in found.inventory.to_pylist():
            self.inventory[row["item_key"]] = row
        return events

    def compare(self, rows: Sequence[dict[str, Any]]) -> Diff:
        """The whole diff, without remembering it."""
        columns = stored.INVENTORY.names
        known = Known(
            inventory=pa.Table.from_pylist(
                [{name: row[name] for name in columns} for row in self.inventory.values()],
                schema=stored.INVENTORY,
            ),
            mailboxes=pa.Table.from_pylist(
                [
                    {
                        "mailbox_id": 1,
                        "tenant_id": "t",
                        "tuid": "tuid-1",
                        "domain_id": "contoso",
                        "namespace": b"n" * 16,
                        "internal_domains": ["contoso.example"],
                        "watch_from": WATCHED,
                        "complete_through": self.complete_through,
                        "epoch": 0,
                        "seq": self.seq,
                        "fence": 1,
                    }
                ],
                schema=stored.MAILBOXES,
            ),
            folders=pa.Table.from_pylist(
                [
                    {"mailbox_id": 1, "folder_no": number, "folder_id": f"F{number}", "kind": kind}
                    for kind, number in FOLDERS.items()
                ],
                schema=stored.FOLDERS,
            ),
            waiting=pa.Table.from_pylist(
                [{"mailbox_id": 1, "item_key": key} for key in self.waiting], schema=stored.KEYS
            ),
            people=pa.Table.from_pylist(
                [{"mailbox_id": 1, "address_key": self.owner_key, "tuid": "tuid-1"}]
                if self.owner_key
                else [],
                schema=stored.PEOPLE,
            ),
        )
        return diff(self.engine, pa.Table.from_pylist(list(rows), schema=OBSERVATION_SCHEMA), known)
