"""Wanted rounds: full rounds of single mailboxes, beside the drain that serves everyone.

    mailbox.round_wanted_at ─▶ a place is free ─▶ lease ─▶ walk all folders ─▶ cleared by the
                                                  commit of a round that started after it

Live work outranks them: a few walks at a time, each gives its mailbox back when a hint of it
is due, and after 5 s in any case. They have an owner of their own, so that the drain of the
same run never takes a mailbox from under a walk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from outlook_lake.errors import TokenRefusedError
from outlook_lake.events.apply import Applied, Applier
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.holding import give_back, renewing
from outlook_lake.looks.waiting import rounds_left, waiting_rounds
from outlook_lake.looks.walk import Walk
from outlook_lake.looks.walker import Walker
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.leases import Lease

__all__ = ["Served", "WantedRounds"]

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Walks at a time: each has one request in flight, and the drain shall not feel them."""

Served = Mapping[str, Walker]
"""Tenant id → what a walk of that tenant needs; `commit` is replaced by this room's own."""


class WantedRounds:
    """The wanted rounds of one lane; an async context manager beside a drain."""

    def __init__(
        self, db: Database, settings: Settings, served: Served, *, owner: str, lane: int
    ) -> None:
        self.db = db
        self.settings = settings
        self.owner = f"{owner}:rounds"
        self.lane = lane
        self.done = 0
        self._served = served
        self._committer = Committer(
            Applier(db, settings, lane=f"rounds{lane}", run_id=self.owner),
            settings.stream.apply_rows,
        )
        self._renewing = renewing(db, self.owner, settings)
        self._walks: dict[int, Walk] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._gave_up: set[int] = set()

    async def __aenter__(self) -> Self:
        await self._committer.__aenter__()
        await self._renewing.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks.values():
            task.cancel()
        left = list(self._tasks.values())
        await asyncio.gather(*left, return_exceptions=True)
        await self._renewing.__aexit__(None, None, None)
        await self._committer.__aexit__(None, None, None)
        if left:
            await asyncio.to_thread(give_back, self.db, self.owner)

    @property
    def applied(self) -> Applied:
        """What these rounds brought."""
        return self._committer.applied

    async def go_on(self) -> bool:
        """Start what there is a place for; whether anything is being walked or waits."""
        for mailbox_id, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[mailbox_id]
                task.result()  # a failure of the state database ends the run, as in the drain
        room = AT_ONCE - len(self._tasks)
        if room:
            for lease in await asyncio.to_thread(self._claim, room):
                self._tasks[lease.mailbox_id] = asyncio.create_task(self._walk(lease))
        return bool(self._tasks)

    def left(self) -> int:
        """Rounds this run may still end; those that gave up are left for the next."""
        with self.db.read() as connection:
            return rounds_left(connection, tenants=self._served, without=self._gave_up)

    def _claim(self, room: int) -> list[Lease]:
        with self.db.read() as connection:
            some = waiting_rounds(
                connection,
                lane=self.lane,
                lanes=self.settings.stream.lanes,
                most=room,
                tenants=self._served,
                without=self._gave_up | self._tasks.keys(),
            )
        if not some:
            return []
        return leases.claim_these(self.db, self.owner, self.settings.stream.lease_s, some)

    async def _walk(self, lease: Lease) -> None:
        walk = self._walks.get(lease.mailbox_id)
        if walk is None:
            walker = self._served[lease.tenant_id].with_commit(self._committer.commit)
            walk = self._walks[lease.mailbox_id] = Walk(walker, priming=False)
        try:
            await walk.go_on(lease)
        except TokenRefusedError as error:
            # The tenant's own trouble: the next run asks again, the others go on.
            log.warning("a wanted round stopped: %s", error)
            self._gave_up.add(lease.mailbox_id)
        if walk.gave_up:
            self._gave_up.add(lease.mailbox_id)
        if walk.done or walk.gave_up:
            self.done += walk.done
            del self._walks[lease.mailbox_id]
