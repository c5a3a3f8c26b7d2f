"""The folders of a mailbox as stored, and what a look at the tree changes in them.

Names are hashed at once; a folder is known by its number in the mailbox and its kind. The
first look is the baseline and silent; from then on what differs is an event: created, renamed,
moved, deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, text

from outlook_lake.errors import LeaseLostError
from outlook_lake.events.observation import FolderRow, ObjectChange, Observed, TreeSeen
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import Folder
from outlook_lake.looks.tree import TreeAnswer, ask_folders, ask_tree, ask_well_known
from outlook_lake.state import Database
from outlook_lake.state.kinds import item_key
from outlook_lake.state.leases import Lease

__all__ = ["FolderState", "Tree", "folders_of", "refresh_tree"]

Commit = Callable[[Observed], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class FolderState:
    """One folder as stored. Times: Graph, microseconds."""

    folder_no: int
    folder_id: str
    kind: str
    link: str | None
    link_state: str
    parent_no: int | None = None
    name_key: bytes | None = None
    hidden: bool = False
    gone_at: int | None = None

    @property
    def row(self) -> FolderRow:
        """Its part that the tree tells."""
        return FolderRow(
            self.folder_no, self.folder_id, self.parent_no, self.kind, self.name_key, self.hidden
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """The folders of a mailbox after a look at its tree."""

    folders: list[FolderState]
    started_at: int
    """Date of the first answer: a folder made later may be missing here."""
    shown: frozenset[int]
    """Numbers of the folders the answers named: something about them, or in them, changed."""
    unsettled: list[int]
    """Numbers of folders that are gone and whose items nobody has looked for since."""
    pending: TreeSeen | None
    """Link and time, when nothing else is new: to be stored with the next commit."""


@dataclass(slots=True)
class _Stored:
    folders: dict[str, FolderState] = field(default_factory=dict)
    link: str | None = None
    tree_at: int | None = None
    full_at: int | None = None


def folders_of(connection: Connection, mailbox_id: int) -> list[FolderState]:
    """All folders of a mailbox, also those that are gone."""
    rows = connection.execute(
        text(
            "SELECT folder_no, folder_id, kind, link, link_state, parent_no, name_key, hidden, "
            "gone_at FROM folder WHERE mailbox_id = :mailbox_id ORDER BY folder_no"
        ),
        {"mailbox_id": mailbox_id},
    )
    return [FolderState(*row) for row in rows]


async def refresh_tree(
    client: GraphClient,
    db: Database,
    lease: Lease,
    name_key: bytes,
    commit: Commit,
    *,
    also: Iterable[str] = (),
    doubted: Iterable[str] = (),
    hidden: bool = False,
    events: bool = True,
) -> Tree:
    """Ask what changed in the tree and commit it; the lease must be held.

    Folders in `also` exist because a message says so: when no answer names them they are
    stored as `other`, silently. `doubted` ones were answered "not there". `hidden` lists the
    hidden folders right below the root too. `events` False keeps changes silent. Raises the
    GraphError tree, and LeaseLostError.
    """
    stored = await asyncio.to_thread(_read, db, lease.mailbox_id)
    first = stored.tree_at is None
    answer = await ask_tree(client, lease, stored.link, hidden=hidden, first=first)
    unknown = {name for name in also if name not in answer.folders and _gone(stored, name)}
    kinds: dict[str, Folder] = {}
    if first or unknown or any(name not in stored.folders for name in answer.folders):
        kinds = await ask_well_known(client, lease)
        for folder in kinds.values():
            answer.folders.setdefault(folder.id, folder)
    unknown -= answer.folders.keys()
    asked = await ask_folders(client, lease, _absent(stored, answer) | set(doubted) | unknown)
    answer.folders.update({name: folder for name, folder in asked.items() if folder is not None})
    for name in unknown - answer.folders.keys():
        answer.folders[name] = Folder(name, hidden=True)
    gone = {name for name, folder in asked.items() if folder is None} - unknown
    seen, changes, folders = _compare(stored, answer, kinds, gone, name_key, unknown)
    observed = Observed(lease, tree=seen, keep=True)
    if events and not first:
        observed.objects = changes
    pending: TreeSeen | None = seen
    if seen.rows or seen.gone:
        pending = None
        if not await commit(observed):
            raise LeaseLostError(frozenset({lease.mailbox_id}))
    return Tree(
        folders=[one for one in folders.values() if one.gone_at is None],
        started_at=answer.started_at,
        shown=frozenset(folders[name].folder_no for name in answer.folders),
        unsettled=[
            one.folder_no
            for one in folders.values()
            if one.gone_at is not None and one.link_state == "lost"
        ],
        pending=pending,
    )


def _read(db: Database, mailbox_id: int) -> _Stored:
    with db.read() as connection:
        row = connection.execute(
            text(
                "SELECT tree_link, tree_at, full_at, watch_from FROM mailbox "
                "WHERE mailbox_id = :mailbox_id"
            ),
            {"mailbox_id": mailbox_id},
        ).one()
        folders = {one.folder_id: one for one in folders_of(connection, mailbox_id)}
    return _Stored(folders, row.tree_link, row.tree_at, row.full_at or row.watch_from)


def _gone(stored: _Stored, name: str) -> bool:
    return name not in stored.folders or stored.folders[name].gone_at is not None


def _absent(stored: _Stored, answer: TreeAnswer) -> set[str]:
    """Folders that should have been shown, were there one: to be asked for by id."""
    return {
        name
        for name, one in stored.folders.items()
        if one.gone_at is None
        and name not in answer.folders
        # The dumpster is not below the root: no tree ever shows it.
        and one.kind != "dumpster"
        and (
            answer.shows_all
            or (answer.shows_visible and not one.hidden)
            or (answer.shows_root and one.hidden and one.parent_no is None)
            or name in answer.removed
        )
    }


def _compare(
    stored: _Stored,
    answer: TreeAnswer,
    kinds: dict[str, Folder],
    gone: set[str],
    name_key: bytes,
    silent: set[str],
) -> tuple[TreeSeen, list[ObjectChange], dict[str, FolderState]]:
    kind_of = {folder.id: kind for kind, folder in kinds.items()}
    folders = dict(stored.folders)
    highest = max((one.folder_no for one in folders.values()), default=0)
    for name in answer.folders:
        if name not in folders:
            highest += 1
            folders[name] = FolderState(highest, name, "other", None, "none")
    number = {name: one.folder_no for name, one in folders.items()}
    rows: list[FolderRow] = []
    changes: list[ObjectChange] = []
    for name, folder in answer.folders.items():
        before = folders[name]
        after = replace(
            before,
            parent_no=number.get(folder.parent_id)
            if isinstance(folder.parent_id, str)
            else before.parent_no,
            kind=kind_of.get(name, before.kind),
            name_key=_name_key(name_key, folder) or before.name_key,
            hidden=folder.hidden if isinstance(folder.hidden, bool) else before.hidden,
            gone_at=None,
        )
        folders[name] = after
        if after != before or name not in stored.folders:
            rows.append(after.row)
    by_number = {one.folder_no: one for one in folders.values()}
    for name in answer.folders:
        if name not in silent:
            changes += _changes(stored, folders[name], by_number, answer)
    for name in gone & stored.folders.keys():
        before = folders[name]
        if before.gone_at is None:
            folders[name] = replace(before, gone_at=answer.seen_at, link=None, link_state="lost")
            changes.append(
                _change(stored, "folder_deleted", ("existence",), before, by_number, answer)
            )
    lost = [folders[name].folder_no for name in gone & stored.folders.keys()]
    lost = [n for n in lost if by_number[n].gone_at is None]
    return TreeSeen(rows, lost, answer.link, answer.seen_at), changes, folders


def _changes(
    stored: _Stored, after: FolderState, by_number: dict[int, FolderState], answer: TreeAnswer
) -> list[ObjectChange]:
    before = stored.folders.get(after.folder_id)
    if before is None or before.gone_at is not None:
        return [_change(stored, "folder_created", ("existence",), after, by_number, answer)]
    if before.name_key is None:  # known from a message only: nothing to compare with
        return []
    found = []
    if after.name_key != before.name_key:
        found.append(_change(stored, "folder_renamed", ("name",), after, by_number, answer))
    if after.parent_no != before.parent_no:
        moved = _change(stored, "folder_moved", ("parent",), after, by_number, answer)
        found.append(replace(moved, from_folder_kind=_kind(by_number, before.parent_no)))
    return found


def _change(
    stored: _Stored,
    action: str,
    changed: tuple[str, ...],
    one: FolderState,
    by_number: dict[int, FolderState],
    answer: TreeAnswer,
) -> ObjectChange:
    # Hidden folders are listed by full rounds only.
    polled = stored.full_at if one.hidden else stored.tree_at
    return ObjectChange(
        object_kind="folder",
        action=action,
        key=item_key(one.folder_id),
        platform_id=one.folder_id,
        changed=changed,
        sighting="delta" if answer.link else "snapshot",
        earliest_at=polled or stored.tree_at or 0,
        seen_at=answer.seen_at,
        folder_kind=_kind(by_number, one.parent_no),
    )


def _kind(by_number: dict[int, FolderState], number: int | None) -> str | None:
    return None if number is None or number not in by_number else by_number[number].kind


def _name_key(key: bytes, folder: Folder) -> bytes | None:
    if not isinstance(folder.display_name, str):
        return None
    return hmac.digest(key, folder.display_name.encode(), hashlib.sha256)[:16]
