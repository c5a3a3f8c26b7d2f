"""Every answer the receiver gives, as ASGI messages and as bytes on the wire."""

from __future__ import annotations

from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

__all__ = [
    "ACCEPTED",
    "BAD_HANDSHAKE",
    "LIVE",
    "MALFORMED",
    "NOT_FOUND",
    "NOT_JSON",
    "NO_CLOCK",
    "READY",
    "TOO_LARGE",
    "TOO_LARGE_CLOSE",
    "TOO_MANY",
    "UNAVAILABLE",
    "WRONG_METHOD",
    "Answer",
    "Message",
    "answer",
    "wire",
]

Message = MutableMapping[str, Any]


class Answer(NamedTuple):
    """`start` and `end` are the two ASGI messages."""

    start: Message
    end: Message
    status: int


def answer(
    status: int, body: bytes = b"", *more: tuple[bytes, bytes], kind: bytes = b"text/plain"
) -> Answer:
    """Text is never to be taken for anything a browser would interpret."""
    headers = [(b"content-length", b"%d" % len(body)), *more]
    if body:
        headers += [
            (b"content-type", kind + b"; charset=utf-8"),
            (b"x-content-type-options", b"nosniff"),
        ]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    return Answer(start, {"type": "http.response.body", "body": body}, status)


def wire(given: Answer, date: bytes, *more: bytes) -> bytes:
    """The whole response; `date` as HTTP spells it."""
    phrase = HTTPStatus(given.status).phrase.encode()
    head = [b"HTTP/1.1 %d %b" % (given.status, phrase), b"date: " + date, *more]
    head += [b"%b: %b" % header for header in given.start["headers"]]
    body: bytes = given.end["body"]
    return b"\r\n".join([*head, b"", b""]) + body


ACCEPTED = answer(202)
LIVE = answer(200, b"live\n")
READY = answer(200, b"ready\n")
NO_CLOCK = answer(503, b"not ready: the clock cannot be read\n")
NOT_FOUND = answer(404, b"no such resource\n")
WRONG_METHOD = answer(405, b"use POST\n", (b"allow", b"POST"))
MALFORMED = answer(400, b"expected JSON with a list called value\n")
BAD_HANDSHAKE = answer(400, b"validationToken must be 1-4096 bytes of text\n")
NOT_JSON = answer(415, b"expected application/json without a content encoding\n")
TOO_LARGE = answer(413, b"the body is over the limit\n")
TOO_LARGE_CLOSE = answer(413, b"the body is over the limit\n", (b"connection", b"close"))
TOO_MANY = answer(413, b"too many items in one request\n")
UNAVAILABLE = answer(503, b"cannot be stored now, send again\n", (b"retry-after", b"5"))
