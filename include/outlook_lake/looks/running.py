"""Many walks side by side: all go on until done, given up, or out of time.

    line ─▶ a place is free ─▶ lease ─▶ go_on ─▶ done · gave up · to the end of the line

One tenant's trouble stays its own: its walks end, it is named in `troubles`, the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from outlook_lake import clock
from outlook_lake.errors import TokenRefusedError
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.leases import Lease

__all__ = ["AT_ONCE", "Ran", "Resumable", "refused_tokens", "run_walks"]

AT_ONCE = 32
"""Mailboxes walked at a time; each has at most a few requests in flight."""

IDLE_S = 0.2

REFILL = 4
"""Places are given out anew when a quarter of them is free."""


class Resumable(Protocol):
    """A `Walk`, or anything else that reads a mailbox lease by lease."""

    done: bool
    gave_up: bool
    resume_at: int

    def go_on(self, lease: Lease) -> Coroutine[None, None, None]:
        """Go on under a lease, and give it back."""


@dataclass(slots=True)
class Ran:
    """What became of some walks."""

    done: set[int] = field(default_factory=set)
    """Mailboxes whose walk has ended well."""
    gave_up: int = 0
    left: int = 0
    """Not ended: the time was over, or a stop was asked for."""
    troubles: dict[str, str] = field(default_factory=dict)
    """Tenant id → what is wrong with it, in words without secrets."""


async def run_walks(
    db: Database,
    settings: Settings,
    owner: str,
    walks: Mapping[int, Resumable],
    tenants: Mapping[int, str],
    *,
    stop: Callable[[], bool],
    limit_s: float,
    at_once: int = AT_ONCE,
) -> Ran:
    """Go on with every walk (mailbox id → walk) until all are done or given up.

    `tenants` names the tenant of each mailbox. Ends early when `stop` says so, and after
    `limit_s` (machine time); those that are going then end first. `owner`'s leases must be kept
    by `renewing`.
    """
    began = time.monotonic()
    line = _Line(db, settings, owner, dict(walks), tenants)
    try:
        while line.waiting or line.going:
            over = stop() or time.monotonic() - began >= limit_s
            if over and not line.going:
                break
            free = at_once - len(line.going)
            # A lease is a transaction: some are taken together, and nobody waits for the slowest.
            if not over and free >= at_once // REFILL:
                await line.start(free)
            await line.step()
    finally:
        await line.break_off()
    line.ran.left = len(line.waiting)
    return line.ran


@dataclass(slots=True)
class _Line:
    """Walks that wait for a place, and those that have one."""

    db: Database
    settings: Settings
    owner: str
    waiting: dict[int, Resumable]
    tenants: Mapping[int, str]
    ran: Ran = field(default_factory=Ran)
    going: dict[asyncio.Task[None], tuple[Lease, Resumable]] = field(default_factory=dict)

    async def start(self, places: int) -> None:
        """Let up to so many go on that may be asked now."""
        now = clock.machine_us()
        ready = (m for m, walk in self.waiting.items() if walk.resume_at <= now)
        some = list(islice(ready, places))
        for mailbox_id in [m for m in some if self.tenants[m] in self.ran.troubles]:
            del self.waiting[mailbox_id]
            some.remove(mailbox_id)
            self.ran.gave_up += 1
        if not some:
            return
        lease_s = self.settings.stream.lease_s
        held = await asyncio.to_thread(leases.claim_these, self.db, self.owner, lease_s, some)
        for lease in held:
            walk = self.waiting.pop(lease.mailbox_id)
            self.going[asyncio.create_task(walk.go_on(lease))] = (lease, walk)
        for mailbox_id in set(some) - {lease.mailbox_id for lease in held}:
            self.waiting[mailbox_id] = self.waiting.pop(mailbox_id)  # somebody else has it

    async def step(self) -> None:
        """Wait until one gives its mailbox back, but not long; what is everybody's is raised."""
        if not self.going:
            await asyncio.sleep(IDLE_S)
            return
        ended, _ = await asyncio.wait(
            self.going, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED
        )
        for task in ended:
            lease, walk = self.going.pop(task)
            error = task.exception()
            if isinstance(error, TokenRefusedError):
                self.ran.troubles[lease.tenant_id] = str(error)
            elif error is not None:
                raise error
            if walk.done:
                self.ran.done.add(lease.mailbox_id)
            elif walk.gave_up or lease.tenant_id in self.ran.troubles:
                self.ran.gave_up += 1
            else:
                self.waiting[lease.mailbox_id] = walk  # to the end of the line

    async def break_off(self) -> None:
        """End those that are going still: there are none unless something was raised."""
        for task in self.going:
            task.cancel()
        await asyncio.gather(*self.going, return_exceptions=True)


async def refused_tokens(
    held: Sequence[Lease], going: Iterable[Coroutine[None, None, None]]
) -> dict[str, str]:
    """Let walks go on side by side; tenants whose credentials were refused, and why."""
    refused: dict[str, str] = {}
    outcomes = await asyncio.gather(*going, return_exceptions=True)
    for lease, outcome in zip(held, outcomes, strict=True):
        if isinstance(outcome, TokenRefusedError):
            refused[lease.tenant_id] = str(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
    return refused
