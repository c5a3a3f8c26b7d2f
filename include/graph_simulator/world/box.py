"""One mailbox's contents in memory: folders, items, and what changed in which folder when.

`changes[folder]` maps item numbers to the mailbox generation of their last change in that folder,
oldest first, items that left included. That is all a delta round needs: what changed since a
generation, and whether it is still there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from graph_simulator.store import Store
from graph_simulator.world.bulk import Bulk, LazyItems, LazyMembers
from graph_simulator.world.model import WELL_KNOWN, Folder, Item, Mailbox

__all__ = ["Box", "folder_state", "rule_state", "state_of"]

_folder = msgspec.msgpack.Decoder(Folder).decode
_item = msgspec.msgpack.Decoder(Item).decode


def state_of(item: Item) -> str:
    """Hash of the state a client can see of an item; the journal compares states by it."""
    if item.gone:
        return "absent"
    seen = (
        item.folder,
        item.read,
        item.draft,
        item.flag,
        item.importance,
        tuple(item.categories),
    )
    return _hash(repr(seen))


def folder_state(folder: Folder) -> str:
    """What a client can see of a folder: a hash of its name, and where it is."""
    if folder.gone:
        return "absent"
    return f"{_hash(folder.name)} {folder.parent}"


def rule_state(rule: dict[str, Any]) -> str:
    """Hash of an inbox rule, but for its place among the others."""
    return _hash(repr({name: rule[name] for name in sorted(rule) if name != "sequence"}))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Box:
    """The loaded contents of one mailbox. Changes go to the store with the next commit."""

    def __init__(self, store: Store, mailbox: Mailbox) -> None:
        self._store = store
        self.mailbox = mailbox
        self.folders: dict[int, Folder] = {}
        self.known: dict[str, Folder] = {}
        self.items: dict[int, Item] = {}
        self.members: dict[int, dict[int, Item]] = {}
        self.changes: dict[int, dict[int, int]] = {}
        self.left_at: dict[tuple[int, int], int] = {}
        """(folder, item) -> generation in which the item last left the folder."""
        self._sorted: dict[int, list[int]] = {}
        self._bulk: Bulk | None = None
        if mailbox.filled:
            self._load()

    def _load(self) -> None:
        self._store.commit()
        low, high = self.mailbox.number << 24, (self.mailbox.number + 1) << 24
        for body in self._store.bodies("folder", low, high):
            self._enter_folder(_folder(body))
        if self.mailbox.bulk:
            self.open_bulk()
        moved: dict[int, list[tuple[int, int]]] = {number: [] for number in self.folders}
        for body in self._store.bodies("item", low, high):
            item = _item(body)
            self.items[item.number] = item
            home = self._bulk.home(item.number) if self._bulk else 0
            if home and (item.gone or item.folder != home):
                del self.members[home][item.number]
            if not item.gone:
                self.members[item.folder][item.number] = item
                moved[item.folder].append((item.change, item.number))
        for folder, number, change in self._store.departures(low, high):
            self.left_at[folder, number] = change
            if number not in self.members[folder]:
                moved[folder].append((change, number))
        for folder, rows in moved.items():
            self.changes[folder] = {number: change for change, number in sorted(rows)}

    def _enter_folder(self, folder: Folder) -> None:
        self.folders[folder.number] = folder
        self.members[folder.number] = {}
        self.changes[folder.number] = {}
        if folder.well_known:
            self.known[folder.well_known] = folder

    def open_bulk(self) -> None:
        """Let the old mail of a large mailbox lie in its folders, before anything else does."""
        self._bulk = Bulk(self.mailbox, self.known)
        items = self.items = LazyItems(self._bulk)
        for folder, span in self._bulk.spans.items():
            self.members[folder] = LazyMembers(self._bulk, items, span)

    def add_well_known(self) -> None:
        """Make the folders every mailbox has."""
        for name, (kind, display, hidden, parent) in WELL_KNOWN.items():
            above = self.known[parent].number if parent else 0
            self.add_folder(above, display, kind, well_known=name, hidden=hidden)

    def add_folder(
        self,
        parent: int,
        name: str,
        kind: str = "other",
        *,
        well_known: str | None = None,
        hidden: bool = False,
    ) -> Folder:
        """Make a folder under the folder numbered `parent` (0 = none)."""
        self.mailbox.folders += 1
        number = self.mailbox.number << 24 | self.mailbox.folders
        folder = Folder(number, parent, name, kind, well_known, hidden)
        self._enter_folder(folder)
        self.touch_folder(folder)
        return folder

    def touch_folder(self, folder: Folder) -> None:
        """Note that the folder itself changed (name, parent, existence)."""
        folder.change = self.next_change()
        self._store.put("folder", folder.number, folder)

    def next_change(self) -> int:
        """The mailbox's next generation."""
        self.mailbox.change += 1
        self.save_mailbox()
        return self.mailbox.change

    def save_mailbox(self) -> None:
        """Keep the mailbox's own row."""
        self._store.put("mailbox", self.mailbox.number, self.mailbox)

    def next_number(self) -> int:
        """The number of the next item."""
        self.mailbox.items += 1
        return self.mailbox.number << 24 | self.mailbox.items

    def add(self, item: Item) -> None:
        """Put a new item into its folder."""
        self.items[item.number] = item
        self.members[item.folder][item.number] = item
        self._sorted.pop(item.folder, None)
        self.touch(item)

    def touch(self, item: Item, *, loud: bool = True) -> None:
        """Note that an item changed; `loud` = Graph counts it as a modification."""
        item.change = self.next_change()
        if loud:
            item.loud_change = item.change
        log = self.changes[item.folder]
        log.pop(item.number, None)
        log[item.number] = item.change
        self.items[item.number] = item  # from now on it is kept, also when it was bulk
        self._store.put("item", item.number, item)

    def relocate(self, item: Item, target: Folder) -> None:
        """Move an item to another folder; its default id changes."""
        self._leave(item)
        item.folder = target.number
        item.version += 1
        self.members[target.number][item.number] = item
        self._sorted.pop(target.number, None)
        self.touch(item)

    def vanish(self, item: Item) -> None:
        """Take an item out of the mailbox for good; its row stays, for what is shown of it."""
        self._leave(item)
        item.gone = True
        self.items[item.number] = item
        self._store.put("item", item.number, item)

    def bury(self, item: Item) -> None:
        """Keep the row of an item that came and went within one instant."""
        item.gone = True
        self.items[item.number] = item
        self._store.put("item", item.number, item)

    def keep(self, item: Item) -> None:
        """Keep an item's row without calling it changed (what it was shown as).

        Untouched bulk mail is not kept: it would cost what making it lazily saves.
        """
        if item.number not in self.items:
            return
        self._store.put("item", item.number, item)

    def _leave(self, item: Item) -> None:
        change = self.next_change()
        del self.members[item.folder][item.number]
        self._sorted.pop(item.folder, None)
        log = self.changes[item.folder]
        log.pop(item.number, None)
        log[item.number] = change
        self.left_at[item.folder, item.number] = change
        self._store.depart(item.folder, item.number, change)

    def numbers(self, folder: int) -> list[int]:
        """Numbers of the items in a folder, newest first."""
        found = self._sorted.get(folder)
        if found is None:
            found = sorted(self.members[folder], reverse=True)
            self._sorted[folder] = found
        return found

    def by_date(self, folder: int) -> list[int]:
        """Numbers of the items in a folder, the last received first."""
        members = self.members[folder]
        if isinstance(members, LazyMembers):
            return members.by_date()
        return sorted(members, key=lambda n: (members[n].received, n), reverse=True)

    def unread(self, folder: int) -> int:
        """How many unread items a folder holds."""
        return sum(not item.read for item in self._not_bulk(folder))

    def _not_bulk(self, folder: int) -> Iterable[Item]:
        """The items of a folder without untouched bulk mail, which is all read."""
        members = self.members[folder]
        return members.changed() if isinstance(members, LazyMembers) else members.values()

    def found(self) -> list[Item]:
        """What a search folder shows: unread messages below the visible root."""
        hidden = {f.number for f in self.folders.values() if not self.below_root(f)}
        return [
            item
            for number in self.members
            if number not in hidden
            for item in self._not_bulk(number)
            if not item.read
        ]

    def children(self, parent: int, *, hidden: bool = False) -> list[Folder]:
        """The folders directly under `parent`, by name."""
        found = [
            f
            for f in self.folders.values()
            if f.parent == parent and not f.gone and (hidden or not f.hidden)
        ]
        return sorted(found, key=lambda f: f.name)

    def below_root(self, folder: Folder) -> bool:
        """Whether a folder lies under the visible root (the dumpster does not)."""
        top = self.known["msgfolderroot"].number
        while folder.parent:
            if folder.parent == top:
                return True
            folder = self.folders[folder.parent]
        return False
