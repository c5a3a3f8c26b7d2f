"""Window looks: the messages of a mailbox that came or changed in a span of the past.

    receivedDateTime in the window ─┐
                                    ├─▶ rows, sighting `window` ─▶ apply: differences are events
    lastModifiedDateTime in it ─────┘

Cheaper than a full round where only a short outage is in doubt, and no proof: what was read or
purged in the window bears no date of it. For many mailboxes give `WindowLook`s to
`running.run_walks`, which lends leases as to walks; for one that is leased already:

    counts = await look_at_window(walker, lease, from_at, to_at)   # Graph us, half-open

counts: `requests`, `messages`, `whole` (1 when all of the window was read).
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC

from outlook_lake import clock
from outlook_lake.errors import (
    GraphError,
    LeaseLostError,
    MailboxGoneError,
    ThrottledError,
    TokenRefusedError,
    TransientGraphError,
    UsageError,
)
from outlook_lake.events.observation import OBSERVATION_SCHEMA, Observed
from outlook_lake.graph.resources import window_path
from outlook_lake.looks.folders import FolderState, folders_of, refresh_tree
from outlook_lake.looks.pages import read_page
from outlook_lake.looks.walker import Walker
from outlook_lake.state.leases import Lease

__all__ = ["WindowLook", "look_at_window"]

log = logging.getLogger(__name__)

HOLD_S = 5.0
REFUSED_WAIT_S = 60.0
FAILURES_LIMIT = 7

DATES = ("receivedDateTime", "lastModifiedDateTime")
FOLDER_ID = OBSERVATION_SCHEMA.get_field_index("folder_id")
ANYWHERE = FolderState(0, "", "other", None, "")


class WindowLook:
    """One mailbox's window, resumable lease by lease like a walk.

    `from_at`, `to_at`: Graph time, microseconds, half-open; UsageError when nothing lies between.
    """

    def __init__(self, walker: Walker, from_at: int, to_at: int) -> None:
        if from_at >= to_at:
            raise UsageError("a window has to end after it begins")
        self._walker = walker
        self._from = clock.from_us(from_at).astimezone(UTC)
        # Graph compares whole seconds: a window that ends inside one takes all of it.
        self._to = clock.from_us(-(-to_at // 1_000_000) * 1_000_000).astimezone(UTC)
        self._left = list(DATES)
        self._link: str | None = None
        self._failures = 0
        self.requests = 0
        self.messages = 0
        self.done = False
        self.gave_up = False
        self.resume_at = 0

    @property
    def counts(self) -> dict[str, int]:
        """What was read so far."""
        return {"requests": self.requests, "messages": self.messages, "whole": int(self.done)}

    async def go_on(self, lease: Lease) -> None:
        """Read on until all is read, 5 s have passed, or Graph refuses; gives the lease back."""
        try:
            await self._read(lease)
        except MailboxGoneError as error:
            self.gave_up = True
            await self._leave(lease, parked=error.code or "no usable mailbox")
        except ThrottledError as error:
            await self._leave(lease, wait_s=error.retry_after)
        except TransientGraphError:
            self._failures += 1
            self.gave_up = self._failures > FAILURES_LIMIT
            await self._leave(lease, wait_s=min(2.0**self._failures, REFUSED_WAIT_S))
        except TokenRefusedError:
            await self._leave(lease)
            raise
        except GraphError as error:
            log.warning("a window look stopped: %s", error)
            self.gave_up = True
            await self._leave(lease, wait_s=REFUSED_WAIT_S)
        except LeaseLostError:
            self._link = None  # what was committed is known; the listing starts over

    async def _read(self, lease: Lease) -> None:
        began = time.monotonic()
        while self._left:
            observed = Observed(lease, keep=True)
            first = window_path(lease.aad_id, self._left[0], self._from, self._to)
            self.requests += 1
            page = await read_page(
                self._walker.client,
                self._walker.decoder,
                observed,
                ANYWHERE,
                self._link or first,
                self._walker.settings.graph.page_size,
                sighting="window",
                listing=True,
            )
            await self._know_folders(observed)
            if page.done:
                self._left.pop(0)
            must_yield = time.monotonic() - began > HOLD_S
            observed.keep = bool(self._left) and not must_yield
            if not await self._walker.commit(observed):
                raise LeaseLostError(frozenset({lease.mailbox_id}))
            self.messages += len(page.keys)
            self._link = None if page.done else page.next_link
            if must_yield and self._left:
                return
        self.done = True

    async def _know_folders(self, observed: Observed) -> None:
        """An unknown parentFolderId refreshes the folder tree in the same lease first."""
        known = await asyncio.to_thread(self._folder_ids, observed.lease)
        unknown = {row[FOLDER_ID] for row in observed.rows if row[FOLDER_ID]} - known
        if unknown:
            await refresh_tree(
                self._walker.client,
                self._walker.db,
                observed.lease,
                self._walker.name_key,
                self._walker.commit,
                also=unknown,
                events="folders" in self._walker.streams,
            )

    def _folder_ids(self, lease: Lease) -> set[str]:
        with self._walker.db.read() as connection:
            folders = folders_of(connection, lease.mailbox_id)
        return {one.folder_id for one in folders if one.gone_at is None}

    async def _leave(
        self, lease: Lease, *, wait_s: float | None = None, parked: str | None = None
    ) -> None:
        pause = None if wait_s is None else clock.machine_us() + int(wait_s * 1_000_000)
        self.resume_at = pause or 0
        await self._walker.commit(Observed(lease, pause_until=pause, parked=parked))


async def look_at_window(walker: Walker, lease: Lease, from_at: int, to_at: int) -> dict[str, int]:
    """Look at one leased mailbox's window for at most 5 s; the lease is given back.

    Graph time, microseconds, half-open. `whole` 0 in the answer: not all was read; give a
    `WindowLook` to `running.run_walks` to read on. Raises TokenRefusedError and UsageError.
    """
    look = WindowLook(walker, from_at, to_at)
    await look.go_on(lease)
    return look.counts
