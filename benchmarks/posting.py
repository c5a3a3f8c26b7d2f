"""Posts as Graph sends them: keep-alive connections, each with one request at a time.

A closed loop asks how much a server can take; an open loop sends at a fixed rate and counts
latency from the moment a POST was due, so that a stalled server cannot hide its stall.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from outlook_lake.receiver.client_state import Key, make, new_nonce

__all__ = ["Mailboxes", "OpenLoop", "Posts", "Tally", "closed_loop", "connect", "request_of"]

TENANT = "11111111-2222-4333-8444-555555555555"
GIVE_UP_S = 30.0

Posts = Iterator[tuple[list[str], bytes]]
"""Ids of the messages in a POST, and the bytes of the whole request."""


class Mailboxes:
    """Subscribed mailboxes; makes bodies of about 1 KB an item, each with ids of its own."""

    def __init__(self, key: Key, count: int = 2000, seed: int = 1) -> None:
        chance = random.Random(seed)
        self._templates: list[bytes] = []
        self._number = 0
        for _ in range(count):
            mailbox = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            subscription = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            where = f"Users/{mailbox}/Messages/@@"
            item = {
                "subscriptionId": subscription,
                "subscriptionExpirationDateTime": "2026-11-30T10:00:00Z",
                "clientState": make(key, TENANT, mailbox, new_nonce()),
                "changeType": "updated",
                "tenantId": TENANT,
                "resource": where,
                "resourceData": {
                    "@odata.type": "#Microsoft.Graph.Message",
                    "@odata.id": where,
                    "@odata.etag": 'W/"CQAAABYAAAAiIsqMbYjsT5e/T7KzowPTAAVZ1gBz"',
                    "id": "@@",
                },
            }
            self._templates.append(json.dumps(item).encode())

    def post(self, items: int) -> tuple[list[str], bytes]:
        """The ids in it, and a whole POST /notifications of so many items."""
        ids, parts = [], []
        for _ in range(items):
            self._number += 1
            one = f"AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A{self._number:0108d}AAA="
            ids.append(one)
            template = self._templates[self._number % len(self._templates)]
            parts.append(template.replace(b"@@", one.encode()))
        return ids, request_of(b'{"value":[%b]}' % b",".join(parts))

    def fresh(self, items: int) -> Posts:
        """POSTs with ids nobody has seen."""
        while True:
            yield self.post(items)

    def pool(self, items: int, posts: int) -> Posts:
        """The same ready-made POSTs over and over: they cost the sender nothing."""
        made = [self.post(items) for _ in range(posts)]
        while True:
            yield from made


def request_of(body: bytes) -> bytes:
    """A POST of this body to /notifications."""
    return (
        b"POST /notifications HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json; charset=utf-8\r\naccept: */*\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


@dataclass
class Tally:
    """What came back. `seconds` are one a POST, in the order of their answers."""

    keeps_ids: bool = False
    statuses: Counter[int] = field(default_factory=Counter)
    notifications: int = 0
    acknowledged: list[str] = field(default_factory=list)
    seconds: array[float] = field(default_factory=lambda: array("f"))
    broken: int = 0
    took_s: float = 0.0

    def add(self, status: int, ids: list[str], seconds: float) -> None:
        """One answer; status 0 when the connection broke instead."""
        if not status:
            self.broken += 1
            return
        self.statuses[status] += 1
        self.seconds.append(seconds)
        if status == 202:
            self.notifications += len(ids)
            if self.keeps_ids:
                self.acknowledged += ids

    def slower_than(self, limit_s: float) -> int:
        """Answers that took longer, and requests that got none."""
        return sum(one > limit_s for one in self.seconds) + self.broken

    def percentile(self, share: float) -> float:
        """Seconds; 0 when nothing was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with the status, 0 when it broke."""

    def __init__(self) -> None:
        self.answered: Callable[[int], None] = lambda _: None
        self._seen = b""
        self._transport: asyncio.Transport | None = None
        self._waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, data: bytes) -> None:
        """Send a request; nothing else may be on its way."""
        self._waits = True
        assert self._transport is not None
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        end = self._seen.find(b"\r\n\r\n")
        if end < 0 or len(self._seen) < end + 4 + _length(self._seen[:end]):
            return
        status, self._seen, self._waits = int(self._seen[9:12]), b"", False
        self.answered(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._waits = False
            self.answered(0)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def connect(port: int, count: int) -> list[Connection]:
    """So many connections to a server on loopback."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(count)]


async def closed_loop(
    port: int,
    posts: Posts,
    *,
    connections: int,
    seconds: float,
    tally: Tally | None = None,
) -> Tally:
    """Post as fast as the answers come. Ends early when every connection has broken."""
    loop = asyncio.get_running_loop()
    tally = tally or Tally()
    lines = await connect(port, connections)
    began = loop.time()
    end = began + seconds
    ended = asyncio.Event()
    driving = set(lines)

    def drive(line: Connection) -> None:
        ids: list[str] = []
        sent = 0.0

        def next_one(status: int | None) -> None:
            nonlocal ids, sent
            now = loop.time()
            if status is not None:
                tally.add(status, ids, now - sent)
            if now >= end or not line.is_open:
                driving.discard(line)
                if not driving:
                    ended.set()
                return
            ids, body = next(posts)
            sent = now
            line.send(body)

        line.answered = next_one
        next_one(None)

    for line in lines:
        drive(line)
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds + GIVE_UP_S)
    tally.broken += len(driving)
    tally.took_s = loop.time() - began
    for line in lines:
        line.close()
    return tally


class OpenLoop:
    """Sends so many POSTs a second whatever the answers do; latency counts from the due time."""

    def __init__(self, port: int, posts: Posts, tally: Tally, most_connections: int = 512) -> None:
        self.tally = tally
        self._port = port
        self._posts = posts
        self._most_connections = most_connections
        self._lines: list[Connection] = []
        self._idle: deque[Connection] = deque()
        self._late: deque[float] = deque()
        self._flying = 0

    async def run(self, per_s: float, seconds: float) -> Tally:
        """Send for so long; wait for the last answers."""
        loop = asyncio.get_running_loop()
        await self._open(32)
        began, sent = loop.time(), 0
        while (now := loop.time()) < began + seconds:
            owed = int((now - began) * per_s)
            self._late.extend(began + number / per_s for number in range(sent, owed))
            sent = owed
            await self._send()
            await asyncio.sleep(0.001)
        while (self._late or self._flying) and loop.time() < began + seconds + GIVE_UP_S:
            await self._send()
            await asyncio.sleep(0.01)
        self.tally.broken += self._flying + len(self._late)
        self.tally.took_s = loop.time() - began
        for line in self._lines:
            line.close()
        return self.tally

    async def _send(self) -> None:
        if len(self._late) > len(self._idle) and len(self._lines) < self._most_connections:
            await self._open(min(8, self._most_connections - len(self._lines)))
        while self._late and self._idle:
            line = self._idle.popleft()
            if line.is_open:
                self._fly(line, self._late.popleft())

    def _fly(self, line: Connection, due: float) -> None:
        loop = asyncio.get_running_loop()
        ids, body = next(self._posts)

        def landed(status: int) -> None:
            self._flying -= 1
            self.tally.add(status, ids, loop.time() - due)
            if line.is_open:
                self._idle.append(line)
            else:
                self._lines.remove(line)

        self._flying += 1
        line.answered = landed
        line.send(body)

    async def _open(self, count: int) -> None:
        made = await connect(self._port, count)
        self._lines += made
        self._idle += made
