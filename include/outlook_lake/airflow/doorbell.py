"""The doorbell that starts `outlook_stream`, and the mark that a drain is at work.

A ring is never the work list. Events of an asset can be stranded behind `max_active_runs`, and
lost while a DAG is paused; so the trigger looks at what is *there* (segments, hints that are
due, rounds that somebody wants) and rings again while work remains and nobody is at it.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from outlook_lake.airflow.window import Window
from outlook_lake.errors import StorageError
from outlook_lake.settings import Settings

if TYPE_CHECKING:
    from outlook_lake.receiver.append_blob import OpenBlobs
    from outlook_lake.receiver.shipping import Store

__all__ = ["WorkWaitingTrigger", "doorbell", "draining"]

log = logging.getLogger(__name__)

DUE = """
    SELECT 1 FROM hint JOIN mailbox ON mailbox.mailbox_id = hint.mailbox_id
    WHERE hint.due_at <= :now AND mailbox.state IN ('priming', 'live')
      AND mailbox.pause_until <= :now LIMIT 1
"""
"""Hints of parked mailboxes, and of those Graph asked to wait for, do not ring."""


ABANDONED_S = 3.0
"""An open segment nobody holds is a dead receiver's once it is this old, s machine."""


class WorkWaitingTrigger(BaseEventTrigger):
    """Rings while notifications or due hints wait and no drain is at work on them.

    `poke_s` and `ring_every_s` are seconds of machine time. Its state is not kept: after a
    restart it looks and rings again, and a ring too many finds nothing to do.
    """

    def __init__(self, poke_s: float = 0.5, ring_every_s: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.poke_s = poke_s
        self.ring_every_s = ring_every_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: their hash is the trigger's identity."""
        return (
            "outlook_lake.airflow.doorbell.WorkWaitingTrigger",
            {"poke_s": self.poke_s, "ring_every_s": self.ring_every_s},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ring for ever; never ends by itself, never blocks the triggerer's loop."""
        bell = _Bell(Settings.load())
        rung = float("-inf")
        while True:
            try:
                waiting = await asyncio.to_thread(bell.look)
            except Exception:
                # A trigger that raises is gone until the next parse. A look that fails (disk
                # full, database being restored) is tried again; the log says why.
                log.exception("the doorbell could not look; it tries again")
                waiting = {}
                await asyncio.sleep(self.ring_every_s)
            if not waiting:
                rung = float("-inf")
            elif time.monotonic() - rung >= self.ring_every_s:
                rung = time.monotonic()
                yield TriggerEvent(waiting)  # type: ignore[no-untyped-call]
            await asyncio.sleep(self.poke_s)


class _Bell:
    """Looks, cheaply, whether there is anything a drain would do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.window = Window(settings)
        self._store: Store | OpenBlobs | None = None

    def look(self) -> dict[str, int]:
        """How many segments wait, also dead receivers'; 1 for due hints and for wanted rounds."""
        if self._everyone_drains():
            return {}
        waiting = {
            "segments": _count(self.settings.staging / "ready"),
            "abandoned": _abandoned(self.settings.staging / "open"),
            "shipped": self._shipped(),
            "due": self._due(),
            "rounds": self._rounds(),
        }
        return {name: count for name, count in waiting.items() if count}

    def _everyone_drains(self) -> bool:
        lanes = range(self.settings.stream.lanes)
        return all(_is_locked(_lane_lock(self.settings, lane)) for lane in lanes)

    def _shipped(self) -> int:
        """How many segments wait in the object store, where receivers ship to one."""
        if not self.settings.receiver.ship_to:
            return 0
        try:
            # Every component imports this room, and only the doorbell needs a store.
            from outlook_lake.receiver.shipping import store_of

            self._store = self._store or store_of(self.settings.receiver)
            return len(self._store.names())
        except StorageError as error:
            log.error("%s", error)
            return 0

    def _due(self) -> int:
        """1 when a hint is due that a drain could take; 0 also while there is no database."""
        from outlook_lake.clock import machine_us

        return int(self.window.first(DUE, {"now": machine_us()}) is not None)

    def _rounds(self) -> int:
        """1 when a full round that somebody wants could be carried out now."""
        from outlook_lake.looks.waiting import waiting

        return int(bool(self.window.ask(waiting)))


def doorbell() -> Asset:
    """The asset that starts `outlook_stream`."""
    watcher = AssetWatcher(name="outlook_doorbell", trigger=WorkWaitingTrigger())
    return Asset("outlook_segments_waiting", uri="outlook://staging/segments", watchers=[watcher])


@contextmanager
def draining(lane: int) -> Iterator[None]:
    """Hold the mark that a drain of this lane is at work: the doorbell keeps quiet meanwhile.

    The mark is a file lock, so it is gone with its process, however that ends. It excludes
    nobody; leases do that.
    """
    path = _lane_lock(Settings.load(), lane)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as mark:
        fcntl.flock(mark, fcntl.LOCK_SH)
        yield


def _lane_lock(settings: Settings, lane: int) -> Path:
    return settings.home / "run" / f"drain-{lane}.lock"


def _is_locked(path: Path) -> bool:
    try:
        with path.open("a") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _count(folder: Path) -> int:
    try:
        return sum(1 for entry in os.scandir(folder) if not entry.name.startswith("."))
    except FileNotFoundError:
        return 0


def _abandoned(folder: Path) -> int:
    """Open segments whose writer is gone: old enough, not empty, and nobody holds the lock."""
    count = 0
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    for entry in entries:
        try:
            stat = entry.stat()
            if stat.st_size and time.time() - stat.st_mtime > ABANDONED_S:
                count += not _is_locked(Path(entry.path))
        except FileNotFoundError:  # closed and renamed meanwhile: it is in ready now
            continue
    return count
