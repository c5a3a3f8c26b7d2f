"""Message trace: who got which mail when. One row for each message and recipient.

A second source for what arrived and what was sent. Mailboxes nobody has looked into yet have no
mail before the simulator's start. Rows come newest first.
"""

from __future__ import annotations

import re
from typing import Any

from graph_simulator.clock import iso_seconds, parse_instant
from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.messages import next_link
from graph_simulator.graph.service import Service
from graph_simulator.graph.tokens import pack, unpack
from graph_simulator.ids import named_uuid
from graph_simulator.world import content
from graph_simulator.world.model import Item, Mailbox

__all__ = ["message_traces"]

LONGEST_S, KEPT_S, DEFAULT_S = 10 * 86400, 90 * 86400, 2 * 86400
_BOUND = re.compile(r"receivedDateTime\s+(ge|gt|le|lt)\s+([0-9TZ:.+-]+)", re.IGNORECASE)
Trace = tuple[int, str, str, Item]
"""(received second, sender, recipient, the copy it was found by)"""


def _bounds(call: Call) -> tuple[int, int]:
    """First and last second asked for; both within."""
    now = call.at // 1_000_000
    low, high = now - DEFAULT_S, now
    text = call.query.get("$filter", "")
    found = _BOUND.findall(text)
    if text and len(found) != len(re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE)):
        raise GraphError(400, "BadRequest", "Message traces are filtered by receivedDateTime only.")
    for word, moment in found:
        try:
            at = parse_instant(moment) // 1_000_000
        except ValueError:
            raise GraphError(400, "BadRequest", "receivedDateTime is no date.") from None
        if word.lower() in ("ge", "gt"):
            low = at + (word.lower() == "gt")
        else:
            high = at - (word.lower() == "lt")
    if not 0 <= high - low <= LONGEST_S or low < now - KEPT_S:
        raise GraphError(
            400, "BadRequest", "The window may be ten days long, within the last ninety days."
        )
    return low, high


def _traces(service: Service, call: Call, low: int, high: int) -> list[Trace]:
    world = service.world
    found: dict[tuple[str, str], Trace] = {}
    for mailbox in world.staff[call.caller.tenant.number]:
        if not mailbox.filled:
            continue
        for item in world.box(mailbox).items.values():
            if item.draft or not low <= item.received <= high:
                continue
            for recipient in _recipients(mailbox, item):
                key = (item.imid, recipient)
                if key not in found:
                    found[key] = (item.received, item.on_behalf_of or item.sender, recipient, item)
    return sorted(found.values(), key=lambda one: (-one[0], one[3].number, one[2]))


def _recipients(mailbox: Mailbox, item: Item) -> list[str]:
    """Whom a copy tells of: its owner, or of a sent one everybody it went to."""
    if item.sender.lower() != mailbox.address:
        return [mailbox.address]
    return [address.lower() for address in (*item.to, *item.cc, *item.bcc)]


def _row(trace: Trace) -> dict[str, Any]:
    received, sender, recipient, item = trace
    return {
        "id": named_uuid(item.imid, recipient),
        "messageId": item.imid,
        "senderAddress": sender,
        "recipientAddress": recipient,
        "receivedDateTime": iso_seconds(received),
        "status": "delivered",
        "subject": content.subject(item),
        "size": 20_000,
        "fromIP": "192.0.2.1",
        "toIP": "",
    }


def message_traces(service: Service, call: Call) -> Answer:
    """GET admin/exchange/tracing/messageTraces, 1,000 a page unless `$top` says otherwise."""
    call.caller.need_traces()
    service.limits.count_trace_call(call.caller.tenant.number)
    for name in call.query:
        if name not in ("$filter", "$top", "$skiptoken"):
            raise GraphError(400, "BadRequest", f"The simulator does not know {name[:20]} here.")
    size = call.number("$top", 1, 5000) or 1000
    if "$skiptoken" in call.query:
        _, start, low, high = unpack(call.query["$skiptoken"], "t")
    else:
        start, (low, high) = 0, _bounds(call)
    traces = _traces(service, call, low, high)
    body: dict[str, Any] = {
        "@odata.context": f"{call.base}/$metadata#admin/exchange/tracing/messageTraces"
    }
    if start + size < len(traces):
        token = pack(["t", start + size, low, high])
        body["@odata.nextLink"] = service.link(next_link(call, skiptoken=token), call)
    body["value"] = [_row(one) for one in traces[start : start + size]]
    return Answer(200, body)
