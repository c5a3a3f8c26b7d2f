"""What looks, rounds and priming bring to apply: observations, links and answered hints.

An *observation* is one item's state or absence as one answer of Graph showed it. Times are
int64 microseconds, Graph time; `seen_at` is the answer's `Date` (cut to the second, so the
state may be up to a second younger: `latest_at` says so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from outlook_lake.clock import to_us
from outlook_lake.state.kinds import HintKind
from outlook_lake.state.leases import Lease

__all__ = [
    "OBSERVATION_SCHEMA",
    "FolderLink",
    "FolderRow",
    "HintLater",
    "NewHint",
    "ObjectChange",
    "Observed",
    "Person",
    "Row",
    "RuleRow",
    "RulesSeen",
    "TreeSeen",
    "gone_row",
    "table",
]

Row = tuple[Any, ...]
"""One observation, in the order of OBSERVATION_SCHEMA; the four dates as Graph's text."""

RECIPIENT = pa.struct(
    [pa.field("key", pa.binary(16)), pa.field("domain", pa.string()), pa.field("kind", pa.string())]
)

OBSERVATION_SCHEMA = pa.schema(
    [
        ("mailbox_id", pa.int64()),
        ("shard", pa.int16()),
        ("item_key", pa.binary(16)),
        ("item_id", pa.string()),
        ("ordinal", pa.int64()),  # order in which the requests were sent, per mailbox
        ("seen_at", pa.int64()),
        ("gone", pa.bool_()),  # 404, believed
        ("sighting", pa.string()),  # notification, rich, delta, window, resync, snapshot, history
        ("hint_kinds", pa.int32()),  # 0: no hint led here
        ("hint_first_at", pa.int64()),
        ("hint_earliest_at", pa.int64()),
        ("hint_count", pa.int32()),
        ("hint_attempts", pa.int32()),
        ("folder_id", pa.string()),
        ("created_at", pa.int64()),
        ("modified_at", pa.int64()),
        ("received_at", pa.int64()),
        ("sent_at", pa.int64()),
        ("internet_message_id", pa.string()),
        ("conversation_id", pa.string()),
        ("from_key", pa.binary(16)),
        ("from_domain", pa.string()),
        ("sender_differs", pa.bool_()),
        ("recipients", pa.list_(RECIPIENT)),
        ("has_attachments", pa.bool_()),
        ("importance", pa.string()),
        ("flag_status", pa.string()),
        ("flag_dates", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("inference", pa.string()),
        ("is_read", pa.bool_()),
        ("is_draft", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class FolderLink:
    """Where the next page of a folder starts; stored with what the page before brought."""

    folder_no: int
    link: str | None
    link_state: str  # none priming live lost unavailable
    round_started_at: int | None = None


@dataclass(frozen=True, slots=True)
class FolderRow:
    """A folder as the tree shows it: numbered in its mailbox, its name hashed."""

    folder_no: int
    folder_id: str
    parent_no: int | None  # None: below the root, or below a folder nobody showed
    kind: str
    name_key: bytes | None
    hidden: bool


@dataclass(frozen=True, slots=True)
class TreeSeen:
    """What a look at the folder tree changes, stored with the link that continues it."""

    rows: list[FolderRow]
    gone: list[int]
    """Numbers of folders that are there no longer. Their items are settled by a round."""
    link: str | None
    seen_at: int


@dataclass(frozen=True, slots=True)
class RuleRow:
    """An inbox rule, redacted: no name, no keyword, addresses as keyed hashes."""

    rule_key: bytes
    canonical_hash: bytes
    summary: dict[str, Any]
    opaque: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class RulesSeen:
    """A snapshot of the inbox rules: what differs from the one before."""

    rows: list[RuleRow]
    gone: list[bytes]
    seen_at: int


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One change of a folder or a rule, between two polls: apply makes an event of it."""

    object_kind: str  # folder, rule
    action: str
    key: bytes  # BLAKE2b-128 of Graph's id
    platform_id: str | None
    changed: tuple[str, ...]
    sighting: str  # delta, snapshot
    earliest_at: int  # previous poll
    seen_at: int  # Date of this poll
    folder_kind: str | None = None
    from_folder_kind: str | None = None
    rule: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class HintLater:
    """A hint that stays: asked again at `due_at` (machine time)."""

    item_key: bytes
    due_at: int
    kinds: HintKind
    reason: str
    absent_at: int | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class NewHint:
    """A hint a round makes: `@removed`, a partial row, an item a listing did not show."""

    item_key: bytes
    item_id: str
    kinds: HintKind
    first_at: int  # Graph time of the page
    due_at: int  # machine time


@dataclass(frozen=True, slots=True)
class Person:
    """An address as a message showed it; goes to the directory and nowhere else."""

    address_key: bytes
    address: str
    name: str | None
    domain: str

    def __repr__(self) -> str:
        return "Person(…)"


@dataclass(slots=True)
class Observed:
    """Everything some looks at one leased mailbox brought; committed together or not at all."""

    lease: Lease
    rows: list[Row] = field(default_factory=list)
    links: list[FolderLink] = field(default_factory=list)
    later: list[HintLater] = field(default_factory=list)
    hints: list[NewHint] = field(default_factory=list)
    people: dict[bytes, Person] = field(default_factory=dict)
    tree: TreeSeen | None = None
    rules: RulesSeen | None = None
    objects: list[ObjectChange] = field(default_factory=list)
    refused: list[tuple[bytes, int, str]] = field(default_factory=list)
    """Hints given up: (item_key, count when sent, reason)."""
    pause_until: int | None = None  # machine time
    primed_at: int | None = None
    pending_through: int | None = None
    parked: str | None = None
    keep: bool = False
    """Keep the lease after the commit (more pages of this mailbox follow at once)."""


ITEM_KEY = OBSERVATION_SCHEMA.get_field_index("item_key")
MOMENT = pa.timestamp("us", tz="UTC")
DATES = frozenset({"created_at", "modified_at", "received_at", "sent_at"})


def gone_row(
    lease: Lease,
    item_key: bytes,
    item_id: str | None,
    *,
    ordinal: int,
    seen_at: int,
    hint: Row,
    sighting: str = "notification",
) -> Row:
    """An item that is not there any more; `hint` is as `NO_HINT` (looks/decode.py) names it."""
    head = (lease.mailbox_id, lease.shard, item_key, item_id, ordinal, seen_at, True)
    return (*head, sighting, *hint, *([None] * (len(OBSERVATION_SCHEMA) - 13)))


def table(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table of OBSERVATION_SCHEMA; Graph's dates become microseconds all at once."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(OBSERVATION_SCHEMA)
    arrays = []
    for entry, column in zip(OBSERVATION_SCHEMA, columns, strict=True):
        if entry.name in DATES:
            arrays.append(_microseconds(pa.array(column, pa.string())))
        else:
            arrays.append(pa.array(column, entry.type))
    return pa.table(arrays, schema=OBSERVATION_SCHEMA)


def _microseconds(dates: pa.Array) -> pa.Array:
    """Graph's dates as microseconds; a text that is no date becomes null, not an error."""
    try:
        return dates.cast(MOMENT).cast(pa.int64())
    except pa.ArrowInvalid:
        return pa.array([_moment(text) for text in dates.to_pylist()], pa.int64())


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else to_us(datetime.fromisoformat(text))
    except ValueError:
        return None
