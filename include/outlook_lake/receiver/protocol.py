"""The stand-alone server's way in: the usual POST without ASGI, and limits on everybody.

A POST to `…/notifications` with JSON of a known length is read, judged and answered right here;
whatever else comes (a handshake, a chunked body, `Expect`, another path) goes the server's
usual way to the ASGI application, which gives the same answers (the tests ask both).

    connection ─▶ head ─▶ body ─▶ Intake.take ─▶ 202
         └─ Doorkeeper, once a second: idle, too slow, too many ─▶ closed
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from outlook_lake.receiver.answers import ACCEPTED, UNAVAILABLE, Answer, answer, wire
from outlook_lake.receiver.app import is_json
from outlook_lake.receiver.intake import Intake

__all__ = ["Doorkeeper", "protocol_of"]

SLOWEST_S = 10.0
"""A request must be in within this time of its first byte, or its connection ends. Graph's own
patience is 3 s at first and 10 s when it tries again (graph-facts 2.6)."""
IDLE_S = 65.0
"""Longer than a load balancer's 60 s, so that it is the one who closes."""
MOST_HEAD = 32 << 10
"""Bytes; Graph's heads have about 500, a handshake's token a few hundred more."""
TOO_MUCH_HEAD = answer(431, b"the head of the request is over the limit\n")


class Doorkeeper:
    """What the connections of one server share; `sweep` ends those that are too slow."""

    def __init__(self, intake: Intake, most_connections: int) -> None:
        self.intake = intake
        self.most_connections = most_connections
        self.open: set[Connection] = set()
        self.now = time.monotonic()
        """Seconds, as of the last sweep: good enough to judge patience by."""
        self.accepted = b""
        self.date = b""
        self._renew()
        intake.connections = lambda: len(self.open)
        intake.on_beat = self.sweep

    def sweep(self) -> None:
        """Once a second."""
        self._renew()
        for one in tuple(self.open):
            one.judge_patience()

    def _renew(self) -> None:
        self.now = time.monotonic()
        self.date = formatdate(usegmt=True).encode()
        self.accepted = wire(ACCEPTED, self.date)


def protocol_of(doorkeeper: Doorkeeper) -> type[asyncio.Protocol]:
    """The protocol class of one server, as uvicorn takes it."""
    return type("ReceiverConnection", (Connection,), {"keeper": doorkeeper})


class Connection(HttpToolsProtocol):
    """One client. The usual POST is `_quick`, from its head to its answer."""

    keeper: Doorkeeper

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._quick: list[bytes] | None = None
        """Parts of the body that comes in."""
        self._held = 0
        self._flying = False
        self._version: str | None = None
        """Of the first request; no client changes it."""
        self._keep_alive = True
        self._began = 0.0
        self._touched = self.keeper.now
        self._reading_since = self._touched
        """When the request that is coming in began; 0 = none is."""
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.keeper.open) >= self.keeper.most_connections:
            self._end(UNAVAILABLE)
            return
        self.keeper.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.keeper.open.discard(self)
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._touched = self.keeper.now
        super().data_received(data)
        if self._head_bytes:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD:
                self.keeper.intake.refuse("too_large", b"", size=self._head_bytes)
                self._end(TOO_MUCH_HEAD)

    def judge_patience(self) -> None:
        """Close when idle for too long, or when a request takes too long to come in."""
        now = self.keeper.now
        if self._reading_since and now - self._reading_since > SLOWEST_S:
            self.keeper.intake.refuse("too_slow", b"", size=self._held)
            self.transport.abort()
        elif not self._reading_since and not self._flying and now - self._touched > IDLE_S:
            self.transport.close()

    # What the parser finds.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._reading_since = self.keeper.now
        self._head_bytes = 1

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        if self._flying:
            # Sent before the answer to the one before, which no client of ours does: that one
            # is answered and the connection ends, so that this one is sent again.
            self._keep_alive = False
            self.flow.pause_reading()
            self._quick = None
            return
        if self._is_usual():
            self._began = time.monotonic()
            intake = self.keeper.intake
            if intake.held_bytes > intake.held_limit // 2:
                # Those whose bodies are half here finish first; a new one hears at once.
                self._count(intake.give_up())
                self._end(UNAVAILABLE)
                return
            if self._version is None:
                self._version = self.parser.get_http_version()
            self._keep_alive = self._version != "1.0" and self.parser.should_keep_alive()
            self._quick = []
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._quick is None:
            if not self._is_done():
                super().on_body(body)
            return
        self._quick.append(body)
        self._held += len(body)
        intake = self.keeper.intake
        intake.held_bytes += len(body)
        if intake.held_bytes > intake.held_limit:
            self._quick = None
            intake.give_up()
            self._count(UNAVAILABLE)
            self._end(UNAVAILABLE)

    def on_message_complete(self) -> None:
        self._reading_since = 0.0
        parts, self._quick = self._quick, None
        if parts is None:
            if not self._is_done():
                super().on_message_complete()
            return
        self._release()
        self._flying = True
        self.keeper.intake.take(parts[0] if len(parts) == 1 else b"".join(parts), self._answered)

    def shutdown(self) -> None:
        """The server ends: what is on its way to the disk is still answered."""
        if self._flying:
            self._keep_alive = False
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is counted like all that is refused."""
        self.keeper.intake.refuse("malformed_http", b"")
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _is_done(self) -> bool:
        """Whether what still comes in is of nobody's interest."""
        return self._flying or self.cycle is None or self.transport.is_closing()

    def _answered(self, given: Answer) -> None:
        self._flying = False
        self._count(given)
        if self.transport.is_closing():
            return
        keeper = self.keeper
        if not self._keep_alive:
            self._end(given)
        elif given is ACCEPTED:
            self.transport.write(keeper.accepted)
        else:
            self.transport.write(wire(given, keeper.date))

    def _count(self, given: Answer) -> None:
        self.keeper.intake.metrics.answered(given.status, time.monotonic() - self._began)

    def _is_usual(self) -> bool:
        if not self.url.endswith(b"/notifications") or self.parser.get_method() != b"POST":
            return False
        if (self.cycle is not None and not self.cycle.response_complete) or self.pipeline:
            return False
        length = content_type = b""
        for name, value in self.headers:
            if name == b"content-type":
                content_type = value
            elif name == b"content-length":
                length = value
            elif name in _UNUSUAL:
                return False
        if not length.isdigit() or len(length) > 18:
            return False
        return 0 < int(length) <= self.keeper.intake.body_limit and is_json(content_type)

    def _release(self) -> None:
        self.keeper.intake.held_bytes -= self._held
        self._held = 0

    def _end(self, given: Answer) -> None:
        """Answer and hang up."""
        if not self.transport.is_closing():
            self.transport.write(wire(given, self.keeper.date, b"connection: close"))
            self.transport.close()


_UNUSUAL = frozenset((b"content-encoding", b"transfer-encoding", b"expect", b"upgrade"))
