"""One request to Graph, one `Answer`: paging, `$batch`, throttling, time-outs, error classes.

The one rule: the bearer token goes to the configured origin under `/v1.0/` and nowhere else,
and no log line or error holds a URL, an id or a text of Graph's.

    path or link → checked URL → gates (3 a mailbox, N in all) → send → Answer | GraphError

Every answer carries Graph's `Date` and `sent`, a number that grows in the order in which the
requests of this client left.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from outlook_lake import clock
from outlook_lake.errors import (
    ThrottledError,
    TokenRefusedError,
    UnreachableError,
    UsageError,
)
from outlook_lake.graph import batch as batching
from outlook_lake.graph import refusals
from outlook_lake.graph.auth import TokenSource
from outlook_lake.graph.batch import BATCH_LIMIT, BatchAnswer, BatchItem, BatchRequest
from outlook_lake.graph.gates import Gates
from outlook_lake.graph.links import Links
from outlook_lake.graph.resources import IMMUTABLE_IDS
from outlook_lake.settings import Settings
from outlook_lake.tenants.credentials import Credentials

__all__ = ["BATCH_LIMIT", "Answer", "BatchAnswer", "BatchItem", "BatchRequest", "GraphClient"]

RECONNECT_S = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer of Graph."""

    status: int
    date: datetime
    """Graph's `Date`: aware UTC, cut to the second, Graph time."""
    headers: Mapping[str, str]
    body: bytes
    sent: int
    """Grows in the order in which this client's requests left."""


class GraphClient:
    """Graph for one tenant; an async context manager, for one event loop."""

    def __init__(self, credentials: Credentials, tokens: TokenSource, settings: Settings) -> None:
        self._credentials = credentials
        self._tokens = tokens
        self._settings = settings.graph
        self._links = Links(credentials.graph_url)
        self._gates = Gates()
        self._places = asyncio.Semaphore(settings.stream.concurrency)
        self._connections = settings.stream.concurrency
        self._session: aiohttp.ClientSession | None = None
        self._sent = 0
        self.offset_s: float | None = None
        """Seconds Graph is ahead of this machine, once an answer told (`graph.offset`)."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_tls(self._credentials)),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=not self._credentials.is_loopback,  # a company's proxy; none before loopback
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def requests(self) -> int:
        """How many requests left so far."""
        return self._sent

    @property
    def credential(self) -> str | None:
        """Which credential gave the last token: `current` or `next`; None before the first."""
        return self._tokens.in_use

    def widen(self, concurrency: int) -> None:
        """Allow so many requests in flight over all mailboxes (jobs that touch each once)."""
        for _ in range(concurrency - self._connections):
            self._places.release()
        self._connections = max(self._connections, concurrency)

    async def get(
        self,
        path_or_link: str,
        *,
        mailbox: str | None = None,
        prefer: str = IMMUTABLE_IDS,
        accept: Collection[int] = (),
    ) -> Answer:
        """Read a path made by `resources`, or a next or delta link.

        Statuses in `accept` are returned instead of raised. Raises the GraphError tree;
        UntrustedLinkError when a link leads to another origin (nothing was sent).
        """
        return await self._ask("GET", path_or_link, None, mailbox, prefer, accept)

    async def post(
        self, path: str, body: object, *, prefer: str = IMMUTABLE_IDS, accept: Collection[int] = ()
    ) -> Answer:
        """Create; never sent twice by itself, except after a refusal with Retry-After."""
        return await self._ask("POST", path, msgspec.json.encode(body), None, prefer, accept)

    async def patch(self, path: str, body: object, *, accept: Collection[int] = ()) -> Answer:
        """Change."""
        return await self._ask(
            "PATCH", path, msgspec.json.encode(body), None, IMMUTABLE_IDS, accept
        )

    async def delete(self, path: str, *, accept: Collection[int] = ()) -> Answer:
        """Delete."""
        return await self._ask("DELETE", path, None, None, IMMUTABLE_IDS, accept)

    async def batch(
        self, requests: Sequence[BatchRequest], *, mailbox: str | None = None
    ) -> BatchAnswer:
        """Up to 20 GETs in one POST; items fail one by one, the batch as a whole may raise.

        A request Graph left unanswered comes back as status 504. `mailbox` names the one all
        requests are about; without it the paths tell.
        """
        for request in requests:
            self._links.url(request.path)
        payload = batching.encode(requests)
        wanted = {mailbox: len(requests)} if mailbox else batching.places(requests)
        answer, replies = await self._batch(payload, wanted)
        if any(reply.status == 401 for reply in replies):
            # The token ended between the batch and its items: drop it, ask all of it again.
            self._tokens.drop(await self._tokens.token())
            answer, replies = await self._batch(payload, wanted)
        return BatchAnswer(answer.date, batching.arrange(requests, replies), answer.sent)

    async def _batch(
        self, payload: bytes, wanted: Mapping[str, int]
    ) -> tuple[Answer, list[batching.Reply]]:
        url = self._links.url("/$batch")
        answer = await self._through("POST", url, payload, wanted, "", "other", (), repeat=True)
        return answer, batching.decode(answer.body)

    async def _ask(
        self,
        method: str,
        path_or_link: str,
        body: bytes | None,
        mailbox: str | None,
        prefer: str,
        accept: Collection[int],
    ) -> Answer:
        url = self._links.url(path_or_link)
        wanted = {mailbox: 1} if mailbox else {}
        place = refusals.place_of(url.raw_path)
        return await self._through(
            method, url, body, wanted, prefer, place, accept, repeat=method == "GET"
        )

    async def _through(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        wanted: Mapping[str, int],
        prefer: str,
        place: refusals.Place,
        accept: Collection[int],
        *,
        repeat: bool,
    ) -> Answer:
        """Send with the retries that belong to one request: each reason once."""
        tried: set[str] = set()
        while True:
            token = await self._tokens.token()
            try:
                async with self._gates.through(wanted), self._places:
                    return await self._send(method, url, body, token, prefer, place, accept)
            except TokenRefusedError:
                if "token" in tried:
                    raise
                tried.add("token")
                self._tokens.drop(token)
            except ThrottledError as error:
                if "wait" in tried or error.retry_after > self._settings.retry_wait_s:
                    raise
                tried.add("wait")
                await asyncio.sleep(error.retry_after)
            except UnreachableError as error:
                # A kept-alive connection that the other side closed, or a passing 5xx.
                if not repeat or "reconnect" in tried or error.code == "TimeOut":
                    raise
                tried.add("reconnect")
                await asyncio.sleep(RECONNECT_S * (0.5 + random.random()))

    async def _send(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        token: str,
        prefer: str,
        place: refusals.Place,
        accept: Collection[int],
    ) -> Answer:
        if self._session is None:
            raise UsageError("the Graph client is used outside of its `async with`")
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "client-request-id": str(uuid.uuid4()),
        }
        if prefer:
            headers["Prefer"] = prefer
        if body is not None:
            headers["Content-Type"] = "application/json"
        self._sent += 1
        sent = self._sent
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
                status, fields = response.status, response.headers
        except TimeoutError:
            raise UnreachableError("Graph did not answer in time", code="TimeOut") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            # The text of a connection error holds host and port only, but its type is enough.
            raise UnreachableError(f"no answer from Graph ({type(error).__name__})") from None
        date = self._date(fields.get("Date"))
        if 200 <= status < 300 or status in accept:
            return Answer(status, date, fields, content, sent)
        raise refusals.error_for(
            status,
            refusals.read(content),
            place,
            wait_s=refusals.retry_after(fields.get("Retry-After")),
            request_id=_request_id(fields),
        )

    def _date(self, header: str | None) -> datetime:
        """Graph time of an answer; teaches the clock where no clock file rules it."""
        try:
            date = parsedate_to_datetime(header or "").astimezone(UTC)
        except ValueError:
            return clock.graph_now().replace(microsecond=0)
        if not os.environ.get(clock.CLOCK_ENV):
            self.offset_s = clock.learn_offset(date, clock.machine_now())
        return date


def _tls(credentials: Credentials) -> ssl.SSLContext | bool:
    if isinstance(credentials.verify, str):
        return ssl.create_default_context(cafile=credentials.verify)
    return credentials.verify


def _request_id(headers: Mapping[str, str]) -> str:
    value = headers.get("request-id", "")
    return value if re.fullmatch(r"[0-9a-fA-F-]{1,64}", value) else ""
