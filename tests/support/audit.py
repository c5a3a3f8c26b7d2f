"""Stories for the audit: what people did, what Graph showed, what was recorded.

Times are seconds after 09:00; `wall` is machine time and the same unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from outlook_lake.clock import hour_name, to_us
from outlook_lake.lake.audit import FAULTS, GAP_SCHEMA, MAILBOX_SCHEMA, Span, judge
from outlook_lake.lake.engine import sql
from outlook_lake.state.kinds import item_key

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)

BIRTHS = {
    "email_received": "inbox",
    "email_sent": "sent",
    "email_drafted": "drafts",
    "email_added": "inbox",
}
FIELDS = {
    "email_read": ("read", True),
    "email_unread": ("read", False),
    "email_flagged": ("flag", "flagged"),
    "email_unflagged": ("flag", "none"),
    "email_flag_completed": ("flag", "complete"),
    "email_categorized": ("categories", None),
    "email_changed": ("importance", None),
}
UNBUMPED = frozenset({"email_read", "email_unread"})

JOURNAL = pa.schema(
    [
        ("number", pa.int64()),
        *[
            (name, pa.string())
            for name in ("at", "wall_at", "mailbox", "kind", "item", "object", "action", "field")
        ],
        *[(name, pa.string()) for name in ("from_folder", "to_folder", "state")],
        ("bumped", pa.bool_()),
        ("observable", pa.bool_()),
        (
            "dates",
            pa.struct([(n, pa.string()) for n in ("created", "received", "sent", "modified")]),
        ),
    ]
)
EVENTS = pa.schema(
    [
        *[(name, pa.string()) for name in ("event_id", "tuid", "hour", "action", "time_basis")],
        ("item_key", pa.binary(16)),
        ("seq", pa.int64()),
        *[
            (name, pa.timestamp("us", tz="UTC"))
            for name in ("timestamp", "earliest_at", "latest_at", "observed_at")
        ],
        ("from_folder_kind", pa.string()),
        ("object_kind", pa.string()),
    ]
)


def moment(seconds: float) -> datetime:
    """So many seconds after nine."""
    return NINE + timedelta(seconds=seconds)


def us(seconds: float | None) -> int | None:
    """The same in microseconds."""
    return None if seconds is None else to_us(moment(seconds))


def faults(answer: dict[str, Any]) -> dict[str, int]:
    """The kinds of fault an answer has, with their number."""
    return {name: answer[name] for name in FAULTS if answer[name]}


@dataclass
class Story:
    """A mailbox watched since 09:00 and primed a minute later, unless told otherwise."""

    watch_from: float | None = 0
    primed_at: float | None = 60
    state: str = "live"
    rows: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: bool = True
    streams: Sequence[str] = ("messages", "folders", "rules")

    def act(
        self,
        action: str,
        at: float,
        *,
        item: str = "one",
        wall: float | None = None,
        to: str | None = None,
        value: Any = None,
        mailbox: str = "aad-1",
        **columns: Any,
    ) -> Story:
        """Somebody did something; folders, states and dates follow from what was before."""
        state = self.items.setdefault(item, {"folder": None, "modified": None})
        source = state["folder"]
        if action in BIRTHS and not (action == "email_sent" and source == "drafts"):
            name, target = "existence", to or BIRTHS[action]
            state["created"] = at
            source = None
        elif action == "email_purged" and to is None:
            name, target = "existence", None
        elif action in FIELDS:
            name, set_to = FIELDS[action]
            target = source
            state[name] = set_to if value is None and set_to is not None else value
        else:
            name, target = "folder", to or ("sent" if action == "email_sent" else None)
        state["folder"] = target
        bumped = action not in UNBUMPED and action != "email_purged"
        if bumped:
            state["modified"] = at
        dates = {"created": state.get("created", -9999), "received": state.get("created", -9999)}
        dates |= {"sent": dates["created"], "modified": state["modified"] or dates["created"]}
        return self._row(
            at,
            wall,
            mailbox,
            kind="act",
            item=item,
            action=action,
            field=name,
            from_folder=source,
            to_folder=target,
            state=self._state(item),
            bumped=bumped,
            observable=True,
            dates={key: f"{moment(value):%Y-%m-%dT%H:%M:%SZ}" for key, value in dates.items()},
            **columns,
        )

    def look(
        self, at: float, *, item: str = "one", wall: float | None = None, state: str | None = None
    ) -> Story:
        """Graph showed the product the item's state (or, lagging, an older one)."""
        return self._row(
            at,
            wall,
            "aad-1",
            kind="served",
            item=item,
            action="served",
            state=state or self._state(item),
            bumped=False,
            observable=True,
            dates=None,
        )

    def event(
        self,
        action: str,
        at: float,
        *,
        item: str = "one",
        basis: str = "graph",
        observed: float | None = None,
        earliest: float | None = None,
        latest: float | None = None,
        seq: int | None = None,
        **columns: Any,
    ) -> Story:
        """The product recorded something."""
        cut = moment(at).replace(microsecond=0) if basis == "graph" else moment(at)
        shown = moment(at + 2 if observed is None else observed).replace(microsecond=0)
        row = {
            "event_id": f"event-{len(self.events)}",
            "tuid": "tuid-1",
            "hour": hour_name(cut),
            "action": action,
            "time_basis": basis,
            "item_key": item_key(item),
            "seq": len(self.events) + 1 if seq is None else seq,
            "timestamp": cut,
            "earliest_at": cut if earliest is None else moment(earliest),
            "latest_at": cut if latest is None else moment(latest),
            "observed_at": shown,
            "from_folder_kind": "inbox",
            "object_kind": "message",
        }
        self.events.append(row | columns)
        return self

    def change(
        self, action: str, at: float, *, about: str = "plans", state: str = "", **columns: Any
    ) -> Story:
        """Somebody did something to a folder or a rule; `state` is what it is like then."""
        told = {"kind": "act", "object": about, "action": action, "field": "existence"}
        gone = action.endswith("_deleted")
        told |= {"state": "absent" if gone else state or f"name {len(self.rows)}"}
        return self._row(
            at, None, "aad-1", **({"observable": True, "bumped": False} | told | columns)
        )

    def poll(self, at: float, *, about: str | None = "plans", wall: float | None = None) -> Story:
        """The tree showed a folder to the product; without `about` the rules were shown."""
        field_name = "folder" if about else "rules"
        told = {"kind": "served", "object": about, "action": "served", "field": field_name}
        return self._row(at, wall, "aad-1", observable=True, bumped=False, **told)

    def polled(
        self, action: str, at: float, since: float, *, about: str = "plans", **columns: Any
    ) -> Story:
        """The product recorded a change that the poll at `at` showed and the one before did not."""
        return self.event(
            action,
            at,
            item=about,
            basis="bounded",
            observed=at,
            earliest=since,
            latest=at + 0.999999,
            **({"object_kind": action.split("_")[0]} | columns),
        )

    def gap(self, loss: str, from_at: float, to_at: float | None) -> Story:
        """A recorded gap of the mailbox."""
        self.gaps.append(
            {"tuid": "tuid-1", "from_us": us(from_at), "to_us": us(to_at), "loss": loss}
        )
        return self

    def arrival(self, at: float = 100, *, item: str = "one") -> Story:
        """Something arrived, was looked at and recorded, as it should be."""
        self.act("email_received", at, item=item).look(at + 1, item=item)
        return self.event("email_received", at, item=item, observed=at + 1)

    def judged(
        self,
        *,
        span: Span | None = None,
        known_only: bool = False,
        killed: Sequence[tuple[float, float]] = (),
    ) -> dict[str, Any]:
        """The audit's answer."""
        mailbox = {
            "aad_id": "aad-1",
            "tuid": "tuid-1",
            "state": self.state,
            "reason": None,
            "watch_from": us(self.watch_from),
            "primed_at": us(self.primed_at),
            "streams": list(self.streams),
        }
        names = sorted({row[n] for row in self.rows for n in ("item", "object") if row[n]})
        tables = {
            "raw_journal": pa.Table.from_pylist(self.rows, schema=JOURNAL),
            "events_live": pa.Table.from_pylist(self.events, schema=EVENTS),
            "item_keys": pa.table(
                {
                    "item": pa.array(names, pa.string()),
                    "item_key": pa.array([item_key(name) for name in names], pa.binary(16)),
                }
            ),
        }
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute(sql("audit_events"))
            return judge(
                connection,
                pa.Table.from_pylist([mailbox] if self.known else [], schema=MAILBOX_SCHEMA),
                pa.Table.from_pylist(self.gaps, schema=GAP_SCHEMA),
                span=span or Span(),
                known_only=known_only,
                killed=[(us(since) or 0, us(until) or 0) for since, until in killed],
            )

    def _row(self, at: float, wall: float | None, mailbox: str, **columns: Any) -> Story:
        row = dict.fromkeys(JOURNAL.names)
        row |= {
            "number": len(self.rows) + 1,
            "at": f"{moment(at):%Y-%m-%dT%H:%M:%S.%fZ}",
            "wall_at": f"{moment(at if wall is None else wall):%Y-%m-%dT%H:%M:%S.%fZ}",
            "mailbox": mailbox,
        }
        self.rows.append(row | columns)
        return self

    def _state(self, item: str) -> str:
        state = self.items.get(item, {})
        if state.get("folder") is None and "folder" in state and state.get("created") is not None:
            return "absent"
        return repr(
            [state.get(name) for name in ("folder", "read", "flag", "categories", "importance")]
        )
