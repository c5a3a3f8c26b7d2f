"""The event, column by column: the one place its shape is written down.

Grain: one row per real change. Sort order everywhere: (`tuid`, `timestamp`, `seq`).
A *batch* of the event log carries `domain_id` and `hour` in front; a sealed hour does not,
its folder names say both.
"""

from __future__ import annotations

import pyarrow as pa

__all__ = ["BATCH_SCHEMA", "EVENT_SCHEMA", "ROW_GROUP", "SCHEMA_VERSION", "SORT_ORDER"]

SCHEMA_VERSION = 1
ROW_GROUP = 20_480
"""Rows of a row group and of a digest batch: small enough that one user's rows are one group."""

SORT_ORDER = ("tuid", "timestamp", "seq")

WORD = pa.dictionary(pa.int32(), pa.string())
MOMENT = pa.timestamp("us", tz="UTC")
KEY = pa.binary(16)

RECIPIENT = pa.struct(
    [
        pa.field("key", KEY),
        pa.field("domain", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("external", pa.bool_()),
    ]
)

RULE = pa.struct(
    [
        pa.field("rule_key", KEY),
        pa.field("enabled", pa.bool_()),
        pa.field("opaque", pa.bool_()),
        pa.field("actions", pa.list_(pa.string())),
        pa.field("forward_keys", pa.list_(pa.binary())),  # pandas reads no list of fixed width
        pa.field("forward_domains", pa.list_(pa.string())),
        pa.field("external_forward", pa.bool_()),
        pa.field("target_folder_kind", pa.string()),
        pa.field("condition_kinds", pa.list_(pa.string())),
        pa.field("marks_read", pa.bool_()),
        pa.field("stops", pa.bool_()),
        pa.field("hides", pa.bool_()),
    ]
)


def _column(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc})


EVENT_SCHEMA = pa.schema(
    [
        _column("event_id", pa.string(), "UUIDv5, the same however often the change was seen"),
        _column("event_type", WORD, "EMAIL"),
        _column("source", WORD, "OUTLOOK"),
        _column("signal_type", WORD, "COMMUNICATIONS"),
        _column("tuid", pa.string(), "the mailbox's person, a random id; sort 1"),
        _column("timestamp", MOMENT, "when it happened, see time_basis; decides the hour; sort 2"),
        _column("seq", pa.int64(), "order of events inside the mailbox; sort 3"),
        _column("time_basis", WORD, "graph, notified or bounded: where timestamp comes from"),
        _column("earliest_at", MOMENT, "the change did not happen before"),
        _column("latest_at", MOMENT, "the change did not happen after"),
        _column("observed_at", MOMENT, "Graph's Date of the answer that showed it"),
        _column("object_kind", WORD, "message, folder or rule"),
        _column("action", WORD, "what happened: email_received, email_read, email_moved, ..."),
        _column("sighting", WORD, "how it was seen: notification, delta, window, resync, ..."),
        _column("changed", pa.list_(WORD), "fields that differ from what was known"),
        _column(
            "platform_event_id", pa.string(), "Graph's immutable id; null where no look gave one"
        ),
        _column("item_key", KEY, "BLAKE2b-128 of the immutable id: joins all events of one item"),
        _column("change_type", WORD, "Graph's own word: created, updated, deleted; null if none"),
        _column("from_tuid", pa.string(), "the sender, when internal"),
        _column("from_key", KEY, "keyed hash of the sender's address"),
        _column("from_domain", pa.string(), "the sender's domain"),
        _column("sender_differs", pa.bool_(), "sent on behalf of another"),
        _column("is_external_sender", pa.bool_(), "the sender's domain is not one of the tenant's"),
        _column("to_count", pa.int32(), "recipients in To"),
        _column("cc_count", pa.int32(), "recipients in Cc"),
        _column("bcc_count", pa.int32(), "recipients in Bcc (only the sender's copy knows)"),
        _column("recipient_count", pa.int32(), "to_count + cc_count"),
        _column("external_recipient_count", pa.int32(), "recipients outside the tenant's domains"),
        _column("to_domains", pa.list_(pa.string()), "sorted, distinct"),
        _column("cc_domains", pa.list_(pa.string()), "sorted, distinct"),
        _column("recipients", pa.list_(RECIPIENT), "who, as keyed hashes with their domain"),
        _column("has_attachments", pa.bool_(), "Graph's own flag; inline ones do not count"),
        _column("is_read", pa.bool_(), "state after the change"),
        _column("is_draft", pa.bool_(), "state after the change"),
        _column("importance", WORD, "low, normal, high"),
        _column("flag_status", WORD, "notflagged, flagged, complete"),
        _column("inference", WORD, "focused, other"),
        _column("categories", pa.list_(pa.string()), "as the user wrote them, or hashed"),
        _column("conversation_id", pa.string(), "thread inside this mailbox"),
        _column("internet_message_id", pa.string(), "shared by all copies of a message"),
        _column("folder_kind", WORD, "where the item is after the change"),
        _column("from_folder_kind", WORD, "where it was before; null when unknown or not moved"),
        _column("received_at", MOMENT, "Graph's receivedDateTime"),
        _column("sent_at", MOMENT, "Graph's sentDateTime"),
        _column("created_at", MOMENT, "Graph's createdDateTime"),
        _column("modified_at", MOMENT, "Graph's lastModifiedDateTime"),
        _column("rule", RULE, "null unless a rule"),
        _column("schema_version", pa.int16(), "version of this table"),
    ]
)

BATCH_SCHEMA = pa.schema(
    [
        _column("domain_id", pa.string(), "the tenant"),
        _column("hour", pa.string(), "hour(timestamp), YYYY-MM-DDTHH"),
        *EVENT_SCHEMA,
    ]
)
