"""One apply for whoever waits: many mailboxes' looks share a transaction."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from outlook_lake.events.apply import Applied, Applier
from outlook_lake.events.observation import Observed

__all__ = ["Committer"]


class Committer:
    """Applies what many walks and looks bring, together: one transaction for whoever waits.

    `commit` returns when the caller's Observed is committed; False when its lease was lost.
    """

    def __init__(self, applier: Applier, rows: int) -> None:
        self.applier = applier
        self.applied = Applied()
        self._rows = rows
        self._waiting: list[tuple[Observed, asyncio.Future[bool]]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def commit(self, observed: Observed) -> bool:
        """Apply with whatever else is waiting."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((observed, done))
        self._wake.set()
        return await done

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._take()
                try:
                    applied = await asyncio.to_thread(
                        self.applier.apply, [observed for observed, _ in batch]
                    )
                except BaseException as error:
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(error)
                    if isinstance(error, asyncio.CancelledError):
                        raise
                    continue
                self.applied.add(applied)
                for observed, done in batch:
                    if not done.done():
                        done.set_result(observed.lease.mailbox_id not in applied.lost)

    def _take(self) -> list[tuple[Observed, asyncio.Future[bool]]]:
        taken: list[tuple[Observed, asyncio.Future[bool]]] = []
        rows = 0
        while self._waiting and (not taken or rows + len(self._waiting[0][0].rows) <= self._rows):
            taken.append(self._waiting.pop(0))
            rows += len(taken[-1][0].rows)
        return taken
