"""Appends to one open segment, makes every append durable, closes by age and size.

Runs in the committer's thread only. What `append` returns from is on the disk; what it
raises from is cut away again, so that a refused POST leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from outlook_lake.clock import graph_us, machine_us
from outlook_lake.receiver.segments import (
    SUFFIX,
    VERSION,
    Footer,
    Header,
    open_folder,
    ready_folder,
    record,
    sync_folder,
)

__all__ = ["SegmentWriter", "receiver_id"]

PROBE_BYTES = 4096


class SegmentWriter:
    """`age_s`: seconds of machine time. `sync` makes a file's data durable."""

    def __init__(
        self,
        staging: Path,
        receiver: str,
        *,
        age_s: float,
        size_bytes: int,
        vouched_since: Callable[[], int | None],
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self._open = open_folder(staging)
        self._ready = ready_folder(staging)
        self._receiver = receiver
        self._age_s = age_s
        self._size_bytes = size_bytes
        self._vouched_since = vouched_since
        self._sync = sync
        self._device: int | None = None
        self._fd = -1
        self._path = self._open
        self._named_at = 0
        self._opened = 0.0  # monotonic
        self._good = 0  # bytes known to be durable
        self._records = 0
        self._notifications = 0

    def append(self, lines: list[bytes], notifications: int) -> None:
        """Make these records durable, or raise OSError and leave nothing of them."""
        data = b"".join(lines)
        try:
            if self._fd < 0:
                data = self._create() + data
            _write(self._fd, data)
            self._sync(self._fd)
            if self._good == 0:
                sync_folder(self._open)
            self._check_place()
        except BaseException:
            self._give_up()
            raise
        self._good += len(data)
        self._records += len(lines)
        self._notifications += notifications

    def close_in(self) -> float | None:
        """Seconds until the open segment is due; 0 when it is; None when none is open."""
        if self._fd < 0:
            return None
        if self._good >= self._size_bytes:
            return 0.0
        return max(0.0, self._opened + self._age_s - time.monotonic())

    def age_s(self) -> float:
        """Age of the open segment, seconds of machine time; 0 when none is open."""
        return time.monotonic() - self._opened if self._fd >= 0 else 0.0

    def close(self) -> None:
        """Write the footer and move the segment to ready.

        On OSError the records stay where they are, durable, and landing takes them.
        """
        if self._fd < 0:
            return
        try:
            footer = Footer(self._records, self._notifications, graph_us())
            _write(self._fd, record(b"f", msgspec.json.encode(footer)))
            self._sync(self._fd)
            self._move()
        except BaseException:
            self._give_up()
            raise
        self._drop()

    def probe(self) -> None:
        """Whether staging takes data at all; raises OSError when it does not."""
        self._make_folders()
        sync_folder(self._open.parent)
        path = self._open / f".probe-{self._receiver}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write(fd, bytes(PROBE_BYTES))
            self._sync(fd)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _check_place(self) -> None:
        """What was written counts only where landing will look for it."""
        try:
            here = self._path.stat()
        except OSError:
            raise OSError("the open segment was removed under the receiver") from None
        mine = os.fstat(self._fd)
        if (here.st_ino, here.st_dev) != (mine.st_ino, mine.st_dev):
            raise OSError("the open segment was replaced under the receiver")

    def _make_folders(self) -> None:
        self._open.mkdir(parents=True, exist_ok=True)
        self._ready.mkdir(parents=True, exist_ok=True)
        device = self._open.stat().st_dev
        if self._device is None:
            self._device = device
        elif self._device != device:
            # The empty mount point of a volume that went away would take everything, and nobody
            # would ever find it there.
            raise OSError("staging is on another volume than at the start; restart if it is meant")

    def _create(self) -> bytes:
        """Open and lock a new segment; the header goes out with the first records."""
        self._make_folders()
        while True:
            self._named_at = max(self._named_at + 1, machine_us())
            self._path = self._open / f"{self._named_at:016d}-{self._receiver}{SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._fd = os.open(self._path, flags, 0o600)
            if self._lock():
                break
            self._drop()  # landing looked in between open and lock; it is landing's now
        self._opened = time.monotonic()
        header = Header(VERSION, self._receiver, os.getpid(), graph_us(), self._vouched_since())
        return record(b"h", msgspec.json.encode(header))

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(self._fd).st_nlink > 0
        except BlockingIOError:
            return False

    def _move(self) -> None:
        self._path.rename(self._ready / self._path.name)
        sync_folder(self._ready)
        sync_folder(self._open)

    def _give_up(self) -> None:
        """Cut back to what is durable and let go; what is durable goes to ready if it can."""
        if self._fd < 0:
            return
        with suppress(OSError):
            os.ftruncate(self._fd, self._good)
        with suppress(OSError):
            if self._good == 0:
                self._path.unlink(missing_ok=True)
            elif self._path.exists():
                self._move()
        self._drop()

    def _drop(self) -> None:
        with suppress(OSError):
            os.close(self._fd)
        self._fd = -1
        self._good = self._records = self._notifications = 0


def receiver_id() -> str:
    """A name no other receiver has: the process and 4 random bytes."""
    return f"{os.getpid():07d}-{secrets.token_hex(4)}"


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
