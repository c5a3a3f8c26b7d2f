"""Tells the lifecycle URL that a subscription nears its end, in Graph time.

It begins an hour before the end (not before half of the life), and repeats every quarter hour
until the subscription is renewed, as Graph does.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq

from graph_simulator.world.model import Subscription
from graph_simulator.world.world import World

__all__ = ["Warden"]

NEAR_US = 3_600_000_000
AGAIN_US = 900_000_000
LONGEST_WAIT_S = 3600.0


class Warden:
    """Watches the ends of subscriptions against the world's clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heap: list[tuple[int, str]] = []
        self._told: dict[str, tuple[int, int]] = {}
        """Subscription -> (the end it was told of, when it was last told); Graph microseconds."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        for one in world.subscriptions.values():
            self.watch(one)
        world.begun.append(self.watch)
        world.clock.changed.append(self._wake.set)

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def watch(self, one: Subscription) -> None:
        """Look at a subscription when its end is near."""
        heapq.heappush(self._heap, (self._due(one), one.id))
        self._wake.set()

    def _due(self, one: Subscription) -> int:
        told_end, told_at = self._told.get(one.id, (0, 0))
        if told_end == one.expires:
            return told_at + AGAIN_US
        return max(one.expires - NEAR_US, (one.created + one.expires) // 2)

    def _look(self, one: Subscription, now: int) -> None:
        if one.expires <= now:
            self._told.pop(one.id, None)
            return
        if self._due(one) <= now:
            self._told[one.id] = (one.expires, now)
            if self._world.mailboxes[one.mailbox].state != "left":
                self._world.tell(one, "reauthorizationRequired")
        heapq.heappush(self._heap, (self._due(one), one.id))

    async def _run(self) -> None:
        clock = self._world.clock
        while True:
            now = clock.instant()
            while self._heap and self._heap[0][0] <= now:
                _, name = heapq.heappop(self._heap)
                one = self._world.subscriptions.get(name)
                if one is None:
                    self._told.pop(name, None)
                else:
                    self._look(one, now)
            self._world.store.commit()
            wait = LONGEST_WAIT_S
            if self._heap:
                wait = min(wait, max(0.01, clock.machine_seconds_until(self._heap[0][0])))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)
            self._wake.clear()
