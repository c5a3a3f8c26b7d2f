"""Many walks side by side: all go on until done, given up, or out of time.

    walks ─▶ as many as there are places ─▶ lease ─▶ go_on ─▶ done · gave up · to the end of
                                                              the line

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
) -> Ran:
    """Go on with every walk (mailbox id → walk) until all are done or given up.

    `tenants` names the tenant of each mailbox. Ends early when `stop` says so, and after
    `limit_s` (machine time). `owner`'s leases must be kept by `renewing`.
    """
    ran = Ran()
    began = time.monotonic()
    line = dict(walks)
    while line and not stop() and time.monotonic() - began < limit_s:
        now = clock.machine_us()
        some = list(islice((m for m, walk in line.items() if walk.resume_at <= now), AT_ONCE))
        held = await asyncio.to_thread(leases.claim_these, db, owner, settings.stream.lease_s, some)
        ran.troubles |= await refused_tokens(
            held, (line[one.mailbox_id].go_on(one) for one in held)
        )
        for mailbox_id in some:
            walk = line.pop(mailbox_id)
            if walk.done:
                ran.done.add(mailbox_id)
            elif walk.gave_up or tenants[mailbox_id] in ran.troubles:
                ran.gave_up += 1
            else:
                line[mailbox_id] = walk  # to the end of the line
        if not held:
            await asyncio.sleep(IDLE_S)
    ran.left = len(line)
    return ran


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
