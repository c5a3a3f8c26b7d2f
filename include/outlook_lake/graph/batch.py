"""`$batch`: up to 20 GETs in one POST, each answered on its own, in any order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from outlook_lake.errors import GraphError, UnreachableError, UsageError
from outlook_lake.graph import refusals
from outlook_lake.graph.resources import IMMUTABLE_IDS

__all__ = ["BATCH_LIMIT", "BatchAnswer", "BatchItem", "BatchRequest", "Reply", "arrange"]

BATCH_LIMIT = 20
"""Requests in one `$batch` (graph-facts 7)."""
_NOTHING = msgspec.Raw(b"null")
_MAILBOX = re.compile(r"/users/([0-9a-fA-F-]{36})(?:/|\?|$)")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One GET inside a `$batch`; `path` as made by `resources`."""

    id: str
    path: str
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One answer inside a `$batch`; `body` is null JSON when there was none."""

    id: str
    status: int
    retry_after: float | None
    code: str
    body: msgspec.Raw

    def error(self, path: str) -> GraphError:
        """The error this item stands for (status 400 and above)."""
        refusal = refusals.read(self.body)
        return refusals.error_for(
            self.status, refusal, refusals.place_of(path), wait_s=self.retry_after
        )


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """The answers of a `$batch`, in the order of its requests."""

    date: datetime
    items: list[BatchItem]
    sent: int


class Reply(msgspec.Struct):
    """One answer as Graph wrote it."""

    id: str
    status: int
    headers: dict[str, str] | None = None
    body: msgspec.Raw = _NOTHING


class _Replies(msgspec.Struct):
    responses: list[Reply]


_replies = msgspec.json.Decoder(_Replies)


def encode(requests: Sequence[BatchRequest]) -> bytes:
    """The body of the POST; UsageError when there are none or more than 20."""
    if not 1 <= len(requests) <= BATCH_LIMIT:
        raise UsageError(f"a batch holds 1 to {BATCH_LIMIT} requests, not {len(requests)}")
    parts = [
        {
            "id": request.id,
            "method": "GET",
            "url": request.path,
            # Preferences stand at each item: those of the outer POST are not inherited.
            "headers": {"Prefer": IMMUTABLE_IDS, **(request.headers or {})},
        }
        for request in requests
    ]
    return msgspec.json.encode({"requests": parts})


def places(requests: Sequence[BatchRequest]) -> dict[str, int]:
    """How many of the requests go to each mailbox."""
    wanted: dict[str, int] = {}
    for request in requests:
        found = _MAILBOX.match(request.path)
        if found:
            wanted[found.group(1)] = wanted.get(found.group(1), 0) + 1
    return wanted


def decode(body: bytes) -> list[Reply]:
    """The answers as they came; UnreachableError when the body is not an answer to a batch."""
    try:
        return _replies.decode(body).responses
    except msgspec.DecodeError:
        raise UnreachableError("Graph answered a batch with something else") from None


def arrange(requests: Sequence[BatchRequest], replies: Sequence[Reply]) -> list[BatchItem]:
    """The answers in the order of their requests; one that is missing is a 504."""
    by_id = {reply.id: reply for reply in replies}
    return [_item(request.id, by_id.get(request.id)) for request in requests]


def _item(wanted: str, reply: Reply | None) -> BatchItem:
    if reply is None:
        return BatchItem(wanted, 504, None, "", _NOTHING)
    wait_s: float | None = None
    code = ""
    if reply.status >= 400:
        code = refusals.read(reply.body).code
        for name, value in (reply.headers or {}).items():
            if name.lower() == "retry-after":
                wait_s = refusals.retry_after(value)
    return BatchItem(wanted, reply.status, wait_s, code, reply.body)
