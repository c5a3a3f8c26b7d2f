"""A walk: the folders of one mailbox, page by page. Priming is the first, a round each later.

    tree and rules, then folder by folder: page → rows, hints, next link → commit
    done:  priming → live, primed_at      full round → pending_through = when it started

A *full* round reads all folders and is the only proof of completeness. A *hot* round reads the
four where mail comes, goes and is written, and every folder whose counts changed: it finds in
an hour what notifications lost, and proves nothing (docs/decisions/hot-folders.md).

The lease is given back when a hint of the mailbox is due, and after 5 s in any case; the walk
remembers where it stood and goes on with the next lease. A process that dies loses only this
memory: links are stored with their rows.

A lost delta state is a normal path: the folder is listed again, and what it then misses is
looked for in all folders (`absences`). A round that meets this, or a folder that is gone,
becomes a full one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

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
    UntrustedLinkError,
)
from outlook_lake.events.observation import FolderLink, Observed
from outlook_lake.looks.absences import Absences
from outlook_lake.looks.folders import FolderState, Tree, folders_of, refresh_tree
from outlook_lake.looks.pages import Page, read_page
from outlook_lake.looks.rules import look_at_rules
from outlook_lake.looks.walker import Commit, Walker
from outlook_lake.state.leases import Lease

__all__ = ["HOT", "Commit", "Walk", "Walker"]

log = logging.getLogger(__name__)

HOT = frozenset({"inbox", "sent", "deleted", "drafts"})
"""Kinds of folders every round reads."""

HOLD_S = 5.0
"""A lease is given back after this time (machine), whatever is left."""

REFUSED_WAIT_S = 60.0
EXPIRED_LIMIT = 3
"""A folder whose delta expires more often in one walk is left for the next."""

COMMIT_PAGES = 5
"""So many pages of rows share a commit: comparing five costs little more than comparing one."""

PASSES_LIMIT = 5
"""Passes of one walk over all folders before it proves nothing and is left for the next."""

FAILURES_LIMIT = 7
"""Failed requests of one walk (some three minutes) before it is left for the next."""


@dataclass(slots=True)
class _Folder:
    """Where the walk stands in one folder."""

    folder_no: int
    folder_id: str
    kind: str
    link: str | None
    resync: bool
    listing: bool = False
    """Delta refuses: the plain list is read, and no link is kept."""
    whole: bool = True
    """False once a page held rows without an id: its links are not kept, so it comes again."""
    shown: set[bytes] = field(default_factory=set)
    expired: int = 0
    stored: bool = True
    """The link comes from the database, not from this walk."""


class Walk:
    """One walk over one mailbox, resumable with a new lease."""

    def __init__(
        self, walker: Walker, *, priming: bool, full: bool = True, hidden: bool = True
    ) -> None:
        """`hidden`: a full round also lists hidden folders right below the root."""
        self._walker = walker
        self._hidden = hidden
        self._priming = priming
        self._wants_full = full
        self._full = full
        self._todo: list[_Folder] | None = None
        self._started_at: int | None = None
        self._last_date: int = 0
        self._whole = True
        self._absences = Absences(walker.db)
        self._failures = 0
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
        try:
            await self._walk(lease)
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

    async def _walk(self, lease: Lease) -> None:
        began = time.monotonic()
        enough = COMMIT_PAGES * self._walker.settings.graph.page_size
        observed = Observed(lease, keep=True)
        if self._todo is None:
            self._todo = await self._folders(lease, observed)
            await self._rules(observed)
        while self._todo:
            try:
                page = await self._page(observed, self._todo[0])
            except (ThrottledError, TransientGraphError):
                # The pages before it were good: a Graph that often fails must not hold up a walk.
                if observed.rows:
                    await self._commit(observed)
                raise
            if page is None or page.done:
                self._todo.pop(0)
                if not self._todo and not await self._another_pass(lease, observed):
                    break
            must_yield = await asyncio.to_thread(self._must_yield, lease, began)
            if must_yield or len(observed.rows) >= enough:
                observed.keep = not must_yield
                await self._commit(observed)
                if must_yield:
                    return
                observed = Observed(lease, keep=True)
        await self._end(lease, observed)

    async def _end(self, lease: Lease, observed: Observed) -> None:
        observed.keep = False
        if self._whole:  # what was not read may hold what is missing
            observed.rows += await asyncio.to_thread(
                self._absences.rows,
                lease,
                started_at=self._started_at or 0,
                seen_at=self._last_date,
            )
            observed.links += self._absences.links.values()
        if self._priming:
            observed.primed_at = self._last_date or clock.graph_us()
        elif self._whole and self._full:
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
        self._started_at = None
        self._whole = True
        self._full = self._wants_full
        self._absences = Absences(self._walker.db)
        self._must_reread = False
        self._passes = 1

    async def _folders(self, lease: Lease, observed: Observed) -> list[_Folder]:
        """The folders this walk has to read, by what the tree says now."""
        if self._priming:
            folders = await asyncio.to_thread(self._stored, lease)
            if folders:
                return self._chosen(folders, frozenset())
        tree = await self._tree(lease, observed, hidden=self._full and self._hidden)
        if self._priming:  # nothing is compared yet: the first round settles what is gone
            return self._chosen(tree.folders, tree.shown)
        for folder_no in tree.unsettled:
            await asyncio.to_thread(self._absences.folder_gone, lease, folder_no)
        if self._absences.missing and not self._full:
            # Where the items of a folder went that is gone, only all folders can tell.
            self._full = True
            tree = await self._tree(lease, observed, hidden=True)
        return self._chosen(tree.folders, tree.shown)

    async def _tree(
        self,
        lease: Lease,
        observed: Observed,
        *,
        hidden: bool = False,
        doubted: Iterable[str] = (),
    ) -> Tree:
        walker = self._walker
        tree = await refresh_tree(
            walker.client,
            walker.db,
            lease,
            walker.name_key,
            walker.commit,
            hidden=hidden,
            doubted=doubted,
            events="folders" in walker.streams,
        )
        observed.tree = tree.pending
        self._started_at = self._started_at or tree.started_at
        self._last_date = max(self._last_date, tree.started_at)
        return tree

    def _stored(self, lease: Lease) -> list[FolderState]:
        with self._walker.db.read() as connection:
            folders = folders_of(connection, lease.mailbox_id)
        return [one for one in folders if one.gone_at is None]

    def _chosen(self, folders: list[FolderState], changed: frozenset[int]) -> list[_Folder]:
        if "messages" not in self._walker.streams:
            return []
        return [
            _Folder(f.folder_no, f.folder_id, f.kind, f.link, f.link_state == "lost")
            for f in folders
            if self._is_chosen(f, changed)
        ]

    def _is_chosen(self, one: FolderState, changed: frozenset[int]) -> bool:
        if one.kind == "dumpster" and self._walker.settings.looks.dumpster != "on":
            return False
        if self._priming:
            return one.link_state not in ("live", "unavailable")
        if self._full or one.link_state not in ("live", "unavailable"):
            return True
        # A folder without a link has to be listed whole: full rounds do.
        return one.link_state == "live" and (one.kind in HOT or one.folder_no in changed)

    async def _rules(self, observed: Observed) -> None:
        if "rules" in self._walker.streams:
            await look_at_rules(self._walker, observed)

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
                listing=folder.listing,
            )
        except DeltaExpiredError:
            return self._anew(observed, folder)
        except UntrustedLinkError:
            if not folder.stored:
                raise
            # Stored by an answer that led astray, or for a host that is served no longer.
            return self._anew(observed, folder)
        except FolderGoneError:
            await self._without(observed, folder)
            return None
        except DeltaUnavailableError:
            # The mailbox is full, and delta would have to store its state in it.
            folder.link, folder.resync, folder.shown = None, not self._priming, set()
            folder.listing = True
            return Page(None, None, self._last_date, [])
        await self._take(observed, folder, page)
        return page

    def _anew(self, observed: Observed, folder: _Folder) -> Page:
        """Start a folder over: its link is worth nothing."""
        folder.expired += 1
        if folder.expired > EXPIRED_LIMIT:
            raise UnreachableError("a delta keeps expiring") from None
        folder.link, folder.resync, folder.shown = None, not self._priming, set()
        folder.stored = False
        observed.links.append(FolderLink(folder.folder_no, None, "lost"))
        return Page(None, None, self._last_date, [])

    async def _without(self, observed: Observed, folder: _Folder) -> None:
        """A folder answered that it is not there: believed when the tree says so too."""
        lease = observed.lease
        observed.links[:] = [one for one in observed.links if one.folder_no != folder.folder_no]
        tree = await self._tree(lease, observed, doubted=[folder.folder_id])
        if folder.folder_no not in tree.unsettled:
            self._whole = False
            # What is no longer in it must show when it can be read again.
            observed.links.append(FolderLink(folder.folder_no, None, "lost"))
        elif not self._priming and await asyncio.to_thread(
            self._absences.folder_gone, lease, folder.folder_no
        ):
            self._must_reread = True

    async def _take(self, observed: Observed, folder: _Folder, page: Page) -> None:
        """Where the folder stands after a page, and what its links may say so far."""
        held = self._absences.links
        self._started_at = self._started_at or page.date_us
        self._last_date = page.date_us
        folder.link, folder.stored = page.delta_link or page.next_link, False
        if not self._priming:  # which misses nothing, and shows all there is
            self._absences.show(folder.folder_no, page.keys)
        if folder.resync:
            folder.shown.update(page.keys)
        folder.whole = folder.whole and page.whole
        if not folder.whole:
            self._whole = False
        elif not page.done:
            # A new listing keeps no link between pages: what it showed is in memory only.
            if not (folder.resync or folder.listing or folder.folder_no in held):
                observed.links.append(FolderLink(folder.folder_no, page.next_link, "priming"))
        else:
            state = "unavailable" if folder.listing else "live"
            link = FolderLink(folder.folder_no, page.delta_link, state, self._started_at)
            if folder.resync and await asyncio.to_thread(
                self._absences.listed, observed.lease, link, folder.shown
            ):
                self._must_reread = True
            if folder.resync or folder.folder_no in held:
                held[folder.folder_no] = link
            else:
                observed.links.append(link)

    async def _another_pass(self, lease: Lease, observed: Observed) -> bool:
        """Read all folders (once more) when a listing misses items; True when it is needed."""
        if not self._absences.missing or not self._must_reread:
            return False
        self._must_reread = False
        self._full = True
        self._passes += 1
        if self._passes > PASSES_LIMIT:
            # Delta states are lost faster than they can be read: the next walk may prove more.
            self._whole = False
            return False
        self._todo = await self._folders(lease, observed)
        for folder in self._todo:
            listed = self._absences.links.get(folder.folder_no)
            if listed is not None:
                folder.link, folder.resync = listed.link, False
                folder.listing = listed.link_state == "unavailable"
        return bool(self._todo)

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
