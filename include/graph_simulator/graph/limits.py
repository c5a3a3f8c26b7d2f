"""Graph's throttling, on machine time: real 429s with a Retry-After, and who ignored them.

Per mailbox 4 requests at once and 10,000 in 10 minutes; per tenant 500 subscription writes and
25 subscription lists in 20 seconds, 100 message traces in 5 minutes.
"""

from __future__ import annotations

import math
import time
from collections import deque

from graph_simulator.errors import GraphError
from graph_simulator.stats import Stats

__all__ = ["Limits", "Window"]

AT_ONCE = 4
REQUESTS, REQUESTS_SPAN_S = 10_000, 600.0
WRITES, WRITES_SPAN_S = 500, 20.0
LISTS, LISTS_SPAN_S = 25, 20.0
TRACES, TRACES_SPAN_S = 100, 300.0


class Window:
    """At most `limit` in any `span` seconds, counted in fiftieths of the span."""

    __slots__ = ("_buckets", "_limit", "_span", "_step", "_total")

    def __init__(self, limit: int, span: float) -> None:
        self._limit, self._span, self._step = limit, span, span / 50
        self._buckets: deque[list[float]] = deque()
        self._total = 0

    def take(self, now: float) -> float:
        """0 when one more fits (and is counted); else seconds until one fits."""
        buckets = self._buckets
        while buckets and buckets[0][0] <= now - self._span:
            self._total -= int(buckets.popleft()[1])
        if self._total >= self._limit:
            return float(buckets[0][0] + self._span - now)
        if buckets and now - buckets[-1][0] < self._step:
            buckets[-1][1] += 1
        else:
            buckets.append([now, 1])
        self._total += 1
        return 0.0


def _too_many(code: str, message: str, wait: float) -> GraphError:
    return GraphError(429, code, message, {"Retry-After": str(max(1, math.ceil(wait)))})


class Limits:
    """One simulator's throttling state. Times are machine seconds of the monotonic clock."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._flying: dict[int, int] = {}
        self._windows: dict[tuple[str, int], Window] = {}
        self._banned: dict[tuple[str, str], float] = {}
        self.highest: dict[int, int] = {}
        """Most requests at once seen per mailbox, refused ones included."""

    def take_places(self, mailbox: int, wanted: int) -> int:
        """How many of `wanted` places of a mailbox are free; they are held until `leave`."""
        flying = self._flying.get(mailbox, 0)
        self.highest[mailbox] = max(self.highest.get(mailbox, 0), flying + wanted)
        given = max(0, min(wanted, AT_ONCE - flying))
        if given:
            self._flying[mailbox] = flying + given
        return given

    def leave(self, mailbox: int, places: int) -> None:
        """Give places back."""
        left = self._flying.get(mailbox, 0) - places
        if left > 0:
            self._flying[mailbox] = left
        else:
            self._flying.pop(mailbox, None)

    def concurrency_refusal(self) -> GraphError:
        """429 for a fifth request at once."""
        self._stats.throttled["concurrency"] += 1
        return _too_many(
            "ApplicationThrottled", "Application is over its MailboxConcurrency limit.", 1
        )

    def count_request(self, mailbox: int) -> GraphError | None:
        """Count one request to a mailbox; the refusal when it is over 10,000 in 10 minutes."""
        wait = self._window("mailbox", mailbox, REQUESTS, REQUESTS_SPAN_S)
        if not wait:
            return None
        self._stats.throttled["mailbox_requests"] += 1
        return _too_many(
            "ApplicationThrottled", "Application is over its MailboxRequests limit.", wait
        )

    def count_subscription_call(self, tenant: int, method: str, listing: bool) -> None:
        """Count a call on subscriptions. Raises GraphError (429) over the tenant's limit."""
        if listing:
            wait = self._window("lists", tenant, LISTS, LISTS_SPAN_S)
        elif method == "GET":
            wait = self._window("reads", tenant, WRITES, WRITES_SPAN_S)
        else:
            wait = self._window("writes", tenant, WRITES, WRITES_SPAN_S)
        if wait:
            self._stats.throttled["subscription_calls"] += 1
            raise _too_many("TooManyRequests", "Too many requests on subscriptions.", wait)

    def count_trace_call(self, tenant: int) -> None:
        """Count a message trace. Raises GraphError (429) over the tenant's limit."""
        wait = self._window("traces", tenant, TRACES, TRACES_SPAN_S)
        if wait:
            self._stats.throttled["trace_calls"] += 1
            raise _too_many("TooManyRequests", "Too many message traces.", wait)

    def _window(self, kind: str, number: int, limit: int, span: float) -> float:
        window = self._windows.get((kind, number))
        if window is None:
            window = self._windows[kind, number] = Window(limit, span)
        return window.take(time.monotonic())

    def note_retry(self, caller: str, what: str) -> None:
        """Count a request that comes again before its Retry-After has passed."""
        until = self._banned.get((caller, what))
        if until is None:
            return
        if time.monotonic() < until - 0.05:
            self._stats.early_retries += 1
        else:
            del self._banned[caller, what]

    def note_refusal(self, caller: str, what: str, retry_after: str) -> None:
        """Remember until when a request was told to stay away."""
        if len(self._banned) > 20_000:
            self._banned.clear()
        self._banned[caller, what] = time.monotonic() + float(retry_after)
