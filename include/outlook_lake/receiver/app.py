"""The web application: one raw ASGI callable, stand-alone or under any mount.

    POST …/notifications                     notifications and lifecycle items → 202
    POST …/notifications?validationToken=t   the handshake: t, decoded, as plain text
    GET  …/live                              200 while the process answers
    GET  …/ready                             200 while staging takes data, else 503 and why

A framework's middleware would cost more than all the work done here, so there is none.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from outlook_lake.clock import graph_us, set_offset
from outlook_lake.receiver.committer import Committer
from outlook_lake.receiver.heartbeat import Heartbeat
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.pulse import Pulse
from outlook_lake.receiver.quarantine import Quarantine, quarantine_record
from outlook_lake.receiver.segments import Quarantined
from outlook_lake.receiver.sifting import MalformedPostError, TooManyItemsError, sift
from outlook_lake.receiver.writer import SegmentWriter, receiver_id
from outlook_lake.settings import Settings

__all__ = ["Receiver", "create_app"]

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[Message, Message]

TICK_S = 0.25
BEAT_S = 1.0
QUARANTINE_S = 2.0
"""Counts of what was refused reach the disk this often (machine time)."""
MOST_DISCARDED = 16 << 20
"""A refused body of up to so many bytes is let in and thrown away; a larger one is cut off."""
LONGEST_TOKEN = 4096
"""Bytes of an encoded validation token; Graph's are a few hundred."""


def _answer(status: int, body: bytes = b"", *more: tuple[bytes, bytes]) -> Answer:
    headers = [(b"content-length", b"%d" % len(body)), *more]
    if body:
        headers += [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"x-content-type-options", b"nosniff"),
        ]
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


ACCEPTED = _answer(202)
LIVE = _answer(200, b"live\n")
READY = _answer(200, b"ready\n")
NO_CLOCK = _answer(503, b"not ready: the clock cannot be read\n")
NOT_FOUND = _answer(404, b"no such resource\n")
WRONG_METHOD = _answer(405, b"use POST\n", (b"allow", b"POST"))
MALFORMED = _answer(400, b"expected JSON with a list called value\n")
BAD_HANDSHAKE = _answer(400, b"validationToken must be 1-4096 bytes of text\n")
NOT_JSON = _answer(415, b"expected application/json without a content encoding\n")
TOO_LARGE = _answer(413, b"the body is over the limit\n")
TOO_LARGE_CLOSE = _answer(413, b"the body is over the limit\n", (b"connection", b"close"))
TOO_MANY = _answer(413, b"too many items in one request\n")
UNAVAILABLE = _answer(503, b"cannot be stored now, send again\n", (b"retry-after", b"5"))


def create_app(settings: Settings) -> Receiver:
    """The receiver of one home. Raises StateError when its keys cannot be read or made."""
    return Receiver(settings)


class Receiver:
    """An ASGI 3 application. Where it is mounted, the host calls `startup` and `shutdown`."""

    def __init__(self, settings: Settings) -> None:
        self._staging = settings.staging
        self._body_limit = settings.receiver.body_limit_bytes
        self._keyring = Keyring(settings.keys)
        self._pulse = Pulse()
        name = receiver_id()
        self._heartbeat = Heartbeat(settings.staging, name)
        self._quarantine = Quarantine()
        writer = SegmentWriter(
            settings.staging,
            name,
            age_s=settings.receiver.segment_age_s,
            size_bytes=settings.receiver.segment_bytes,
            vouched_since=lambda: self._pulse.vouched_since(graph_us()),
        )
        self._committer = Committer(
            writer,
            pending_limit=settings.receiver.pending_limit_bytes,
            on_trouble=self._interrupt,
        )
        self._ticking: asyncio.Task[None] | None = None
        self._full = False
        self._clock_lost = False

    async def startup(self) -> None:
        """Start committing; the first look at the disk decides whether `/ready` says so."""
        self._committer.start()
        self._ticking = asyncio.create_task(self._tick(), name="receiver-tick")

    async def shutdown(self) -> None:
        """Store what waits and close the open segment."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._store_quarantine()
            await self._committer.stop()
            with suppress(_ClockUnreadableError):
                await self._heartbeat.stop(_now())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            try:
                answer = await self._respond(scope, receive)
            except _ClockUnreadableError:  # the beat says so in the log
                answer = self._give_up()
            except Exception as error:
                # Where, and of what kind, but not its message: that could quote the body.
                where = "".join(traceback.format_tb(error.__traceback__))
                log.error("answered 503 after an unexpected %s\n%s", type(error).__name__, where)
                answer = self._give_up()
            if answer is not None:
                await send(answer[0])
                await send(answer[1])
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
            return await self._take(scope, receive)
        if route == "live":
            return LIVE
        if route == "ready":
            if self._clock_lost:
                return NO_CLOCK
            trouble = self._committer.trouble
            if trouble is None:
                return READY
            return _answer(503, f"not ready: staging: {trouble}\n".encode())
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
                return _answer(200, token)
            break
        self._quarantine.add("bad_handshake", query[: 2 * LONGEST_TOKEN], _now())
        return BAD_HANDSHAKE

    async def _take(self, scope: Scope, receive: Receive) -> Answer | None:
        now = _now()
        content_type = encoding = b""
        announced = 0
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"content-length":
                announced = int(value[:18]) if value.isdigit() else 0
            elif name == b"content-encoding":
                encoding = value
        if announced > self._body_limit:
            self._quarantine.add("too_large", b"", now, size=announced)
            # The server throws the rest away as it comes: the sender gets to read the answer.
            return TOO_LARGE if announced <= MOST_DISCARDED else TOO_LARGE_CLOSE
        if content_type != b"application/json" and not _is_json(content_type):
            return self._refuse_type(now, announced)
        if encoding and encoding != b"identity":
            return self._refuse_type(now, announced)
        body = await self._body(receive)
        if body is None:
            return None  # the client went away
        if len(body) > self._body_limit:
            self._quarantine.add("too_large", b"", now, size=len(body))
            return TOO_LARGE_CLOSE
        return await self._store(body, now)

    async def _store(self, body: bytes, now: int) -> Answer:
        try:
            sifted = sift(body, self._keyring, now, self._pulse.vouched_since(now))
        except MalformedPostError:
            self._quarantine.add("malformed_json", body, now)
            return MALFORMED
        except TooManyItemsError:
            self._quarantine.add("too_many_items", body, now)
            return TOO_MANY
        for refused in sifted.refused:
            self._quarantine.add(refused.reason, refused.content, now)
        if not sifted.passed:
            return ACCEPTED
        durable = self._committer.submit(sifted.line, sifted.passed)
        if durable is None:
            return self._turn_away()
        return ACCEPTED if await durable else UNAVAILABLE

    async def _body(self, receive: Receive) -> bytes | None:
        """The body, or just over the limit's worth of it."""
        message = await receive()
        if message["type"] != "http.request":
            return None
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts, size = [body], len(body)
        while message.get("more_body") and size <= self._body_limit:
            message = await receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        return b"".join(parts)

    def _refuse_type(self, now: int, announced: int) -> Answer:
        self._quarantine.add("content_type", b"", now, size=announced)
        return NOT_JSON

    def _give_up(self) -> Answer:
        self._interrupt()
        return UNAVAILABLE

    def _interrupt(self) -> None:
        """Something was refused: nobody can vouch for now, and a gap may have begun."""
        self._pulse.interrupt()
        with suppress(_ClockUnreadableError):
            self._heartbeat.refuse(_now())

    def _turn_away(self) -> Answer:
        if not self._full:
            log.error("the disk cannot keep up: answering 503 until it has caught up")
        self._full = True
        return self._give_up()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        beat_at = quarantine_at = loop.time()
        while True:
            self._committer.tick()
            now = loop.time()
            if now >= beat_at:
                beat_at = now + BEAT_S
                self._beat()
            if now >= quarantine_at:
                quarantine_at = now + QUARANTINE_S
                self._store_quarantine()
            await asyncio.sleep(TICK_S)

    def _beat(self) -> None:
        """Once a second: the clock's offset, the keys, the vouching span."""
        try:
            self._learn_offset()
            self._keyring.refresh()
            if self._full and self._committer.pending_bytes == 0:
                self._full = False
                log.warning("the disk has caught up")
            now = _now()
            self._pulse.beat(now)
            self._heartbeat.beat(now)
            self._clock_lost = False
        except _ClockUnreadableError as error:
            self._pulse.interrupt()
            if not self._clock_lost:
                log.error("answering 503 until the clock can be read: %s", error)
            self._clock_lost = True

    def _learn_offset(self) -> None:
        """Workers learn Graph's clock from its answers and leave it in a file for us."""
        try:
            text = (self._staging / "clock.json").read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _ClockUnreadableError(error.strerror) from None
        try:
            set_offset(msgspec.json.decode(text, type=_Offset).offset_s)
        except msgspec.MsgspecError:
            raise _ClockUnreadableError("clock.json in staging is not what was expected") from None

    def _store_quarantine(self) -> None:
        counts = self._quarantine.drain()
        if not counts:
            return
        stored = self._committer.submit(quarantine_record(counts), 0)
        if stored is None:
            self._quarantine.put_back(counts)
            return

        def put_back(stored: asyncio.Future[bool], counts: list[Quarantined] = counts) -> None:
            if not stored.cancelled() and not stored.result():
                self._quarantine.put_back(counts)

        stored.add_done_callback(put_back)

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


class _ClockUnreadableError(Exception):
    """No notification can be stamped, so none is taken."""


class _Offset(msgspec.Struct):
    """`staging/clock.json`: seconds that Graph is ahead of this machine."""

    offset_s: float


def _now() -> int:
    """Graph time, microseconds."""
    try:
        return graph_us()
    except (OSError, ValueError, KeyError) as error:
        raise _ClockUnreadableError(type(error).__name__) from None


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"
