"""The web application: one raw ASGI callable, stand-alone or under any mount.

    POST …/notifications                     notifications and lifecycle items → 202
    POST …/notifications?validationToken=t   the handshake: t, decoded, as plain text
    GET  …/live                              200 while the process answers
    GET  …/ready                             200 while staging takes data, else 503 and why
    GET  …/metrics                           what it did, for Prometheus

A framework's middleware would cost more than all the work done here, so there is none. The
stand-alone server takes the usual POST past ASGI altogether (`protocol`); all else comes here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

from outlook_lake.receiver.answers import (
    BAD_HANDSHAKE,
    LIVE,
    NOT_FOUND,
    NOT_JSON,
    TOO_LARGE,
    TOO_LARGE_CLOSE,
    UNAVAILABLE,
    WRONG_METHOD,
    Answer,
    Message,
    answer,
)
from outlook_lake.receiver.intake import Intake
from outlook_lake.settings import Settings

__all__ = ["Receiver", "create_app", "is_json"]

Scope = Message
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_DISCARDED = 16 << 20
"""A refused body of up to so many bytes is let in and thrown away; a larger one is cut off."""
LONGEST_TOKEN = 4096
"""Bytes of an encoded validation token; Graph's are a few hundred."""


def create_app(settings: Settings) -> Receiver:
    """The receiver of one home. Raises StateError when its keys cannot be read or made."""
    return Receiver(settings)


class Receiver:
    """An ASGI 3 application. Where it is mounted, the host calls `startup` and `shutdown`."""

    def __init__(self, settings: Settings) -> None:
        self.intake = Intake(settings)
        self.startup = self.intake.startup
        self.shutdown = self.intake.shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            try:
                given = await self._respond(scope, receive)
            except Exception as error:
                given = self.intake.fail(error)
            if given is not None:
                await send(given.start)
                await send(given.end)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _respond(self, scope: Scope, receive: Receive) -> Answer | None:
        # The last part decides, so that any prefix of a mount or a proxy will do.
        route = scope["path"].rpartition("/")[2]
        if route == "notifications":
            if scope["method"] != "POST":
                return WRONG_METHOD
            query = scope["query_string"]
            if b"validationToken=" in query:
                return self._shake_hands(query)
            began = time.monotonic()
            given = await self._take(scope, receive)
            if given is not None:
                self.intake.metrics.answered(given.status, time.monotonic() - began)
            return given
        if route == "live":
            return LIVE
        if route == "ready":
            return self.intake.readiness()
        if route == "metrics":
            page = await self.intake.page()
            return answer(200, page, kind=b"text/plain; version=0.0.4")
        return NOT_FOUND

    def _shake_hands(self, query: bytes) -> Answer:
        """Echo the token as text, never as anything a browser would interpret."""
        for part in query.split(b"&"):
            name, _, value = part.partition(b"=")
            if name != b"validationToken":
                continue
            if 0 < len(value) <= LONGEST_TOKEN:
                token = unquote_to_bytes(value.replace(b"+", b" "))
                try:
                    token.decode()
                except UnicodeDecodeError:
                    break
                self.intake.metrics.handshakes["answered"] += 1
                return answer(200, token)
            break
        self.intake.metrics.handshakes["refused"] += 1
        self.intake.refuse("bad_handshake", query[: 2 * LONGEST_TOKEN])
        return BAD_HANDSHAKE

    async def _take(self, scope: Scope, receive: Receive) -> Answer | None:
        intake = self.intake
        content_type = encoding = b""
        announced = 0
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"content-length":
                announced = int(value[:18]) if value.isdigit() else 0
            elif name == b"content-encoding":
                encoding = value
        if announced > intake.body_limit:
            intake.refuse("too_large", b"", size=announced)
            # The server throws the rest away as it comes: the sender gets to read the answer.
            return TOO_LARGE if announced <= MOST_DISCARDED else TOO_LARGE_CLOSE
        if not is_json(content_type) or encoding not in (b"", b"identity"):
            intake.refuse("content_type", b"", size=announced)
            return NOT_JSON
        given: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        body = await self._body(receive)
        if not isinstance(body, bytes):
            return body
        intake.take(body, lambda one: None if given.done() else given.set_result(one))
        return await given

    async def _body(self, receive: Receive) -> bytes | Answer | None:
        """The body, the refusal of one over a limit, or None when the client went away."""
        intake = self.intake
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                part: bytes = message.get("body", b"")
                if not message.get("more_body"):
                    parts.append(part)
                    if size + len(part) > intake.body_limit:
                        break
                    return b"".join(parts) if size else part
                parts.append(part)
                size += len(part)
                intake.held_bytes += len(part)
                if size > intake.body_limit:
                    break
                if intake.held_bytes > intake.held_limit:
                    intake.give_up()
                    return UNAVAILABLE
        finally:
            intake.held_bytes -= size
        intake.refuse("too_large", b"", size=size + len(parts[-1]))
        return TOO_LARGE_CLOSE

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.startup()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return


def is_json(content_type: bytes) -> bool:
    """Whether a content type announces JSON, whatever its parameters."""
    if content_type in (b"application/json", b"application/json; charset=utf-8"):
        return True
    return content_type.partition(b";")[0].strip().lower() == b"application/json"
