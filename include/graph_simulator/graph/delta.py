"""Delta rounds over the messages of one folder.

A round runs from one mailbox generation to another. The first lists what is in the folder,
newest first; the next give what changed: rows without any mark of created or updated, and
`@removed` for what left, whether it was moved or destroyed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import quote

from graph_simulator.clock import parse_instant
from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.render import CONTENT, FIELDS, Renderer, selection
from graph_simulator.graph.scope import find_box, find_folder
from graph_simulator.graph.service import Service
from graph_simulator.graph.tokens import pack, sync_state_lost, unpack
from graph_simulator.ids import default_id, immutable_id
from graph_simulator.world.box import Box
from graph_simulator.world.model import Folder, Item

__all__ = ["message_delta"]

_NAMES = tuple(FIELDS)
_PARTIAL = ("isRead", "parentFolderId")
FILTERED_LIMIT = 5000


@dataclass(frozen=True, slots=True)
class Round:
    """Where a round stands. `since` 0 = the first round, which lists the folder."""

    mailbox: int
    folder: int
    since: int
    upto: int
    cursor: int
    mask: int
    left: int
    """Rows still allowed by `$top` or a filter's limit; -1 = no limit."""
    received_from: int
    issued: int
    """Graph second in which this token was given."""
    empty: bool = False
    """The page before this one was empty on purpose."""

    def token(self) -> str:
        """Opaque text of this state."""
        return pack(
            ["m", self.mailbox, self.folder, self.since, self.upto, self.cursor, self.mask,
             self.left, self.received_from, self.issued, self.empty]
        )  # fmt: skip

    @classmethod
    def read(cls, text: str) -> Round:
        """The state behind a token. Raises GraphError (400)."""
        values = unpack(text, "m")[1:]
        if len(values) != 10:
            raise GraphError(400, "SyncStateInvalid", "The sync state is not valid.")
        return cls(*values)

    def fields(self, content_too: bool) -> tuple[str, ...]:
        """The properties fixed by the first request."""
        return tuple(
            name
            for bit, name in enumerate(_NAMES)
            if self.mask >> bit & 1 and (content_too or name not in CONTENT)
        )


def message_delta(service: Service, call: Call) -> Answer:
    """GET users/{id}/mailFolders/{id}/messages/delta, first request or continuation."""
    call.caller.need_mail()
    box = find_box(service.world, call)
    token = call.query.get("$deltatoken") or call.query.get("$skiptoken")
    folder = service.world.folder(box, call.parts[3])
    if folder is None:
        if token:
            raise GraphError(404, "ErrorSyncFolderNotFound", "The folder to sync was not found.")
        folder = find_folder(service.world, box, call.parts[3])
    service.faults.refuse_delta(box, token is not None)
    state = _continue(service, box, folder, call, token) if token else _first(box, folder, call)
    return _page(service, call, box, folder, state)


def _first(box: Box, folder: Folder, call: Call) -> Round:
    for name in call.query:
        if name.startswith("$") and name not in ("$select", "$top", "$filter", "$orderby"):
            raise GraphError(400, "ErrorInvalidUrlQuery", f"{name[:20]} is not supported.")
    mask = sum(1 << _NAMES.index(name) for name in selection(call))
    left = call.number("$top", 1, 100000) or -1
    received_from = 0
    if "$filter" in call.query:
        received_from = _received_from(call.query["$filter"])
        left = min(left, FILTERED_LIMIT) if left > 0 else FILTERED_LIMIT
    return Round(
        box.mailbox.number, folder.number, 0, box.mailbox.change, 1 << 62, mask, left,
        received_from, call.at // 1_000_000,
    )  # fmt: skip


def _received_from(text: str) -> int:
    words = text.split()
    try:
        if (
            len(words) != 3
            or words[0].lower() != "receiveddatetime"
            or words[1]
            not in (
                "ge",
                "gt",
            )
        ):
            raise ValueError(text)
        return parse_instant(words[2]) // 1_000_000 + (words[1] == "gt")
    except ValueError:
        raise GraphError(
            400, "ErrorInvalidUrlQueryFilter", "Delta filters by receivedDateTime ge|gt only."
        ) from None


def _continue(service: Service, box: Box, folder: Folder, call: Call, token: str) -> Round:
    state = Round.read(token)
    if (state.mailbox, state.folder) != (box.mailbox.number, folder.number):
        raise GraphError(400, "SyncStateInvalid", "The sync state belongs to another folder.")
    if call.at // 1_000_000 - state.issued > service.delta_life_s:
        raise sync_state_lost()
    if "$deltatoken" in call.query:  # a new round begins
        if not state.since:
            raise GraphError(400, "SyncStateInvalid", "The sync state is not valid.")
        return replace(state, upto=box.mailbox.change, cursor=state.since, left=-1)
    return state


def _page(service: Service, call: Call, box: Box, folder: Folder, state: Round) -> Answer:
    size = call.page_size or 10
    if state.left >= 0:
        size = min(size, state.left)
    horizon = service.faults.replicated(box, state.upto)
    if horizon < state.upto:
        state = replace(state, upto=max(horizon, state.since))
    items: list[Item]
    empty = not state.empty and service.faults.empties_page(box)
    if empty:
        items, cursor, more = [], state.cursor, True
    elif state.since == 0:
        items, cursor, more = _listed(service, box, folder, state, size)
    else:
        items, cursor, more = _changed(box, folder, state, size)
    fields = state.fields(call.caller.sees_content)
    rows = [_row(service, call, box, folder, state, item, fields) for item in items]
    rows += [row for row in rows if service.faults.repeats_row(box)]
    left = state.left - len(items) if state.left >= 0 else -1
    path = (
        f"{call.base}/users/{quote(call.parts[1])}/mailFolders/{quote(call.parts[3])}"
        "/messages/delta?"
    )
    now = call.at // 1_000_000
    body: dict[str, Any] = {
        "@odata.context": f"{call.base}/$metadata#Collection(message)",
    }
    if more and left != 0:
        next_state = replace(state, cursor=cursor, left=left, issued=now, empty=empty)
        body["@odata.nextLink"] = service.link(f"{path}$skiptoken={next_state.token()}", call)
    else:  # also where $top ended the round early: what was not listed never comes
        done = replace(state, since=state.upto, cursor=state.upto, left=-1, issued=now, empty=False)
        body["@odata.deltaLink"] = f"{path}$deltatoken={done.token()}"
    body["value"] = rows
    return Answer(200, body)


def _listed(
    service: Service, box: Box, folder: Folder, state: Round, size: int
) -> tuple[list[Item], int, bool]:
    found: list[Item] = []
    numbers = box.numbers(folder.number)  # newest first
    first = bisect_right(numbers, -state.cursor, key=lambda number: -number)
    for number in islice(numbers, first, None):
        item = box.items[number]
        if item.received < state.received_from or service.faults.hides(item, box):
            continue
        if len(found) == size:
            return found, found[-1].number if found else state.cursor, True
        found.append(item)
    return found, 0, False


def _changed(box: Box, folder: Folder, state: Round, size: int) -> tuple[list[Item], int, bool]:
    log = box.changes[folder.number]
    newest: list[tuple[int, int]] = []
    for number, change in reversed(log.items()):
        if change <= state.cursor:
            break
        newest.append((change, number))
    shows_read = bool(state.mask >> _NAMES.index("isRead") & 1)
    found: list[Item] = []
    cursor = state.cursor
    for change, number in reversed(newest):
        if change > state.upto:
            break
        item = box.items[number]
        here = item.folder == folder.number and not item.gone
        quiet = here and not shows_read and item.loud_change <= state.since
        if quiet or item.received < state.received_from:
            cursor = change
            continue
        if len(found) == size:
            return found, cursor, True
        cursor = change
        found.append(item)
    return found, cursor, False


def _row(
    service: Service, call: Call, box: Box, folder: Folder, state: Round, item: Item,
    fields: tuple[str, ...],
) -> dict[str, Any]:  # fmt: skip
    lost = (
        state.since
        and box.left_at.get((folder.number, item.number), 0) > state.since
        and service.faults.loses_return(box)
    )
    if lost or item.gone or item.folder != folder.number:
        return {
            "@odata.type": "#microsoft.graph.message",
            "id": _id_when_it_left(item, call.immutable),
            "@removed": {"reason": "deleted"},
        }
    only_read = state.since and item.loud_change <= state.since
    if only_read and service.faults.partial_row(box):
        fields = tuple(name for name in _PARTIAL if name in fields)
    service.shown(box, item, call.at, fields)
    row = Renderer(service.world, box, call.immutable).row(item, fields)
    return {"@odata.type": "#microsoft.graph.message", **row}


def _id_when_it_left(item: Item, immutable: bool) -> str:
    if immutable:
        return immutable_id(item.number)
    return default_id(item.number, item.version if item.gone else max(1, item.version - 1))
