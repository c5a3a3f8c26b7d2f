"""Segments: closed, immutable files of notifications, readable after a crash at any byte.

    staging/open/<name>.segment    one receiver appends, holding a file lock
    staging/ready/<name>.segment   closed; landing reads and removes it

One JSON array a line, `["kind",crc32,length,payload]`, where crc32 covers kind and payload
and length counts the payload's bytes:

    h   header         {"version", "receiver", "pid", "opened_at", "vouched_since"}
    n   notifications  the list one POST was acknowledged for: a record is whole or absent
    q   quarantine     [{"minute", "stage", "reason", "count", "bytes", "samples"}]
    f   footer         {"records", "notifications", "closed_at"}; missing after a crash

Names begin with the machine time of opening, so that they sort by time, and carry the
receiver's id, so that no two receivers ever share one.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import msgspec

from outlook_lake.errors import StorageError, TornSegmentError

__all__ = [
    "Footer",
    "Header",
    "Notification",
    "Quarantined",
    "Rich",
    "SegmentRead",
    "open_folder",
    "read_segment",
    "ready_folder",
    "ready_segments",
    "record",
    "take_abandoned",
]

log = logging.getLogger(__name__)

VERSION = 1
SUFFIX = ".segment"


class Rich(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The encrypted part of a rich notification, unread: base64 as it came.

    All of it empty: it was not what Graph sends, and was left out. `tokens` are the validation
    tokens of its POST; None = those of the rich notification before it in the record.
    """

    data: str = ""
    signature: str = ""
    key: str = ""
    certificate: str = ""
    thumbprint: str = ""
    tokens: list[str] | None = None


class Notification(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is left of one notification. Times: microseconds, Graph time.

    `change` is created, updated or deleted; `lifecycle` is Graph's word for a lifecycle
    item; exactly one of them is set. `item` is Graph's id of the message.
    """

    nonce: str
    key_id: str
    tenant: str
    subscription: str
    received_at: int
    change: str | None = None
    lifecycle: str | None = None
    item: str | None = None
    vouched_since: int | None = None
    rich: Rich | None = None


class Quarantined(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much was refused for one reason in one minute (microseconds, Graph time).

    `samples` are (sha256 in hex, size in bytes) of what was refused, never its content.
    """

    minute: int
    stage: str
    reason: str
    count: int
    bytes: int
    samples: list[tuple[str, int]] = []


class Header(msgspec.Struct, frozen=True):
    """Who opened the segment, and when (microseconds, Graph time)."""

    version: int
    receiver: str
    pid: int
    opened_at: int
    vouched_since: int | None


class Footer(msgspec.Struct, frozen=True):
    """Written on an orderly close only."""

    records: int
    notifications: int
    closed_at: int


@dataclass(frozen=True, slots=True)
class SegmentRead:
    """A segment as found. `footer` is None when its receiver could not close it.

    `whole_bytes` ends the last whole record; `torn_bytes` lie after it; `damaged` counts
    unreadable lines before it (a disk error, never a crash).
    """

    header: Header
    notifications: list[Notification]
    quarantine: list[Quarantined]
    footer: Footer | None
    records: int = 0
    whole_bytes: int = 0
    torn_bytes: int = 0
    damaged: int = 0


@dataclass(slots=True)
class _Lines:
    """Whole lines of a file and what lies between them."""

    whole: list[tuple[bytes, bytes]] = field(default_factory=list)
    whole_bytes: int = 0
    damaged: int = 0


_SEEDS = {kind: crc32(kind) for kind in (b"h", b"n", b"q", b"f")}
_RECORDS = (b"n", b"q")
_UNKNOWN = Header(VERSION, "unknown", 0, 0, None)
_notifications = msgspec.json.Decoder(list[Notification])
_quarantined = msgspec.json.Decoder(list[Quarantined])
_header = msgspec.json.Decoder(Header)
_footer = msgspec.json.Decoder(Footer)


def open_folder(staging: Path) -> Path:
    """Where receivers append."""
    return staging / "open"


def ready_folder(staging: Path) -> Path:
    """Where closed segments wait for landing."""
    return staging / "ready"


def ready_segments(staging: Path) -> list[Path]:
    """Closed segments, oldest first; empty when there is no staging yet."""
    return _segments(ready_folder(staging))


def record(kind: bytes, payload: bytes) -> bytes:
    """One line of a segment; `payload` is JSON without a line feed."""
    return b'["%b",%d,%d,%b]\n' % (kind, crc32(payload, _SEEDS[kind]), len(payload), payload)


def read_segment(path: Path) -> SegmentRead:
    """Everything whole in a segment, whatever was torn.

    Raises TornSegmentError when there is neither header nor record (nothing was ever
    acknowledged from it), StorageError when a newer version of this program wrote it,
    OSError when it is gone.
    """
    data = path.read_bytes()
    lines = _scan(data)
    if not lines.whole:
        raise TornSegmentError(f"{path.name} is not a segment; set it aside")
    header = _UNKNOWN
    if lines.whole[0][0] == b"h":
        header = _header.decode(lines.whole[0][1])
    if header.version > VERSION:
        raise StorageError(
            f"{path.name} has format {header.version}, this program reads up to {VERSION}: "
            "update the workers before the receivers"
        )
    notifications: list[Notification] = []
    quarantine: list[Quarantined] = []
    footer: Footer | None = None
    records = 0
    for kind, payload in lines.whole:
        records += kind in _RECORDS
        if kind == b"n":
            notifications += _notifications.decode(payload)
        elif kind == b"q":
            quarantine += _quarantined.decode(payload)
        elif kind == b"f":
            footer = _footer.decode(payload)
    return SegmentRead(
        header=header,
        notifications=notifications,
        quarantine=quarantine,
        footer=footer,
        records=records,
        whole_bytes=lines.whole_bytes,
        torn_bytes=len(data) - lines.whole_bytes,
        damaged=lines.damaged,
    )


def take_abandoned(staging: Path) -> list[Path]:
    """Close every open segment whose receiver is gone: cut, make durable, move to ready.

    A segment whose lock is held is its receiver's and stays. One without a single record
    is removed: nothing was acknowledged from it. Returns the new paths, oldest first.
    """
    taken: list[Path] = []
    for path in _segments(open_folder(staging)):
        with _locked(path) as fd:
            if fd is None:
                continue
            try:
                moved = _close_abandoned(path, fd, ready_folder(staging))
            except OSError as error:
                log.error("segment %s stays open: %s", path.name, error.strerror)
                continue
            if moved is not None:
                taken.append(moved)
    return taken


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _close_abandoned(path: Path, fd: int, ready: Path) -> Path | None:
    lines = _scan(path.read_bytes())
    if not any(kind in _RECORDS for kind, _ in lines.whole):
        path.unlink()
        return None
    os.ftruncate(fd, lines.whole_bytes)
    os.fsync(fd)
    ready.mkdir(parents=True, exist_ok=True)
    target = ready / path.name
    path.rename(target)
    sync_folder(ready)
    sync_folder(path.parent)
    log.warning("closed segment %s, whose receiver is gone", path.name)
    return target


class _locked:
    """Holds the lock of a file that nobody else holds; None when it is held or gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> int | None:
        try:
            fd = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            return None
        self._fd = fd
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its receiver may have moved it between our open and our lock.
            mine = os.fstat(fd).st_ino == self._path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            return None
        return fd if mine else None

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)


def _segments(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def _scan(data: bytes) -> _Lines:
    """Whole lines only. What is whole after a damaged line counts: it was acknowledged."""
    lines = _Lines()
    unreadable = 0
    for start, end in _spans(data):
        parsed = _parse(data[start:end])
        if parsed is None:
            unreadable += 1
            continue
        lines.whole.append(parsed)
        lines.whole_bytes = end + 1
        lines.damaged += unreadable
        unreadable = 0
    return lines


def _spans(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield start, end
        start = end + 1


def _parse(line: bytes) -> tuple[bytes, bytes] | None:
    parts = line.split(b",", 3)
    if len(parts) != 4 or not line.endswith(b"]"):
        return None
    kind = parts[0][2:3]
    payload = parts[3][:-1]
    seed = _SEEDS.get(kind)
    if seed is None or parts[0] != b'["%b"' % kind:
        return None
    if parts[2] != b"%d" % len(payload) or parts[1] != b"%d" % crc32(payload, seed):
        return None
    return kind, payload
