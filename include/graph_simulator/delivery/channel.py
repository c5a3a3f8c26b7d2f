"""The queue of one notification URL: batches, several POSTs in flight, back-off.

A POST must be answered 2xx within 3 s (10 s when it is a retry). The window for retries is four
hours of Graph time from when the change was seen; the back-off runs on machine time.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from graph_simulator.delivery.handshake import tls_of
from graph_simulator.delivery.manners import SPAN_US, Manners
from graph_simulator.delivery.shapes import Notification, payload
from graph_simulator.stats import Stats
from graph_simulator.world.model import Subscription
from graph_simulator.world.world import World

__all__ = ["Channel"]

WINDOW_US = 4 * 3600 * 1_000_000
FIRST_S, RETRY_S = 3.0, 10.0
HOLD_S = 0.2
"""What is held back is looked at again on this grid, so that it leaves together."""
BACKOFF_FIRST_S, BACKOFF_LAST_S = 1.0, 30.0

_encode = msgspec.json.Encoder().encode
Waiting = tuple[float, int, Notification, Subscription]
Enclose = Callable[[Sequence[tuple[Notification, Subscription]], list[dict[str, Any]]], list[str]]


class Channel:
    """Everything that waits for one URL."""

    def __init__(
        self,
        url: str,
        world: World,
        stats: Stats,
        session: aiohttp.ClientSession,
        at_most: int,
        in_flight: int,
        grid_s: float,
        judged: bool,
        enclose: Enclose,
    ) -> None:
        self._url = URL(url, encoded=True)
        self._checked = tls_of(url)
        self._world = world
        self._stats = stats
        self._session = session
        self._at_most = at_most
        self._grid_s = grid_s
        self._enclose = enclose
        self._manners = Manners(world.clock) if judged else None
        self._slots = asyncio.Semaphore(in_flight)
        self._heap: list[Waiting] = []
        self._flying = 0
        self._wake = asyncio.Event()
        self._posts: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run())

    @property
    def pending(self) -> int:
        """Waiting or in flight."""
        return len(self._heap) + self._flying

    @property
    def state(self) -> str:
        """How Graph treats this endpoint: `normal`, `slow` or `drop`."""
        return "normal" if self._manners is None else self._manners.state

    def put(self, one: Notification, owner: Subscription, wait: float) -> None:
        """Queue a notification, due `wait` machine seconds from now.

        An endpoint in slow state gets new ones ten Graph minutes later, one in drop state never.
        """
        if self._manners is not None and not one.attempts:
            if self._manners.state == "drop":
                self._stats.drops += 1
                self._world.store.delete("delivery", one.number)
                return
            if self._manners.state == "slow":
                one.not_before = max(one.not_before, self._world.clock.instant() + SPAN_US)
        due = time.monotonic() + wait
        if wait:  # rounded up to a grid: what is due together goes together
            due = (due // self._grid_s + 1) * self._grid_s
        heapq.heappush(self._heap, (due, one.number, one, owner))
        self._wake.set()

    def forget(self, subscription: str) -> None:
        """Drop what waits for a subscription that has ended, lifecycle notifications excepted."""
        kept: list[Waiting] = []
        for entry in self._heap:
            if entry[3].id != subscription or entry[2].lifecycle:
                kept.append(entry)
            else:
                self._world.store.delete("delivery", entry[1])
        if len(kept) != len(self._heap):
            heapq.heapify(kept)
            self._heap = kept

    async def stop(self) -> None:
        """End the queue's tasks."""
        for task in (self._task, *self._posts):
            task.cancel()
        await asyncio.gather(self._task, *self._posts, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            ready = self._due()
            if ready:
                await self._slots.acquire()
                task = asyncio.create_task(self._post(ready))
                self._posts.add(task)
                task.add_done_callback(self._posts.discard)
                continue
            wait = self._heap[0][0] - time.monotonic() if self._heap else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)

    def _due(self) -> list[tuple[Notification, Subscription]]:
        """What to send now. First tries and retries do not share a POST: their time-outs differ."""
        now = time.monotonic()
        ready: list[tuple[Notification, Subscription]] = []
        retry: bool | None = None
        later: list[Waiting] = []
        while self._heap and self._heap[0][0] <= now and len(ready) < self._at_most:
            entry = heapq.heappop(self._heap)
            _, number, one, owner = entry
            if self._gone(one, owner):
                self._world.store.delete("delivery", number)
                continue
            hold = self._hold(one, owner)
            if hold:
                later.append((((now + hold) // HOLD_S + 1) * HOLD_S, number, one, owner))
                continue
            if retry is None:
                retry = one.attempts > 0
            if retry != (one.attempts > 0):
                later.append((now, number, one, owner))
                continue
            ready.append((one, owner))
        for entry in later:
            heapq.heappush(self._heap, entry)
        self._flying += len(ready)
        return ready

    def _gone(self, one: Notification, owner: Subscription) -> bool:
        if one.lifecycle:
            return False
        if owner.id not in self._world.subscriptions:
            return True
        if self._world.clock.instant() - one.made > WINDOW_US:
            self._stats.drops += 1
            return True
        return False

    def _hold(self, one: Notification, owner: Subscription) -> float:
        """Machine seconds to hold a notification back: delayed, or awaiting authorization."""
        if owner.paused and not one.lifecycle:
            return 1.0
        if not one.not_before:
            return 0.0
        return min(1.0, self._world.clock.machine_seconds_until(one.not_before))

    async def _post(self, ready: list[tuple[Notification, Subscription]]) -> None:
        try:
            await self._try(ready)
        finally:
            self._flying -= len(ready)
            self._slots.release()

    async def _try(self, ready: list[tuple[Notification, Subscription]]) -> None:
        world, stats = self._world, self._stats
        value = []
        for one, owner in ready:
            mailbox = world.mailboxes[owner.mailbox]
            value.append(payload(one, owner, mailbox, world.tenants[owner.tenant]))
        document: dict[str, Any] = {"value": value}
        tokens = self._enclose(ready, value)
        if tokens:
            document["validationTokens"] = tokens
        world.store.commit()  # nothing is told that is not yet kept
        retry = ready[0][0].attempts > 0
        stats.posts += 1
        stats.deliveries += len(ready)
        stats.retries += len(ready) if retry else 0
        began = time.monotonic()
        ok = False
        try:
            async with self._session.post(
                self._url,
                data=_encode(document),
                headers={"Content-Type": "application/json; charset=utf-8"},
                timeout=aiohttp.ClientTimeout(total=RETRY_S if retry else FIRST_S),
                ssl=self._checked,
                allow_redirects=False,
            ) as answer:
                ok = 200 <= answer.status < 300
        except (TimeoutError, aiohttp.ClientError, OSError):
            ok = False
        if self._manners is not None:
            self._manners.note(len(ready), time.monotonic() - began)
        if time.monotonic() - began >= FIRST_S - 0.01:
            stats.answers_over_3s += 1
        if ok:
            stats.acks += len(ready)
            for one, _ in ready:
                world.store.delete("delivery", one.number)
            return
        for one, owner in ready:
            if world.clock.instant() - one.made > WINDOW_US:
                stats.drops += 1
                world.store.delete("delivery", one.number)
                continue
            one.attempts += 1
            world.store.put("delivery", one.number, one)
            wait = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2 ** (one.attempts - 1))
            self.put(one, owner, wait)
