"""Absences nobody can ask for: what a new listing, or a folder that is gone, leaves open.

The inventory keeps no ids to ask by. What it knows in a folder and the folder's new listing
did not show has left the folder; so have all items of a folder that is gone. Where they went,
other folders show: what still shows nowhere after all of them were read, and has no hint of
its own, is gone.

Links of such folders are held back until the absences they prove are committed with them: a
walk that dies in between finds them unsettled again.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import text

from outlook_lake.events.observation import FolderLink, Row, gone_row
from outlook_lake.looks.decode import NO_HINT
from outlook_lake.state import Database
from outlook_lake.state.leases import Lease

__all__ = ["Absences"]


class Absences:
    """What one walk misses so far, and the links it holds back for it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.missing: dict[bytes, int] = {}
        self.links: dict[int, FolderLink] = {}
        self._shown: dict[bytes, int] = {}
        """Which folder showed an item last, since the walk began: the number of the folder."""

    def show(self, folder_no: int, keys: Iterable[bytes]) -> None:
        """A page of a folder showed these items: they are not missing."""
        for key in keys:
            self._shown[key] = folder_no
            self.missing.pop(key, None)

    def listed(self, lease: Lease, link: FolderLink, shown: set[bytes]) -> bool:
        """A folder was listed anew and showed these items; whether it misses any."""
        here = link.folder_no
        # What another folder has shown is there, also while its row is not committed yet.
        missing = {
            key: here
            for key in self._known(lease, here)
            if key not in shown and self._shown.get(key, here) == here
        }
        self.missing |= missing
        self.links[here] = link
        return bool(missing)

    def folder_gone(self, lease: Lease, folder_no: int) -> bool:
        """A folder is no longer there; whether it held items nothing has shown elsewhere."""
        missing = {
            key: folder_no for key in self._known(lease, folder_no) if key not in self._shown
        }
        self.missing |= missing
        self.links[folder_no] = FolderLink(folder_no, None, "none")
        return bool(missing)

    def rows(self, lease: Lease, *, started_at: int, seen_at: int) -> list[Row]:
        """Absences as observations: still where the inventory had them, shown nowhere."""
        if not self.missing:
            return []
        with self._db.read() as connection:
            still = connection.execute(
                text(
                    "SELECT item_key, folder_no, seen_at FROM item WHERE shard = :shard "
                    "AND mailbox_id = :mailbox_id AND gone_at IS NULL"
                ),
                {"shard": lease.shard, "mailbox_id": lease.mailbox_id},
            ).all()
        rows = []
        for key, folder_no, known_at in still:
            if self.missing.get(key) != folder_no:
                continue
            if known_at >= started_at:
                # Seen since the walk began: this walk cannot say, so the next one has to.
                self.links.pop(folder_no, None)
                continue
            rows.append(
                gone_row(
                    lease,
                    key,
                    None,
                    ordinal=0,
                    seen_at=seen_at,
                    hint=NO_HINT,
                    sighting="resync",
                )
            )
        return rows

    def _known(self, lease: Lease, folder_no: int) -> list[bytes]:
        """Items the inventory has in a folder."""
        with self._db.read() as connection:
            rows = connection.execute(
                text(
                    "SELECT item_key FROM item WHERE shard = :shard AND mailbox_id = :mailbox_id "
                    "AND folder_no = :folder_no AND gone_at IS NULL"
                ),
                {"shard": lease.shard, "mailbox_id": lease.mailbox_id, "folder_no": folder_no},
            )
            return [key for (key,) in rows]
