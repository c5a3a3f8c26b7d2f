"""Messages: one by its id, lists of a folder or of the whole mailbox."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urlencode

from graph_simulator.clock import parse_instant
from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.render import Renderer, etag, selection
from graph_simulator.graph.scope import find_box, find_folder, find_item, item_not_found
from graph_simulator.graph.service import Service
from graph_simulator.world import content
from graph_simulator.world.box import Box
from graph_simulator.world.model import Folder, Item

__all__ = ["attachments", "get_message", "list_messages", "next_link"]

Test = Callable[[Item], bool]
_DATES: dict[str, Callable[[Item], int]] = {
    "receiveddatetime": lambda i: i.received,
    "sentdatetime": lambda i: i.sent,
    "createddatetime": lambda i: i.created,
    "lastmodifieddatetime": lambda i: i.modified,
}
_BOOLS: dict[str, Callable[[Item], bool]] = {
    "isread": lambda i: i.read,
    "isdraft": lambda i: i.draft,
    "hasattachments": lambda i: i.attachments,
}
_CLAUSE = re.compile(r"^\(?\s*([A-Za-z]+)\s+(ge|gt|le|lt|eq|ne)\s+(\S+?)\s*\)?$")


def clauses(text: str) -> list[Test]:
    """Tests of a `$filter`: comparisons of dates and booleans joined by `and`.

    Raises GraphError (400) for anything else.
    """
    tests: list[Test] = []
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE):
        found = _CLAUSE.match(part.strip())
        name = found.group(1).lower() if found else ""
        if found and name in _DATES:
            tests.append(_date_test(_DATES[name], found.group(2), found.group(3)))
        elif found and name in _BOOLS and found.group(2) in ("eq", "ne"):
            wanted = (found.group(3).lower() == "true") == (found.group(2) == "eq")
            value = _BOOLS[name]
            tests.append(lambda i, v=value, w=wanted: v(i) == w)  # type: ignore[misc]
        else:
            raise GraphError(400, "ErrorInvalidUrlQueryFilter", "The query filter is invalid.")
    return tests


def _date_test(value: Callable[[Item], int], op: str, text: str) -> Test:
    try:
        at = parse_instant(text.strip("'")) / 1_000_000
    except ValueError:
        raise GraphError(
            400, "ErrorInvalidUrlQueryFilter", "The query filter is invalid."
        ) from None
    if op == "ge":
        return lambda i: value(i) >= at
    if op == "gt":
        return lambda i: value(i) > at
    if op == "le":
        return lambda i: value(i) <= at
    if op == "lt":
        return lambda i: value(i) < at
    if op == "eq":
        return lambda i: value(i) == at
    return lambda i: value(i) != at


def next_link(call: Call, **changed: object) -> str:
    """The link to the next page: the same call with some options changed."""
    path = "/".join(quote(part, safe="=-_.~@") for part in call.parts)
    query = {**call.query, **{f"${name}": str(value) for name, value in changed.items()}}
    return f"{call.base}/{path}?{urlencode(query, safe='$,', quote_via=quote)}"


def get_message(service: Service, call: Call) -> Answer:
    """GET users/{id}/messages/{id} (also below a folder)."""
    call.caller.need_mail()
    box = find_box(service.world, call)
    fields = selection(call)
    item = find_item(service.world, box, call.parts[-1])
    if item is not None and service.faults.hides(item, box):
        raise item_not_found()
    if item is None or item.gone:
        if item is not None:
            service.shown(box, item, call.at)
        raise item_not_found()
    if len(call.parts) == 6 and item.folder != (
        find_folder(service.world, box, call.parts[3]).number
    ):
        raise item_not_found()
    seen = service.faults.lagging(item, box) or item
    service.shown(box, seen, call.at, fields)
    row = Renderer(service.world, box, call.immutable).row(seen, fields)
    link = f"{call.base}/$metadata#users('{quote(call.parts[1])}')/messages"
    select = call.query.get("$select")
    row = {"@odata.context": f"{link}{f'({select})' if select else ''}/$entity", **row}
    return Answer(200, row, {"ETag": etag(seen)})


def list_messages(service: Service, call: Call) -> Answer:
    """GET users/{id}/messages and users/{id}/mailFolders/{id}/messages."""
    call.caller.need_mail()
    world = service.world
    box = find_box(world, call)
    fields = selection(call)
    folder: Folder | None = None
    if len(call.parts) == 5:
        folder = find_folder(world, box, call.parts[3])
    for name in call.query:
        if name.startswith("$") and name not in (
            "$select", "$top", "$skip", "$orderby", "$filter", "$count"
        ):  # fmt: skip
            raise GraphError(400, "ErrorInvalidUrlQuery", f"{name[:20]} is not supported.")
    numbers = _numbers(box, folder, call)
    size = call.number("$top", 1, 1000) or call.page_size or 10
    skip = call.number("$skip", 0, 10**9) or 0
    page = [box.items[number] for number in numbers[skip : skip + size]]
    render = Renderer(world, box, call.immutable)
    for item in page:
        service.shown(box, item, call.at, fields)
    body: dict[str, object] = {
        "@odata.context": f"{call.base}/$metadata#users('{quote(call.parts[1])}')/messages"
    }
    if call.query.get("$count", "").lower() == "true":
        body["@odata.count"] = len(numbers)
    body["value"] = [render.row(item, fields) for item in page]
    if skip + size < len(numbers):
        body["@odata.nextLink"] = service.link(next_link(call, skip=skip + size), call)
    return Answer(200, body)


def _numbers(box: Box, folder: Folder | None, call: Call) -> list[int]:
    """Numbers of what a list shows, in its order. Raises GraphError (400)."""
    order = call.query.get("$orderby", "receivedDateTime desc")
    plain = "$filter" not in call.query and order.lower() == "receiveddatetime desc"
    if plain and folder is not None and not folder.search:
        return box.by_date(folder.number)
    items = _shown(box, folder)
    if "$filter" in call.query:
        for test in clauses(call.query["$filter"]):
            items = [item for item in items if test(item)]
    _order(items, order)
    return [item.number for item in items]


def _shown(box: Box, folder: Folder | None) -> list[Item]:
    """What a folder, or the mailbox without its dumpster, shows."""
    if folder is None:
        dumpster = {f.number for f in box.folders.values() if not box.below_root(f)}
        return [i for i in box.items.values() if not i.gone and i.folder not in dumpster]
    if folder.search:
        return box.found()
    return [box.items[number] for number in box.numbers(folder.number)]


def _order(items: list[Item], text: str) -> None:
    name, _, direction = text.strip().partition(" ")
    value = _DATES.get(name.lower())
    if value is None or direction.strip().lower() not in ("", "asc", "desc"):
        raise GraphError(
            400, "ErrorInvalidUrlQuery", "The simulator orders by one of the message dates only."
        )
    items.sort(key=lambda i: (value(i), i.number), reverse=direction.strip().lower() == "desc")


def attachments(service: Service, call: Call) -> Answer:
    """GET users/{id}/messages/{id}/attachments: content, so ReadBasic may not."""
    call.caller.need_mail()
    box = find_box(service.world, call)
    item = find_item(service.world, box, call.parts[3])
    if item is None or item.gone:
        raise item_not_found()
    if not call.caller.sees_content:
        raise GraphError(
            403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."
        )
    return Answer(200, {"value": content.attachments(item)})
