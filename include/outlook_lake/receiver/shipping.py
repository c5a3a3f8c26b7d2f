"""Closed segments on their way to an object store, for receivers that share no disk with workers.

    receiver   staging/ready ─▶ one put ─▶ <ship_to>/ready/<name>.segment ─▶ local file removed
    workers    <ship_to>/ready ─▶ staging/ready ─▶ landing, as ever;  then removed from the store

A put is atomic: a reader finds a whole segment or none. Each side removes only what the other
holds already, so that a crash in between leads to the same segment twice, never to none, and
landing knows the names it has landed. While the store cannot be reached segments wait on the
receiver's disk; when that is full the receiver answers 503.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outlook_lake.errors import StorageError, UsageError
from outlook_lake.receiver.append_blob import OpenBlobs, hush
from outlook_lake.receiver.segments import (
    SUFFIX,
    ready_folder,
    ready_segments,
    sync_folder,
    take_abandoned,
)
from outlook_lake.settings import ReceiverSettings, Settings

__all__ = ["Shipper", "Store", "bring", "collect", "collect_open", "store_of"]

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""Machine time between two looks at what was closed."""
ABANDONED_S = 10.0
"""Machine time between two looks at what dead receivers of this disk left open."""
RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Machine time until the next try when the store fails, again and again."""
MOST_AT_ONCE = 50
REMEMBERED = 1000


class Store:
    """The folder `ready` below `url`, as fsspec names it (`abfs://…`, `file:///…`).

    Credentials come from the environment, as the file system of that scheme reads them.
    Raises StorageError, without what the URL may hold of secrets.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        hush()
        with _in_words("open"):
            self._fs, path = url_to_fs(url.rstrip("/"), skip_instance_cache=True)
        self._folder = f"{path}/ready"
        self._is_local = "file" in _protocols(self._fs)

    def put(self, source: Path) -> None:
        """Store a segment under its name, whole or not at all."""
        target = f"{self._folder}/{source.name}"
        with _in_words("write"):
            if self._is_local:
                _put_locally(Path(target), source.read_bytes())
            else:
                self._fs.pipe_file(target, source.read_bytes())

    def names(self) -> list[str]:
        """Segments that wait, oldest first; empty when there is no folder yet."""
        with _in_words("list"):
            try:
                found = self._fs.ls(self._folder, detail=False, refresh=True)
            except FileNotFoundError:
                return []
            names = (str(one).rsplit("/", 1)[-1] for one in found)
            return sorted(name for name in names if name.endswith(SUFFIX))

    def get(self, name: str) -> bytes | None:
        """A segment's bytes; None when somebody else has taken it."""
        with _in_words("read"):
            try:
                data: bytes = self._fs.cat_file(f"{self._folder}/{name}")
            except FileNotFoundError:
                return None
            return data

    def remove(self, name: str) -> None:
        """Forget a segment; no matter when it is gone already."""
        with _in_words("remove"):
            try:
                self._fs.rm_file(f"{self._folder}/{name}")
            except FileNotFoundError:
                return


class Shipper:
    """Ships what a receiver closes, in a thread of its own. `trouble` says why it does not."""

    def __init__(self, staging: Path, url: str) -> None:
        self._staging = staging
        self._url = url
        self._store: Store | None = None
        self._sent: deque[str] = deque(maxlen=REMEMBERED)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="segment-shipper", daemon=True)
        self.trouble: str | None = None
        self.shipped = 0

    def start(self) -> None:
        """Begin, also with what an earlier life left behind."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Ship what is closed by now, if it can be done in time; the rest waits on the disk."""
        self._ended.set()
        self._thread.join(within_s)
        waiting = len(ready_segments(self._staging))
        if waiting:
            log.error("%d segment(s) were not shipped; the next receiver here does it", waiting)

    def ship(self) -> int:
        """Ship all there is now; how many. Raises StorageError."""
        if self._store is None:
            self._store = Store(self._url)
        # What was shipped and is here again was collected by workers of this same disk.
        waiting = [one for one in ready_segments(self._staging) if one.name not in self._sent]
        for path in waiting:
            try:
                self._store.put(path)
            except FileNotFoundError:
                continue  # another receiver of this disk has shipped it
            self._sent.append(path.name)
            path.unlink(missing_ok=True)
            self.shipped += 1
        return len(waiting)

    def _run(self) -> None:
        failed = 0
        abandoned_at = 0.0
        ending = False
        while not ending:
            ending = self._ended.is_set()
            try:
                if time.monotonic() >= abandoned_at:
                    abandoned_at = time.monotonic() + ABANDONED_S
                    ready_folder(self._staging).mkdir(parents=True, exist_ok=True)
                    take_abandoned(self._staging)
                self.ship()
                if self.trouble:
                    log.warning("segments are shipped again")
                failed, self.trouble = 0, None
            except (StorageError, OSError) as error:
                if self.trouble is None:
                    log.error("segments wait on this disk: %s", error)
                self.trouble = str(error)
                failed += 1
            if not ending:
                self._ended.wait(RETRY_S[min(failed, len(RETRY_S)) - 1] if failed else LOOK_S)


def store_of(receiver: ReceiverSettings) -> Store | OpenBlobs:
    """Where receivers leave segments for workers."""
    if receiver.open_segment == "append_blob":
        with _in_words("open"):
            return OpenBlobs(receiver.ship_to)
    return Store(receiver.ship_to)


def bring(settings: Settings) -> int:
    """Bring what receivers left in the object store, however they write; how many.

    Raises StorageError when the store cannot be read.
    """
    way = collect_open if settings.receiver.open_segment == "append_blob" else collect
    return way(settings.receiver.ship_to, settings.staging)


def collect(url: str, staging: Path) -> int:
    """Bring what receivers shipped into `staging/ready`, oldest first; how many.

    Raises StorageError when the store cannot be read.
    """
    store = Store(url)
    ready = ready_folder(staging)
    names = store.names()[:MOST_AT_ONCE]
    for name in names:
        data = store.get(name)
        if data is not None:
            _bring(ready, name, data)
            store.remove(name)
    return len(names)


def collect_open(url: str, staging: Path) -> int:
    """As `collect`, where receivers write to append blobs."""
    with _in_words("take"):
        blobs = OpenBlobs(url)
        brought = 0
        for name in blobs.names()[:MOST_AT_ONCE]:
            with blobs.taking(name) as data:
                if data:
                    _bring(ready_folder(staging), name, data)
                    brought += 1
        return brought


def _bring(ready: Path, name: str, data: bytes) -> None:
    ready.mkdir(parents=True, exist_ok=True)
    _write(ready / f".{name}", data)
    (ready / f".{name}").replace(ready / name)
    sync_folder(ready)


def _put_locally(target: Path, data: bytes) -> None:
    # A mounted share: fsspec would write under the final name, where a reader sees half of it.
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}")
    _write(beside, data)
    beside.replace(target)
    sync_folder(target.parent)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


@contextmanager
def _in_words(doing: str) -> Iterator[None]:
    """Whatever a file system raises, as ours; its text may hold a URL with a signature."""
    try:
        yield
    except (FileNotFoundError, UsageError):
        raise
    except Exception as error:
        raise StorageError(
            f"the segment store could not {doing} ({type(error).__name__}); "
            "check receiver.ship_to and the credentials in the environment"
        ) from None
