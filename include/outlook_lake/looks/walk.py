"""A walk: every folder of one mailbox, page by page. Priming is the first, a round each later.

    folder by folder: page → rows, hints, next link → commit (several small folders at once)
    done:  priming → live, primed_at        round → pending_through = when it started

The lease is given back when a hint of the mailbox is due, and after 5 s in any case; the walk
remembers where it stood and goes on with the next lease. A process that dies loses only this
memory: links are stored with their rows.

A lost delta state is a normal path: the folder is enumerated again. What the inventory knows
there and the listing did not show has left the folder. The inventory keeps no ids to ask by,
so all folders are read once more: what still shows nowhere and has no hint is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.errors import (
    DeltaExpiredError,
    DeltaUnavailableError,
    FolderGoneError,
    GraphError,
    LeaseLostError,
    MailboxGoneError,
    ThrottledError,
    TokenRefusedError,
    TransientGraphError,
    UnreachableError,
    UsageError,
)
from outlook_lake.events.observation import FolderLink, Observed, Row, gone_row
from outlook_lake.graph.client import GraphClient
from outlook_lake.looks.decode import NO_HINT, Decoder
from outlook_lake.looks.folders import FolderState, folders_of, refresh_tree
from outlook_lake.looks.pages import Page, read_page
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.leases import Lease

__all__ = ["Commit", "Walk", "Walker"]

log = logging.getLogger(__name__)

HOLD_S = 5.0
"""A lease is given back after this time (machine), whatever is left."""

REFUSED_WAIT_S = 60.0
EXPIRED_LIMIT = 3
"""A folder whose delta expires more often in one walk is left for the next."""

PASSES_LIMIT = 5
"""Passes of one walk over all folders before it proves nothing and is left for the next."""

FAILURES_LIMIT = 7
"""Failed requests of one walk (some three minutes) before it is left for the next."""

Commit = Callable[[Observed], Awaitable[bool]]
"""Commits through apply; False when the lease was lost."""


async def _nowhere(observed: Observed) -> bool:
    raise UsageError("a walk needs somewhere to commit to")


@dataclass(frozen=True, slots=True)
class Walker:
    """What all walks of a tenant share."""

    client: GraphClient
    decoder: Decoder
    db: Database
    settings: Settings
    name_key: bytes
    commit: Commit = _nowhere

    def with_commit(self, commit: Commit) -> Walker:
        """The same, committing elsewhere."""
        return replace(self, commit=commit)


@dataclass(slots=True)
class _Folder:
    """Where the walk stands in one folder."""

    folder_no: int
    folder_id: str
    kind: str
    link: str | None
    resync: bool
    whole: bool = True
    """False once a page held rows without an id: its links are not kept, so it comes again."""
    shown: set[bytes] = field(default_factory=set)
    expired: int = 0


class Walk:
    """One walk over one mailbox, resumable with a new lease."""

    def __init__(self, walker: Walker, *, priming: bool) -> None:
        self._walker = walker
        self._priming = priming
        self._todo: list[_Folder] | None = None
        self._started_at: int | None = None
        self._last_date: int = 0
        self._whole = True
        self._missing: dict[bytes, int] = {}
        self._resynced: dict[int, FolderLink] = {}
        """Links of new listings: kept until the absences they prove are committed with them."""
        self._failures = 0
        self._shown: dict[bytes, int] = {}
        """Which folder showed an item last, since the walk began: the number of the folder."""
        self._must_reread = False
        """A listing missed something: all folders have to be read once more after it."""
        self._passes = 1
        self.done = False
        self.gave_up = False
        """Graph refused in a way that asking again would not change."""
        self.resume_at = 0
        """Not before (machine microseconds): Graph asked to wait."""

    async def go_on(self, lease: Lease) -> None:
        """Walk on until done, until the lease should be given back, or until Graph refuses.

        Always gives the lease back. `done` tells; a lost lease starts the walk over.
        """
        observed = Observed(lease, keep=True)
        try:
            await self._walk(lease, observed)
        except MailboxGoneError as error:
            self.gave_up = True
            await self._leave(lease, parked=error.code or "no usable mailbox")
        except ThrottledError as error:
            await self._leave(lease, wait_s=error.retry_after)
        except TransientGraphError as error:
            self._failures += 1
            if self._failures > FAILURES_LIMIT:
                log.warning("a walk is left for the next: %s", error)
                self.gave_up = True
            await self._leave(lease, wait_s=min(2.0**self._failures, REFUSED_WAIT_S))
        except TokenRefusedError:
            await self._leave(lease)
            raise
        except GraphError as error:
            # Refused, or a link that leads elsewhere: this mailbox stays unproven, others go on.
            log.warning("a walk stopped: %s", error)
            self.gave_up = True
            await self._leave(lease, wait_s=REFUSED_WAIT_S)
        except LeaseLostError:
            self._start_over()

    async def _walk(self, lease: Lease, observed: Observed) -> None:
        began = time.monotonic()
        if self._todo is None:
            self._todo = await self._folders(lease)
        while self._todo:
            folder = self._todo[0]
            page = await self._page(observed, folder)
            if page is None or page.delta_link:
                self._todo.pop(0)
                if not self._todo and not await self._another_pass(lease):
                    break
            must_yield = self._must_yield(lease, began)
            if must_yield or len(observed.rows) >= self._walker.settings.graph.page_size:
                observed.keep = not must_yield
                await self._commit(observed)
                if must_yield:
                    return
                observed = Observed(lease, keep=True)
        observed.keep = False
        if self._whole:  # what was not read may hold what is missing
            observed.rows += self._gone(lease)
            observed.links += self._resynced.values()
        if self._priming:
            observed.primed_at = self._last_date or clock.graph_us()
        elif self._whole:
            observed.pending_through = self._started_at
        await self._commit(observed)
        self.done = True

    async def _commit(self, observed: Observed) -> None:
        if not await self._walker.commit(observed):
            raise LeaseLostError(frozenset({observed.lease.mailbox_id}))

    async def _leave(
        self, lease: Lease, *, wait_s: float | None = None, parked: str | None = None
    ) -> None:
        """Give up for now; what was read and not committed is read again."""
        pause = None if wait_s is None else clock.machine_us() + int(wait_s * 1_000_000)
        self.resume_at = pause or 0
        self._start_over()
        await self._walker.commit(Observed(lease, pause_until=pause, parked=parked))

    def _start_over(self) -> None:
        """Forget what only this walk knew; what was committed is where the next lease begins."""
        self._todo = None
        self._missing.clear()
        self._resynced.clear()
        self._shown.clear()
        self._must_reread = False
        self._passes = 1

    async def _folders(self, lease: Lease) -> list[_Folder]:
        walker = self._walker
        with walker.db.read() as connection:
            folders = folders_of(connection, lease.mailbox_id)
        if not folders or not self._priming:
            folders = await refresh_tree(walker.client, walker.db, lease, walker.name_key)
        return [
            _Folder(f.folder_no, f.folder_id, f.kind, f.link, f.link_state == "lost")
            for f in folders
            if not (self._priming and f.link_state in ("live", "unavailable"))
        ]

    async def _page(self, observed: Observed, folder: _Folder) -> Page | None:
        """One page into `observed`; None when the folder has nothing more to say."""
        try:
            page = await read_page(
                self._walker.client,
                self._walker.decoder,
                observed,
                FolderState(folder.folder_no, folder.folder_id, folder.kind, None, ""),
                folder.link,
                self._walker.settings.graph.page_size,
                sighting="resync" if folder.resync else "delta",
            )
        except DeltaExpiredError:
            folder.expired += 1
            if folder.expired > EXPIRED_LIMIT:
                raise UnreachableError("a delta keeps expiring") from None
            folder.link, folder.resync, folder.shown = None, not self._priming, set()
            observed.links.append(FolderLink(folder.folder_no, None, "lost"))
            return Page(None, None, self._last_date, [])
        except FolderGoneError:
            self._whole = False
            # Should it be back, what is no longer in it must show.
            observed.links.append(FolderLink(folder.folder_no, None, "lost"))
            return None
        except DeltaUnavailableError:
            self._whole = False
            observed.links.append(FolderLink(folder.folder_no, folder.link, "unavailable"))
            return None
        self._take(observed, folder, page)
        return page

    def _take(self, observed: Observed, folder: _Folder, page: Page) -> None:
        """Where the folder stands after a page, and what its links may say so far."""
        self._started_at = self._started_at or page.date_us
        self._last_date = page.date_us
        folder.link = page.delta_link or page.next_link
        self._shown.update(dict.fromkeys(page.keys, folder.folder_no))
        for key in page.keys:
            self._missing.pop(key, None)
        if folder.resync:
            folder.shown.update(page.keys)
        folder.whole = folder.whole and page.whole
        if not folder.whole:
            self._whole = False
        elif not page.delta_link:
            # A resync keeps no link between pages: what was shown is in memory only.
            if not folder.resync and folder.folder_no not in self._resynced:
                observed.links.append(FolderLink(folder.folder_no, page.next_link, "priming"))
        else:
            link = FolderLink(folder.folder_no, page.delta_link, "live", self._started_at)
            if folder.resync:
                missing = self._not_shown(observed.lease, folder)
                self._missing |= missing
                self._must_reread = self._must_reread or bool(missing)
            if folder.resync or folder.folder_no in self._resynced:
                self._resynced[folder.folder_no] = link
            else:
                observed.links.append(link)

    def _not_shown(self, lease: Lease, folder: _Folder) -> dict[bytes, int]:
        """Items the inventory has in a folder and its new listing did not show."""
        with self._walker.db.read() as connection:
            rows = connection.execute(
                text(
                    "SELECT item_key FROM item WHERE shard = :shard AND mailbox_id = :mailbox_id "
                    "AND folder_no = :folder_no AND gone_at IS NULL"
                ),
                {
                    "shard": lease.shard,
                    "mailbox_id": lease.mailbox_id,
                    "folder_no": folder.folder_no,
                },
            ).all()
        here = folder.folder_no
        # What another folder has shown is there, also while its row is not committed yet.
        return {
            key: here
            for (key,) in rows
            if key not in folder.shown and self._shown.get(key, here) == here
        }

    async def _another_pass(self, lease: Lease) -> bool:
        """Read all folders once more when a listing misses items; True when it is needed."""
        if not self._missing or not self._must_reread:
            return False
        self._must_reread = False
        self._passes += 1
        if self._passes > PASSES_LIMIT:
            # Delta states are lost faster than they can be read: the next walk may prove more.
            self._whole = False
            return False
        self._todo = await self._folders(lease)
        for folder in self._todo:
            listed = self._resynced.get(folder.folder_no)
            if listed is not None:
                folder.link, folder.resync = listed.link, False
        return True

    def _gone(self, lease: Lease) -> list[Row]:
        """Absences a resync proved: still where the inventory had them, shown nowhere."""
        if not self._missing:
            return []
        with self._walker.db.read() as connection:
            still = connection.execute(
                text(
                    "SELECT item_key, folder_no FROM item WHERE shard = :shard "
                    "AND mailbox_id = :mailbox_id AND gone_at IS NULL AND seen_at < :started"
                ),
                {
                    "shard": lease.shard,
                    "mailbox_id": lease.mailbox_id,
                    "started": self._started_at or 0,
                },
            ).all()
        return [
            gone_row(
                lease,
                key,
                None,
                ordinal=0,
                seen_at=self._last_date,
                hint=NO_HINT,
                sighting="resync",
            )
            for key, folder_no in still
            if self._missing.get(key) == folder_no
        ]

    def _must_yield(self, lease: Lease, began: float) -> bool:
        if time.monotonic() - began > HOLD_S:
            return True
        with self._walker.db.read() as connection:
            due = connection.execute(
                text(
                    "SELECT 1 FROM hint WHERE mailbox_id = :mailbox_id AND due_at <= :now LIMIT 1"
                ),
                {"mailbox_id": lease.mailbox_id, "now": clock.machine_us()},
            ).first()
        return due is not None
