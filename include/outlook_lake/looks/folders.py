"""The folder tree of a mailbox: which folders there are, and which one is the inbox.

Names are hashed at once; a folder is known by its number in the mailbox and its kind.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from msgspec import UNSET
from sqlalchemy import Connection, text

from outlook_lake import clock
from outlook_lake.errors import (
    ConsentError,
    DeltaExpiredError,
    DeltaUnavailableError,
    UnreachableError,
)
from outlook_lake.events.commit import check_fences
from outlook_lake.graph.batch import BatchRequest
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import Folder, decode_folder, decode_folders
from outlook_lake.graph.resources import (
    WELL_KNOWN_FOLDERS,
    folder_path,
    folders_delta_path,
    folders_path,
)
from outlook_lake.looks.decode import readable
from outlook_lake.state import Database
from outlook_lake.state.leases import Lease

__all__ = ["FolderState", "folders_of", "refresh_tree"]


@dataclass(frozen=True, slots=True)
class FolderState:
    """One folder as stored."""

    folder_no: int
    folder_id: str
    kind: str
    link: str | None
    link_state: str


def folders_of(connection: Connection, mailbox_id: int) -> list[FolderState]:
    """The folders of a mailbox that are still there."""
    rows = connection.execute(
        text(
            "SELECT folder_no, folder_id, kind, link, link_state FROM folder "
            "WHERE mailbox_id = :mailbox_id AND gone_at IS NULL ORDER BY folder_no"
        ),
        {"mailbox_id": mailbox_id},
    )
    return [FolderState(*row) for row in rows]


async def refresh_tree(
    client: GraphClient,
    db: Database,
    lease: Lease,
    name_key: bytes,
    *,
    also: Iterable[str] = (),
) -> list[FolderState]:
    """Ask for the whole tree and store what is new, moved or gone; the lease must be held.

    Folders in `also` exist because a message says so: when no answer names them (hidden ones
    are left out of the tree's delta) they are stored as `other`.
    """
    kinds = await _well_known(client, lease)
    try:
        folders = await _by_delta(client, lease)
    except (ConsentError, DeltaExpiredError, DeltaUnavailableError):
        # An older permission table asks Mail.Read for this delta: list instead.
        folders = await _by_listing(client, lease)
    known = {folder.id for folder in folders}
    folders += [folder for folder in kinds.values() if folder.id not in known]
    known |= {folder.id for folder in kinds.values()}
    folders += [Folder(folder_id, hidden=True) for folder_id in also if folder_id not in known]
    kind_of = {folder.id: kind for kind, folder in kinds.items()}
    with db.write() as connection:
        check_fences(connection, [lease])
        _store(connection, lease, folders, kind_of, name_key)
        return folders_of(connection, lease.mailbox_id)


async def _well_known(client: GraphClient, lease: Lease) -> dict[str, Folder]:
    requests = [
        BatchRequest(kind, folder_path(lease.aad_id, name))
        for kind, name in WELL_KNOWN_FOLDERS.items()
    ]
    answer = await client.batch(requests, mailbox=lease.aad_id)
    found: dict[str, Folder] = {}
    for item, request in zip(answer.items, requests, strict=True):
        if item.status == 200:
            found[item.id] = readable(decode_folder, item.body)
        elif item.status != 404:  # not every mailbox has an archive folder
            raise item.error(request.path)
    return found


async def _by_delta(client: GraphClient, lease: Lease) -> list[Folder]:
    pages = _pages(client, lease, folders_delta_path(lease.aad_id), set())
    folders = [folder async for folder in pages]
    return [f for f in folders if f.removed is UNSET and not f.is_search]


async def _by_listing(client: GraphClient, lease: Lease) -> list[Folder]:
    folders: list[Folder] = []
    parents: list[str | None] = [None]
    asked: set[str] = set()
    while parents:
        async for folder in _pages(client, lease, folders_path(lease.aad_id, parents.pop()), asked):
            if not folder.is_search:
                folders.append(folder)
                parents.append(folder.id)
    return folders


async def _pages(
    client: GraphClient, lease: Lease, first: str, asked: set[str]
) -> AsyncIterator[Folder]:
    """Folders page by page; UnreachableError when the links lead in a circle."""
    link: str | None = first
    while link:
        if link in asked:
            raise UnreachableError("Graph's pages lead in a circle")
        asked.add(link)
        answer = await client.get(link, mailbox=lease.aad_id)
        page = readable(decode_folders, answer.body)
        for folder in page.value:
            yield folder
        link = page.next_link


def _store(
    connection: Connection,
    lease: Lease,
    folders: list[Folder],
    kind_of: dict[str, str],
    name_key: bytes,
) -> None:
    rows = connection.execute(
        text("SELECT folder_id, folder_no FROM folder WHERE mailbox_id = :mailbox_id"),
        {"mailbox_id": lease.mailbox_id},
    ).all()
    numbers: dict[str, int] = dict(rows)
    for folder in folders:
        if folder.id not in numbers:
            numbers[folder.id] = max(numbers.values(), default=0) + 1
    if folders:
        connection.execute(
            text(
                "INSERT INTO folder (mailbox_id, folder_no, folder_id, parent_no, kind, name_key, "
                "hidden, link_state) VALUES (:mailbox_id, :folder_no, :folder_id, :parent_no, "
                ":kind, :name_key, :hidden, 'none') "
                "ON CONFLICT (mailbox_id, folder_no) DO UPDATE SET parent_no = excluded.parent_no, "
                "kind = excluded.kind, name_key = excluded.name_key, hidden = excluded.hidden, "
                "gone_at = NULL"
            ),
            [
                {
                    "mailbox_id": lease.mailbox_id,
                    "folder_no": numbers[folder.id],
                    "folder_id": folder.id,
                    "parent_no": numbers.get(folder.parent_id)
                    if isinstance(folder.parent_id, str)
                    else None,
                    "kind": kind_of.get(folder.id, "other"),
                    "name_key": _name_key(name_key, folder),
                    "hidden": folder.hidden is True,
                }
                for folder in folders
            ],
        )
    gone = set(numbers) - {folder.id for folder in folders}
    if gone:
        connection.execute(
            text(
                "UPDATE folder SET gone_at = coalesce(gone_at, :now), link = NULL, link_state = "
                "CASE WHEN link_state IN ('live', 'lost') THEN 'lost' ELSE 'none' END "
                "WHERE mailbox_id = :mailbox_id AND folder_id = :folder_id"
            ),
            [
                {"now": clock.graph_us(), "mailbox_id": lease.mailbox_id, "folder_id": folder_id}
                for folder_id in gone
            ],
        )
    connection.execute(
        text("UPDATE mailbox SET tree_at = :now WHERE mailbox_id = :mailbox_id"),
        {"now": clock.graph_us(), "mailbox_id": lease.mailbox_id},
    )


def _name_key(key: bytes, folder: Folder) -> bytes | None:
    if not isinstance(folder.display_name, str):
        return None
    return hmac.digest(key, folder.display_name.encode(), hashlib.sha256)[:16]
