"""So many requests a second, and a common pause when Graph asks for one. Machine time."""

from __future__ import annotations

import asyncio

__all__ = ["Pace"]


class Pace:
    """Gives turns at an even rate; `hold` makes everybody wait."""

    def __init__(self, per_s: float) -> None:
        self._gap_s = 1.0 / per_s
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._gap_s
        if at > now:
            await asyncio.sleep(at - now)

    def hold(self, seconds: float) -> None:
        """Nobody new goes for so many seconds (a Retry-After)."""
        until = asyncio.get_running_loop().time() + seconds
        self._next = max(self._next, until)
