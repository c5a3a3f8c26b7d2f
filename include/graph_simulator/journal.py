"""The ground truth: what people did (`act`) and what the client was shown (`served`).

One JSON line a row, numbered without holes. Acts are ordered by `at` (Graph time, strictly
increasing); a served row carries the instant of the answer that showed the state.
"""

from __future__ import annotations

import msgspec

from graph_simulator.clock import iso_micros, iso_seconds, machine_us, parse_instant
from graph_simulator.ids import immutable_id
from graph_simulator.store import Store
from graph_simulator.world.model import Item

__all__ = ["ABSENT", "Journal", "Row"]

ABSENT = "absent"
_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct):
    """One journal row; field meanings are in docs/simulator.md."""

    number: int
    at: str
    wall_at: str
    mailbox: str | None
    kind: str
    item: str | None
    action: str
    field: str | None
    from_folder: str | None
    to_folder: str | None
    state: str | None
    bumped: bool
    observable: bool
    by: str
    dates: dict[str, str] | None
    object: str | None = None
    """The folder or rule an act was about."""


class Journal:
    """Appends rows to the store; they become durable with the request's commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        last = store.last_line()
        self.number = last[0] if last else 0
        self.last_at = parse_instant(msgspec.json.decode(last[1])["at"]) if last else 0
        self.acts = 0
        self.served_rows = 0

    def act(
        self,
        at: int,
        mailbox: str | None,
        action: str,
        *,
        item: Item | None = None,
        field: str | None = None,
        from_folder: str | None = None,
        to_folder: str | None = None,
        state: str | None = None,
        bumped: bool = False,
        observable: bool = False,
        by: str = "owner",
        about: str | None = None,
    ) -> int:
        """Append what somebody did; returns the row's number."""
        self.acts += 1
        return self._append(
            at, mailbox, "act", item, action, field, from_folder, to_folder, state, bumped,
            observable, by, about,
        )  # fmt: skip

    def served(self, at: int, mailbox: str, item: Item, state: str, folder: str | None) -> int:
        """Append what state of an item the client was shown."""
        self.served_rows += 1
        return self._append(
            at, mailbox, "served", item, "served", None, None, folder, state, False, True, "client"
        )

    def served_object(
        self, at: int, mailbox: str, field: str, about: str | None, state: str | None
    ) -> int:
        """Append that the client was shown a folder (`about`), or all `rules` of a mailbox."""
        self.served_rows += 1
        return self._append(
            at, mailbox, "served", None, "served", field, None, None, state, False, True, "client",
            about,
        )  # fmt: skip

    def pushed(self, at: int, mailbox: str, item: Item, state: str, folder: str | None) -> int:
        """Append what state of an item goes out with a rich notification, as taken now."""
        return self._append(
            at, mailbox, "pushed", item, "pushed", None, None, folder, state, False, True, "client"
        )

    def _append(
        self,
        at: int,
        mailbox: str | None,
        kind: str,
        item: Item | None,
        action: str,
        field: str | None,
        from_folder: str | None,
        to_folder: str | None,
        state: str | None,
        bumped: bool,
        observable: bool,
        by: str,
        about: str | None = None,
    ) -> int:
        self.number += 1
        dates = None
        if item is not None:
            dates = {
                "created": iso_seconds(item.created),
                "received": iso_seconds(item.received),
                "sent": iso_seconds(item.sent),
                "modified": iso_seconds(item.modified),
            }
        row = Row(
            number=self.number,
            at=iso_micros(at),
            wall_at=iso_micros(machine_us()),
            mailbox=mailbox,
            kind=kind,
            item=None if item is None else immutable_id(item.number),
            action=action,
            field=field,
            from_folder=from_folder,
            to_folder=to_folder,
            state=state,
            bumped=bumped,
            observable=observable,
            by=by,
            dates=dates,
            object=about,
        )
        self._store.write_line(self.number, _encode(row))
        return self.number

    def lines(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Rows numbered above `after`, oldest first."""
        return self._store.lines(after, limit)
