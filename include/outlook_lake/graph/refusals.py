"""Which class of the error tree an answer of Graph belongs to (graph-facts, section 9).

The message text may quote mail or addresses: it is read here for the status hidden inside an
`ExtensionError` and never leaves this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

import msgspec

from outlook_lake.errors import (
    ConsentError,
    DeltaExpiredError,
    DeltaUnavailableError,
    FolderGoneError,
    GraphError,
    ItemGoneError,
    MailboxGoneError,
    RefusedError,
    ThrottledError,
    TokenRefusedError,
    UnreachableError,
)

__all__ = ["DEFAULT_RETRY_S", "Place", "Refusal", "error_for", "place_of", "read", "retry_after"]

DEFAULT_RETRY_S = 2.0
"""Waited when a throttled answer names no time; callers lengthen it with each attempt."""

Place = Literal["message", "folder", "delta", "user", "subscription", "other"]

_NO_MAILBOX = frozenset(
    {
        "mailboxnotenabledforrestapi",
        "mailboxnotsupportedforrestapi",
        "resourcenotfound",
        "errorinvaliduser",
        "request_resourcenotfound",
        "errornonexistentmailbox",
        "mailboxinfostale",
    }
)
_DELTA_LOST = frozenset({"syncstatenotfound", "syncstateinvalid", "resyncrequired"})
_FOLDER_LOST = frozenset({"errorsyncfoldernotfound", "errorfoldernotfound"})
_THROTTLED = frozenset({"applicationthrottled", "toomanyrequests", "errorserverbusy"})
_INNER_STATUS = re.compile(r"Status Code:\s*([A-Za-z]+)")
_STATUS_BY_NAME = {
    status.phrase.replace(" ", "").replace("-", "").lower(): status.value for status in HTTPStatus
}
_CODE = re.compile(r"[A-Za-z0-9_.]{1,64}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Graph's own words for a refusal; `message` stays inside this package."""

    code: str = ""
    message: str = ""

    @property
    def inner_status(self) -> int:
        """The status hidden in an ExtensionError's text, or 0 (msgraph-sdk-dotnet#365)."""
        if self.code.lower() != "extensionerror":
            return 0
        found = _INNER_STATUS.search(self.message)
        return _STATUS_BY_NAME.get(found.group(1).lower(), 0) if found else 0


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


_decoder = msgspec.json.Decoder(_Body)


def read(body: bytes | msgspec.Raw) -> Refusal:
    """Code and message of an error body; empty when it is none (an empty 503 occurs)."""
    try:
        error = _decoder.decode(body).error
    except msgspec.DecodeError:
        return Refusal()
    # A code goes into logs, so it has to look like one.
    return Refusal(error.code if _CODE.fullmatch(error.code) else "", error.message)


def retry_after(value: str | None) -> float | None:
    """Seconds of machine time; Graph sends seconds (corso reads a float), HTTP allows a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def place_of(path: str) -> Place:
    """What a path addresses: decides what a 404 on it means."""
    path = path.partition("?")[0].lower()
    if "/subscriptions" in path:
        return "subscription"
    if path.rstrip(")").rstrip("(").endswith("/delta"):
        return "delta"
    if "/mailfolders" in path:
        return "folder"
    if "/messages/" in path:
        return "message"
    if "/users/" in path:
        return "user"
    return "other"


def error_for(
    status: int,
    refusal: Refusal,
    place: Place,
    *,
    wait_s: float | None = None,
    request_id: str = "",
) -> GraphError:
    """The error an answer stands for. `wait_s`: its Retry-After, None when it had none."""
    effective = refusal.inner_status or status
    code = refusal.code
    known = code.lower()
    if effective in (429, 503, 504) or known in _THROTTLED:
        return ThrottledError(
            "Graph asks to wait",
            retry_after=DEFAULT_RETRY_S if wait_s is None else wait_s,
            status=effective,
            code=code,
            request_id=request_id,
        )
    kind, what = _class_of(effective, known, refusal.message, place)
    return kind(what, status=effective, code=code, request_id=request_id)


def _class_of(status: int, code: str, message: str, place: Place) -> tuple[type[GraphError], str]:
    if status >= 500:
        return UnreachableError, "Graph failed"
    if status == 401:
        return TokenRefusedError, "Graph refused the token"
    if status == 410 or code in _DELTA_LOST:
        return DeltaExpiredError, "the delta state is gone"
    if status == 403:
        return _forbidden(code, place)
    if code in _FOLDER_LOST:
        return FolderGoneError, "the folder is gone"
    if status == 404:
        return _not_found(code, message, place)
    return RefusedError, "Graph refused the request"


def _forbidden(code: str, place: Place) -> tuple[type[GraphError], str]:
    if code == "errorquotaexceeded" and place == "delta":
        return DeltaUnavailableError, "delta refuses: the mailbox is full"
    if place == "subscription" and code not in ("erroraccessdenied", "authorization_requestdenied"):
        return RefusedError, "Graph refused the subscription (a quota, or a missing permission)"
    return ConsentError, "the application may not do this"


def _not_found(code: str, message: str, place: Place) -> tuple[type[GraphError], str]:
    no_mailbox = code in _NO_MAILBOX or "MailboxNotEnabledForRESTAPI" in message
    if place == "subscription":
        # "ResourceNotFound" here is the subscription itself (the caller asks `status`); a
        # NotFound inside an ExtensionError is the mailbox (msgraph-sdk-dotnet#365).
        if code == "extensionerror" or (no_mailbox and code != "resourcenotfound"):
            return MailboxGoneError, "no usable mailbox"
        return RefusedError, "no such subscription or mailbox"
    if no_mailbox:
        return MailboxGoneError, "no usable mailbox"
    if code == "erroritemnotfound":
        if place in ("folder", "delta"):
            return FolderGoneError, "the folder is gone"
        return ItemGoneError, "the item is gone"
    return RefusedError, "not found"
