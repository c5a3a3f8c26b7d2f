"""The folder tree as Graph tells it: by delta from a stored link, by delta anew, or by listing.

    link known ─▶ what changed since           lost ─┐
    no link    ─▶ delta from the start: all visible folders, and a link
    refused    ─▶ listing, level by level: all folders, and no link

Delta leaves hidden folders out, so they are listed at the root (all levels the first time).
Search folders show messages that live elsewhere: left out. That a folder is gone is believed
only when it has been asked for by its id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from msgspec import UNSET

from outlook_lake import clock
from outlook_lake.errors import (
    ConsentError,
    DeltaExpiredError,
    DeltaUnavailableError,
    FolderGoneError,
    GraphError,
    ItemGoneError,
    MailboxGoneError,
    TokenRefusedError,
    TransientGraphError,
    UnreachableError,
    UntrustedLinkError,
)
from outlook_lake.graph.batch import BATCH_LIMIT, BatchItem, BatchRequest
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import Folder, decode_folder, decode_folders
from outlook_lake.graph.resources import (
    WELL_KNOWN_FOLDERS,
    folder_path,
    folders_delta_path,
    folders_path,
    paged,
)
from outlook_lake.looks.decode import readable
from outlook_lake.state.leases import Lease

__all__ = ["TreeAnswer", "ask_folders", "ask_tree", "ask_well_known"]

PAGE_SIZE = 200
EXPIRED_LIMIT = 3
"""Delta states lost one after the other before the tree is listed instead."""


@dataclass(slots=True)
class TreeAnswer:
    """What some answers said about a mailbox's folders. Times: Graph's Date, microseconds."""

    started_at: int = 0
    """Date of the first answer: what is made later may be missing."""
    seen_at: int = 0
    link: str | None = None
    folders: dict[str, Folder] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    shows_visible: bool = False
    """All visible folders are in `folders`, not only the changed ones."""
    shows_root: bool = False
    """All folders right below the root are in `folders`, hidden ones too."""
    shows_all: bool = False

    def dated(self, at: int) -> None:
        """Take note of an answer's Date."""
        self.started_at = self.started_at or at
        self.seen_at = max(self.seen_at, at)


async def ask_tree(
    client: GraphClient, lease: Lease, link: str | None, *, hidden: bool, first: bool
) -> TreeAnswer:
    """Ask what changed since `link`, or for everything; raises the GraphError tree.

    `hidden` also lists what lies right below the root, `first` all levels of it.
    """
    answer = TreeAnswer()
    try:
        await _by_delta(client, lease, link, answer)
        if first:
            await _by_listing(client, lease, answer, deep=True, everywhere=True)
        elif hidden:
            await _by_listing(client, lease, answer, deep=False)
    except (ConsentError, DeltaUnavailableError):
        # An older permission table asks Mail.Read for this delta; a full mailbox refuses it.
        started_at = answer.started_at
        answer = TreeAnswer(started_at=started_at)
        await _by_listing(client, lease, answer, deep=True, everywhere=first)
    return answer


async def _by_delta(
    client: GraphClient, lease: Lease, link: str | None, answer: TreeAnswer
) -> None:
    first = folders_delta_path(lease.aad_id)
    for _ in range(EXPIRED_LIMIT):
        try:
            async for folder in _pages(client, lease, link or first, answer):
                if folder.removed is not UNSET:
                    answer.removed.add(folder.id)
                    answer.folders.pop(folder.id, None)
                elif not folder.is_search:
                    answer.removed.discard(folder.id)
                    answer.folders[folder.id] = folder
        except (DeltaExpiredError, UntrustedLinkError) as error:
            if link is None and isinstance(error, UntrustedLinkError):
                raise
            link = None
            answer.folders.clear()
            answer.removed.clear()
            continue
        answer.shows_visible = link is None
        return
    raise DeltaUnavailableError("the folder tree's delta keeps expiring")


async def _by_listing(
    client: GraphClient,
    lease: Lease,
    answer: TreeAnswer,
    *,
    deep: bool,
    everywhere: bool = False,
) -> None:
    """List the folders right below the root, or (`deep`) all that have visible ones below.

    `everywhere` looks below every folder: hidden children are not counted by Graph.
    """
    link = answer.link
    parents: list[str | None] = [None]
    asked: set[str] = set()
    while parents:
        path = folders_path(lease.aad_id, parents.pop())
        async for folder in _pages(client, lease, path, answer, asked):
            if folder.is_search:
                continue
            answer.folders[folder.id] = folder
            answer.removed.discard(folder.id)
            if everywhere or (deep and folder.children != 0):
                parents.append(folder.id)
    answer.link = link
    answer.shows_root = True
    answer.shows_visible = answer.shows_visible or deep
    answer.shows_all = everywhere


async def _pages(
    client: GraphClient,
    lease: Lease,
    first: str,
    answer: TreeAnswer,
    asked: set[str] | None = None,
) -> AsyncIterator[Folder]:
    """Folders page by page; UnreachableError when the links lead in a circle."""
    link: str | None = first
    asked = set() if asked is None else asked
    while link:
        if link in asked:
            raise UnreachableError("Graph's pages lead in a circle")
        asked.add(link)
        got = await client.get(link, mailbox=lease.aad_id, prefer=paged(PAGE_SIZE))
        page = readable(decode_folders, got.body)
        answer.dated(clock.to_us(got.date))
        for folder in page.value:
            yield folder
        link = page.next_link
        answer.link = page.delta_link


async def ask_well_known(client: GraphClient, lease: Lease) -> dict[str, Folder]:
    """Kind → folder, of the well-known ones this mailbox has.

    One that may not be read is left out: a lasting refusal of one folder stops no other.
    """
    names = list(WELL_KNOWN_FOLDERS.items())
    requests = [BatchRequest(kind, folder_path(lease.aad_id, name)) for kind, name in names]
    found: dict[str, Folder] = {}
    for item, request in await _batch(client, lease, requests):
        if item.status == 200:
            found[item.id] = readable(decode_folder, item.body)
        else:
            _raise_unless_about_one_folder(item.error(request.path))
    return found


async def ask_folders(
    client: GraphClient, lease: Lease, ids: Collection[str]
) -> dict[str, Folder | None]:
    """Folders by their ids; None = Graph says it is not there. Others are left out."""
    wanted = sorted(ids)
    requests = [
        BatchRequest(str(n), folder_path(lease.aad_id, name)) for n, name in enumerate(wanted)
    ]
    found: dict[str, Folder | None] = {}
    for item, request in await _batch(client, lease, requests):
        if item.status == 200:
            found[wanted[int(item.id)]] = readable(decode_folder, item.body)
            continue
        error = item.error(request.path)
        _raise_unless_about_one_folder(error)
        if isinstance(error, FolderGoneError | ItemGoneError):
            found[wanted[int(item.id)]] = None
    return found


async def _batch(
    client: GraphClient, lease: Lease, requests: list[BatchRequest]
) -> list[tuple[BatchItem, BatchRequest]]:
    answered: list[tuple[BatchItem, BatchRequest]] = []
    for start in range(0, len(requests), BATCH_LIMIT):
        some = requests[start : start + BATCH_LIMIT]
        answer = await client.batch(some, mailbox=lease.aad_id)
        answered += zip(answer.items, some, strict=True)
    return answered


def _raise_unless_about_one_folder(error: GraphError) -> None:
    if isinstance(error, TransientGraphError | MailboxGoneError | TokenRefusedError):
        raise error
