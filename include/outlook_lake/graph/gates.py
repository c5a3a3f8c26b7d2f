"""At most so many requests at once on one mailbox, first come, first served.

Graph allows 4 in flight per application and mailbox (graph-facts 7, corso#3695); we use 3.
A `$batch` that asks several things of one mailbox counts as that many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

__all__ = ["MAILBOX_LIMIT", "Gates"]

MAILBOX_LIMIT = 3


class _Gate:
    __slots__ = ("free", "waiting")

    def __init__(self) -> None:
        self.free = MAILBOX_LIMIT
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()


class Gates:
    """One gate per mailbox in use; gates nobody uses are forgotten."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    def __len__(self) -> int:
        return len(self._gates)

    @asynccontextmanager
    async def through(self, wanted: Mapping[str, int]) -> AsyncIterator[None]:
        """Hold places on several mailboxes: `{mailbox: requests}`."""
        held: list[tuple[str, int]] = []
        try:
            # Always in the same order, so that two batches never wait for each other.
            for mailbox in sorted(wanted):
                places = min(wanted[mailbox], MAILBOX_LIMIT)
                await self._take(mailbox, places)
                held.append((mailbox, places))
            yield
        finally:
            for mailbox, places in held:
                self._give(mailbox, places)

    async def _take(self, mailbox: str, places: int) -> None:
        gate = self._gates.setdefault(mailbox, _Gate())
        if not gate.waiting and gate.free >= places:
            gate.free -= places
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gate.waiting.append((places, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(mailbox, places)  # our turn came in the moment we were cancelled
            else:
                gate.waiting.remove((places, turn))
                self._wake(mailbox, gate)
            raise

    def _give(self, mailbox: str, places: int) -> None:
        gate = self._gates[mailbox]
        gate.free += places
        self._wake(mailbox, gate)

    def _wake(self, mailbox: str, gate: _Gate) -> None:
        while gate.waiting and gate.free >= gate.waiting[0][0]:
            places, turn = gate.waiting.popleft()
            if not turn.done():
                gate.free -= places
                turn.set_result(None)
        if not gate.waiting and gate.free == MAILBOX_LIMIT:
            del self._gates[mailbox]
