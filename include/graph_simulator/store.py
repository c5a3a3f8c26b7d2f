"""The one SQLite file that holds the whole world; committed before anything is answered.

The world lives in memory; what one request changed is gathered here and written in one
transaction. Rows are msgpack bodies under integer or text keys.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from graph_simulator.errors import StateError

__all__ = ["Key", "Store"]

Key = int | str
_BODIES = (
    "meta", "tenant", "team", "mailbox", "folder", "item", "subscription", "delivery", "fault",
)  # fmt: skip
_encoder = msgspec.msgpack.Encoder()


class Store:
    """Write-behind until `commit`, which every request calls before its answer leaves."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateError(
                f"{folder} is in use by another simulator: stop it, or choose another --state."
            ) from None
        path = folder / "simulator.db"
        self._db = sqlite3.connect(path, isolation_level=None)
        path.chmod(0o600)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16000"):
            self._db.execute(f"PRAGMA {pragma}")
        for table in _BODIES:
            self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} (key PRIMARY KEY, body BLOB)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY, line BLOB)"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS departed (folder INTEGER, item INTEGER, change INTEGER,"
            " PRIMARY KEY (folder, item)) WITHOUT ROWID"
        )
        self._pending: dict[str, dict[Key, object]] = {table: {} for table in _BODIES}
        self._journal: list[tuple[int, bytes]] = []
        self._departed: dict[tuple[int, int], int] = {}
        self._dirty = False

    def put(self, table: str, key: Key, body: object) -> None:
        """Keep `body` under `key`. It is encoded at the commit, so later changes are kept too."""
        self._pending[table][key] = body
        self._dirty = True

    def delete(self, table: str, key: Key) -> None:
        """Forget `key`."""
        self._pending[table][key] = None
        self._dirty = True

    def write_line(self, number: int, line: bytes) -> None:
        """Append one journal line."""
        self._journal.append((number, line))
        self._dirty = True

    def depart(self, folder: int, item: int, change: int) -> None:
        """Note that `item` left `folder` at mailbox generation `change`."""
        self._departed[folder, item] = change
        self._dirty = True

    def commit(self) -> None:
        """Write everything gathered in one transaction."""
        if not self._dirty:
            return
        self._dirty = False
        run = self._db
        run.execute("BEGIN IMMEDIATE")
        try:
            for table, rows in self._pending.items():
                if not rows:
                    continue
                gone = [(key,) for key, body in rows.items() if body is None]
                kept = [(k, _encoder.encode(body)) for k, body in rows.items() if body is not None]
                if kept:
                    run.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", kept)
                if gone:
                    run.executemany(f"DELETE FROM {table} WHERE key = ?", gone)
                rows.clear()
            if self._journal:
                run.executemany("INSERT INTO journal VALUES (?, ?)", self._journal)
                self._journal.clear()
            if self._departed:
                run.executemany(
                    "INSERT OR REPLACE INTO departed VALUES (?, ?, ?)",
                    [(f, i, change) for (f, i), change in self._departed.items()],
                )
                self._departed.clear()
            run.execute("COMMIT")
        except BaseException:
            run.execute("ROLLBACK")
            raise

    def get(self, table: str, key: Key) -> bytes | None:
        """The committed body under `key`."""
        row = self._db.execute(f"SELECT body FROM {table} WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def bodies(self, table: str, low: int | None = None, high: int | None = None) -> list[bytes]:
        """Committed bodies in key order, all or those with low <= key < high."""
        if low is None:
            found = self._db.execute(f"SELECT body FROM {table} ORDER BY key")
        else:
            found = self._db.execute(
                f"SELECT body FROM {table} WHERE key >= ? AND key < ? ORDER BY key", (low, high)
            )
        return [row[0] for row in found]

    def departures(self, low: int, high: int) -> list[tuple[int, int, int]]:
        """(folder, item, change) of the folders with low <= number < high, oldest change first."""
        return self._db.execute(
            "SELECT folder, item, change FROM departed WHERE folder >= ? AND folder < ?"
            " ORDER BY change",
            (low, high),
        ).fetchall()

    def lines(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Committed journal lines numbered above `after`."""
        return self._db.execute(
            "SELECT number, line FROM journal WHERE number > ? ORDER BY number LIMIT ?",
            (after, limit),
        ).fetchall()

    def last_line(self) -> tuple[int, bytes] | None:
        """The newest committed journal line."""
        row = self._db.execute(
            "SELECT number, line FROM journal ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def keys(self, table: str) -> Iterator[Key]:
        """Committed keys of a table."""
        for row in self._db.execute(f"SELECT key FROM {table} ORDER BY key"):
            yield row[0]

    def close(self) -> None:
        """Commit, close the file and let another simulator have the folder."""
        self.commit()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        os.close(self._lock)
