"""Graph's desk for subscriptions: one paced request per call, and what its refusals mean.

    POST  create    409 → the id that is in the way      PATCH  renew     404, 410 → None
    GET   ask       404, 410 → None                      DELETE remove    404, 410 → it is done

Graph hides a status in the text of an `ExtensionError` (msgraph-sdk-dotnet#365) and a shorter
lifetime in another (docs#2988); both are read here, and no text of Graph's leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from outlook_lake import clock
from outlook_lake.errors import (
    ConsentError,
    GraphError,
    MailboxGoneError,
    RefusedError,
    ThrottledError,
    UnreachableError,
)
from outlook_lake.graph import refusals
from outlook_lake.graph.client import Answer, GraphClient
from outlook_lake.graph.resources import rich_resource, subscription_path, subscription_resource
from outlook_lake.subscriptions.model import Listed
from outlook_lake.subscriptions.pace import Pace
from outlook_lake.tenants.encryption import KeyPair

__all__ = ["Desk", "Granted", "InTheWay"]

ATTEMPTS = 3
MARGIN = 0.98
"""The limit is checked against Microsoft's clock, and an excess is refused (docs#2988)."""
SHORTEST_MINUTES = 45
"""Graph raises what is shorter in silence."""

_ACCEPT = (400, 403, 404, 409, 410)
_GONE = (404, 410)
_MINUTES = re.compile(r"can only be ([\d,]+) minutes in the future")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OWNER = re.compile(rf"^/?users(?:/|\('?)({_GUID.pattern})(?:'?\))?/messages", re.IGNORECASE)
_FRACTION = re.compile(r"\.\d+")
_QUOTA = re.compile(r"quota|limit|maximum|exceed|too many|\d subscriptions", re.IGNORECASE)
_NO_PERMISSION = frozenset(
    {"erroraccessdenied", "authorization_requestdenied", "accessdenied", "forbidden"}
)


class _Subscription(msgspec.Struct, rename="camel"):
    id: str
    expiration_date_time: str = ""
    resource: str = ""
    notification_url: str | None = None


class _Page(msgspec.Struct):
    value: list[_Subscription]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)


@dataclass(frozen=True, slots=True)
class Granted:
    """A subscription that Graph has. Times: microseconds, Graph time."""

    subscription_id: str
    expires_at: int
    date: int


@dataclass(frozen=True, slots=True)
class InTheWay:
    """Graph refuses a second subscription on a mailbox; this one is there already."""

    subscription_id: str


class Desk:
    """One tenant's subscriptions at Graph. Every call waits for its turn."""

    def __init__(
        self,
        client: GraphClient,
        url: str,
        *,
        minutes: int,
        rich_minutes: int = 1380,
        limit: int | None,
        writes_per_s: float,
        lists_per_s: float,
    ) -> None:
        self._client = client
        self._url = url
        self._minutes = minutes
        self._rich_minutes = rich_minutes
        self._pace = Pace(writes_per_s)
        self._list_pace = Pace(lists_per_s)
        self.limit = limit
        """The longest lifetime Graph grants in minutes, once it refused a longer one."""

    async def create(
        self, aad_id: str, client_state: str, pair: KeyPair | None = None
    ) -> Granted | InTheWay:
        """Ask for a subscription on all messages of one mailbox; rich, for the holder of `pair`.

        Raises MailboxGoneError without a usable mailbox, RefusedError when asking again cannot
        help (403 = a quota), ConsentError, UnreachableError when Graph cannot reach our address.
        """
        body: dict[str, Any] = {
            "changeType": "created,updated,deleted",
            "notificationUrl": self._url,
            "lifecycleNotificationUrl": self._url,
            "resource": subscription_resource(aad_id),
            "clientState": client_state,
        }
        if pair is not None:
            body |= {"resource": rich_resource(aad_id), "includeResourceData": True}
            body |= _certificate(pair)
        answer, status = await self._write("POST", "/subscriptions", body, pair is not None)
        if status in _GONE:
            raise MailboxGoneError("no usable mailbox", status=status, code=_code(answer))
        if status == 409:
            found = _GUID.search(refusals.read(answer.body).message)
            return InTheWay(found.group(0) if found else await self._listed_on(aad_id))
        return _granted(answer)

    async def renew(
        self,
        subscription_id: str,
        *,
        move: bool = False,
        rich: bool = False,
        pair: KeyPair | None = None,
    ) -> Granted | None:
        """A fresh lifetime, which also reauthorizes; None = it is gone.

        `move` gives it our present address too, with which Graph shakes hands again. A `rich`
        one lives shorter; `pair` is what it is encrypted for from now on.
        """
        body = {"notificationUrl": self._url} if move else {}
        if pair is not None:
            body |= _certificate(pair)
        path = subscription_path(subscription_id)
        answer, status = await self._write("PATCH", path, body, rich)
        return None if status in _GONE else _granted(answer)

    async def ask(self, subscription_id: str) -> Granted | None:
        """Whether Graph knows it; None = it is gone."""
        path = subscription_path(subscription_id)
        answer, status = await self._send("GET", path, None)
        return None if status in _GONE else _granted(answer)

    async def remove(self, subscription_id: str) -> bool:
        """Delete it; False when Graph can neither find nor delete it (docs#13616)."""
        answer, status = await self._send("DELETE", subscription_path(subscription_id), None)
        return status in _GONE or answer.status < 300

    async def listing(self) -> AsyncIterator[list[Listed]]:
        """Graph's list, page by page: the subscriptions of this application that post to us."""
        link: str | None = "/subscriptions"
        while link:
            page, link = await self._page(link)
            yield [
                Listed(entry.id.lower(), _owner(entry.resource))
                for entry in page
                if entry.notification_url == self._url
            ]

    async def _listed_on(self, aad_id: str) -> str:
        link: str | None = "/subscriptions"
        while link:
            page, link = await self._page(link)
            for entry in page:
                if _owner(entry.resource) == aad_id.lower():
                    return entry.id
        raise UnreachableError("Graph refuses a second subscription but does not show the first")

    async def _page(self, link: str) -> tuple[list[_Subscription], str | None]:
        await self._list_pace.turn()
        answer = await self._client.get(link, prefer="")
        try:
            page = msgspec.json.decode(answer.body, type=_Page)
        except msgspec.DecodeError:
            raise RefusedError(
                "the list of subscriptions could not be read", status=answer.status
            ) from None
        return page.value, page.next_link

    async def _write(
        self, method: str, path: str, body: dict[str, Any], rich: bool = False
    ) -> tuple[Answer, int]:
        """POST or PATCH with an expiry; a shorter limit Graph names is taken once and kept."""
        for _ in range(2):
            asked = self._asked(rich)
            until = clock.graph_now() + timedelta(minutes=asked)
            expiry = until.strftime("%Y-%m-%dT%H:%M:%SZ")
            answer, status = await self._send(method, path, {**body, "expirationDateTime": expiry})
            if status != 400:
                return answer, status
            refusal = refusals.read(answer.body)
            named = _MINUTES.search(refusal.message)
            limit = int(named.group(1).replace(",", "")) if named else 0
            if not SHORTEST_MINUTES <= limit * MARGIN < asked:
                break
            self.limit = limit
        raise _refused(400, refusals.read(answer.body))

    def _asked(self, rich: bool) -> float:
        wanted = min(self._minutes, self._rich_minutes) if rich else self._minutes
        return wanted if self.limit is None else min(wanted, self.limit * MARGIN)

    async def _send(self, method: str, path: str, body: object) -> tuple[Answer, int]:
        """One request in its turn; (answer, its status or the one hidden in it)."""
        attempt = 1
        while True:
            await self._pace.turn()
            try:
                return self._judge(method, await self._once(method, path, body))
            except ThrottledError as error:
                self._pace.hold(error.retry_after * attempt)
                if attempt == ATTEMPTS:
                    raise
                attempt += 1

    @staticmethod
    def _judge(method: str, answer: Answer) -> tuple[Answer, int]:
        if answer.status < 300:
            return answer, answer.status
        refusal = refusals.read(answer.body)
        status = refusal.inner_status or answer.status
        if status in _GONE or status == 409 or (status == 400 and method != "GET"):
            return answer, status
        raise _refused(status, refusal)

    async def _once(self, method: str, path: str, body: object) -> Answer:
        if method == "POST":
            return await self._client.post(path, body, accept=_ACCEPT)
        if method == "PATCH":
            return await self._client.patch(path, body, accept=_ACCEPT)
        if method == "DELETE":
            return await self._client.delete(path, accept=_ACCEPT)
        return await self._client.get(path, prefer="", accept=_ACCEPT)


def _refused(status: int, refusal: refusals.Refusal) -> GraphError:
    """The error a refusal about a subscription stands for."""
    if status == 400 and "validation" in refusal.message.lower():
        return UnreachableError(
            "Graph could not reach the notification address: check that the receiver runs and "
            "that OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL is its public address",
            status=400,
            code=refusal.code,
        )
    if status == 403:
        told = refusal.code.lower() in _NO_PERMISSION or refusal.inner_status == 403
        if not told and _QUOTA.search(refusal.message):
            return RefusedError("a quota of subscriptions is full", status=403, code=refusal.code)
        # Unknown words for 403 count as a missing permission: asked again, slowly.
        return ConsentError("the application may not do this", status=403, code=refusal.code)
    return refusals.error_for(status, refusal, "subscription")


def _certificate(pair: KeyPair) -> dict[str, str]:
    return {
        "encryptionCertificate": pair.certificate,
        "encryptionCertificateId": pair.cert_id,
    }


def _code(answer: Answer) -> str:
    return refusals.read(answer.body).code


def _owner(resource: str) -> str:
    found = _OWNER.match(resource)
    return found.group(1).lower() if found else ""


def _granted(answer: Answer) -> Granted:
    try:
        made = msgspec.json.decode(answer.body, type=_Subscription)
        expires_at = clock.to_us(_moment(made.expiration_date_time))
        subscription_path(made.id)
    except (msgspec.DecodeError, ValueError):
        raise RefusedError(
            "Graph's answer about a subscription could not be read", status=answer.status
        ) from None
    return Granted(made.id, expires_at, clock.to_us(answer.date))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(_FRACTION.sub("", text))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
