"""The handshake: before a URL gets notifications it must echo a token, decoded, within 10 s."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from graph_simulator.errors import GraphError
from graph_simulator.stats import Stats
from graph_simulator.world.model import Subscription

__all__ = ["Handshake", "tls_of"]

TIMEOUT_S = 10.0
Early = Callable[[Subscription, float], Awaitable[None]]


def tls_of(url: str) -> bool:
    """Whether a URL's certificate is checked: everywhere but on loopback."""
    return urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")


class Handshake:
    """Validates notification URLs."""

    def __init__(self, session: aiohttp.ClientSession, stats: Stats, early: Early) -> None:
        self._session = session
        self._stats = stats
        self._early = early

    async def validate(self, url: str) -> None:
        """Raises GraphError (400) when the URL does not answer as it must."""
        token = f"Validation: 100% reachable+answering for Request-Id: {uuid.uuid4()} (äß)"
        asked = f"{url}{'&' if '?' in url else '?'}validationToken={quote(token, safe='')}"
        self._stats.handshakes += 1
        try:
            async with self._session.post(
                URL(asked, encoded=True),
                data=b"",
                headers={"Content-Type": "text/plain; charset=utf-8"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                ssl=tls_of(url),
                allow_redirects=False,
            ) as answer:
                text = (await answer.content.read(10_000)).decode("utf-8", "replace")
                status, kind = answer.status, answer.content_type
        except (TimeoutError, aiohttp.ClientError) as found:
            self._stats.handshakes_failed += 1
            if isinstance(found, TimeoutError):
                message = "Subscription validation request timed out."
            else:
                message = (
                    "Subscription validation request failed. Notification endpoint must respond "
                    "with 200 OK to validation request."
                )
            raise GraphError(400, "InvalidRequest", message) from None
        if status != 200 or kind != "text/plain" or text != token:
            self._stats.handshakes_failed += 1
            raise GraphError(
                400,
                "ValidationError",
                "Subscription validation request failed. Notification endpoint must respond with "
                f"200 OK to validation request. (status {status}, {kind}, token "
                f"{'differs' if text != token else 'echoed'})",
            )

    async def notify_early(self, subscription: Subscription, seconds: float) -> None:
        """Let a notification of a subscription precede the 201 that answers its creation."""
        await self._early(subscription, seconds)
