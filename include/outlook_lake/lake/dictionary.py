"""Write `docs/data-dictionary.md` from the schema: `python -m outlook_lake.lake.dictionary`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from outlook_lake.events.schema import EVENT_SCHEMA, ROW_GROUP, SCHEMA_VERSION, SORT_ORDER
from outlook_lake.lake.hours_table import (
    GAPS_SCHEMA,
    HOURS_SCHEMA,
    OUTCOMES_SCHEMA,
    ROUNDS_SCHEMA,
)

__all__ = ["document"]

_HEAD = """# Data dictionary

Every column of the lake, made from the schema itself (`make docs`; a test holds the two
together). Schema version {version}. All times are UTC. No column holds a subject, a body or the
name of an attachment.

## Events

One row is one real change. A sealed hour is one Parquet file:

    lake/events/domain_id=<tenant>/event_date=<YYYY-MM-DD>/event_hour=<HH>/events.parquet

sorted by ({order}), in row groups of {group:,}, compressed with zstd.
The footer holds `domain_id`, `hour`, `rows`, `schema_version` and `digest`, the SHA-256 of the
rows. No file means not exported; an hour without events is a file without rows.

The views `events` (sealed hours) and `events_live` (and what follows them) carry four columns in
front: `domain_id`, `hour` (`YYYY-MM-DDTHH`), `event_date`, `event_hour`.

| column | type | meaning |
|---|---|---|
"""

_NORMALIZED = """
## Normalized

The view `normalized` gives each event in its published nested shape. `user`, `from_address` and
`from_name` are null unless addresses may be seen (`--reveal`). As JSON Lines:

```sh
outlook-lake sql --json -c "SELECT * FROM normalized"
```

| key | comes from |
|---|---|
| what stands outside `payload` and `raw_metadata` | the columns of these names |
| `timestamp`, `.received_at`, `.sent_at`, `.created_at` | the columns, as text with milliseconds |
| `payload.event_id`, `raw_metadata.platform_event_id` | `platform_event_id` |
| `payload.user` | the mailbox's address: the directory, by `tuid` |
| `raw_metadata.from_address`, `.from_name` | the sender: the directory, by `from_key` |
| `raw_metadata.is_external` | `is_external_sender` |
| `raw_metadata.flag_status` | `flag_status`, spelt as Graph does |
| everything else in `payload` and `raw_metadata` | the columns of these names |
| `raw_metadata.source_platform`, `platform_event_source` | fixed |

## Hours

`lake/hours/domain_id=<tenant>/hours.parquet`, replaced by every export; the view `hours`.

| column | type | meaning |
|---|---|---|
"""

_HOURS = {
    "domain_id": "the tenant",
    "hour": "`YYYY-MM-DDTHH`",
    "rows": "events in its file",
    "bytes": "size of its file",
    "digest": "SHA-256 of its rows; the same events give the same digest",
    "sealed_at": "Graph's time when its file was last written; null while there is none",
    "maturity": "`open`: something is not proven yet; `settled`: all mailboxes are proven and no "
    "gap is open; `final`: the same and a week old, or nothing left that could still be proven",
    "mailboxes": "mailboxes that were watched in that hour",
    "complete": "of these, how many are proven by a round that started after the hour",
    "gaps": "recorded gaps that touch the hour and are not filled (`partial` ones count)",
    "is_dirty": "events came after the file was written; the next export writes it again",
}

_GAPS_HEAD = """
## Gaps

`lake/gaps/domain_id=<tenant>/gaps.parquet`, replaced when a gap changes; the view `gaps`. One row
is one mailbox and a time range that may have lost something.

| column | type | meaning |
|---|---|---|
"""

_GAPS = {
    "domain_id": "the tenant",
    "gap_id": "its number",
    "tuid": "the mailbox",
    "from_at": "from when on something may be missing (Graph's time)",
    "to_at": "until when; null while it lasts",
    "cause": "`lapsed`, `missed`, `silent`, `token_lost`, `receiver_down`, `parked`, `unavailable` "
    "or `witness`",
    "loss": "`timing`: when, not what; `created_and_purged`: items that came and went inside; "
    "`changes`: also changes undone or overtaken inside; `all`",
    "state": "`open`; `filled`: nothing is lost; `partial`: all was found but the loss",
    "opened_at": "when it was noticed",
    "closed_at": "when it was filled or ended as partial",
    "closed_by": "`round`, `witness` or `left` (its mailbox is no longer in scope)",
    "note": "more, in words",
}

_ROUNDS_HEAD = """
## Rounds

`lake/rounds/domain_id=<tenant>/rounds.parquet`, replaced when it changes; the view `rounds`. One
row is one mailbox that was ever watched: the evidence behind `hours`. Every hour that ends at or
before `complete_through` is proven, but for the gaps of that mailbox.

| column | type | meaning |
|---|---|---|
"""

_ROUNDS = {
    "domain_id": "the tenant",
    "tuid": "the mailbox",
    "state": "`live`; `priming`: read for the first time; `parked`: cannot be read; …",
    "reason": "why it is parked, or left",
    "watch_from": "arrivals are recorded from here on",
    "primed_at": "changes are recorded from here on",
    "complete_through": "the last round that read every folder, and whose questions are all "
    "answered, started then",
    "full_at": "the last round that read every folder started then",
    "witnessed_at": "Graph's own counts of all folders last agreed with ours then",
}

_OUTCOMES_HEAD = """
## Outcomes

`lake/outcomes/domain_id=<tenant>/outcomes.parquet`, replaced when it changes; the view
`outcomes`. One row is an item that was announced and that nobody could look at.

| column | type | meaning |
|---|---|---|
"""

_OUTCOMES = {
    "domain_id": "the tenant",
    "tuid": "the mailbox",
    "item_key": "the item, as in events",
    "kind": "`gone_unseen`: it was gone before it could be looked at; else why Graph refused it",
    "at": "when that was known",
    "first_hint_at": "when it was first announced",
    "count": "how often",
}


def document() -> str:
    """The page, as Markdown."""
    head = _HEAD.format(
        version=SCHEMA_VERSION,
        order=", ".join(f"`{name}`" for name in SORT_ORDER),
        group=ROW_GROUP,
    )
    events = "".join(
        f"| `{column.name}` | {_type(column.type)} | {column.metadata[b'doc'].decode()} |\n"
        for column in EVENT_SCHEMA
    )
    hours = _rows(HOURS_SCHEMA, _HOURS)
    return (
        head
        + events
        + _NORMALIZED
        + hours
        + _GAPS_HEAD
        + _rows(GAPS_SCHEMA, _GAPS)
        + _ROUNDS_HEAD
        + _rows(ROUNDS_SCHEMA, _ROUNDS)
        + _OUTCOMES_HEAD
        + _rows(OUTCOMES_SCHEMA, _OUTCOMES)
    )


def _rows(schema: pa.Schema, words: Mapping[str, str]) -> str:
    return "".join(
        f"| `{column.name}` | {_type(column.type)} | {words[column.name]} |\n" for column in schema
    )


def _type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "word"
    if pa.types.is_timestamp(kind):
        return "timestamp, UTC, µs"
    if pa.types.is_fixed_size_binary(kind):
        return f"{kind.byte_width} bytes"
    if pa.types.is_binary(kind):
        return "bytes"
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        inner = ", ".join(f"`{field.name}` {_type(field.type)}" for field in kind)
        return f"struct ({inner})"
    return str(kind)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if target:
        target.write_text(document(), encoding="utf-8")
    else:
        sys.stdout.write(document())
