"""Group commit: one thread, one write and one fdatasync for everything that waits.

    event loop                          thread
    submit ─▶ pending ──swap──▶ batch ─▶ write + fdatasync ─▶ resolve every future
                 ▲ more arrives meanwhile └──────────── close segments by age and size

The next commit starts when the last one ended: no window to wait for. All state but the
writer belongs to the event loop, so there is no lock. Whatever goes wrong, every waiter
gets an answer in time: False means "not durable", and the caller answers 503.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Committer", "Writer"]

log = logging.getLogger(__name__)

STUCK_S = 2.0
"""A commit that takes longer is answered 503: Graph counts 3 s as a failure (graph-facts 2.6)."""

STOP_S = 10.0
"""How long a graceful stop waits for the disk."""


class Writer(Protocol):
    """Where records become durable; used in the committer's thread only."""

    def append(self, lines: list[bytes], notifications: int) -> None:
        """Make these records durable, or raise OSError."""

    def close_in(self) -> float | None:
        """Seconds until the open segment is due; None when none is open."""

    def age_s(self) -> float:
        """Age of the open segment, seconds; from any thread."""

    def close(self) -> None:
        """Close the open segment, if there is one."""

    def probe(self) -> None:
        """Raise OSError when nothing can be stored."""


Answered = Callable[[bool], None]
"""Told once, on the event loop: True = durable."""


@dataclass(slots=True)
class _Batch:
    lines: list[bytes] = field(default_factory=list)
    waiters: list[Answered] = field(default_factory=list)
    notifications: int = 0
    bytes: int = 0
    is_probe: bool = False


class Committer:
    """`pending_limit` in bytes; `on_trouble` is called when a batch could not be stored.

    `on_commit` is told the seconds of each write and sync, in the thread that does them.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        pending_limit: int,
        on_trouble: Callable[[], None] = lambda: None,
        on_commit: Callable[[float], None] = lambda _: None,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._writer = writer
        self._pending_limit = pending_limit
        self._on_trouble = on_trouble
        self._on_commit = on_commit
        self._stuck_s = stuck_s
        self._jobs: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._pending = _Batch()
        self._flight: _Batch | None = None
        self._flight_since = 0.0
        self._scheduled = False
        self._stopping = False
        self._idle: asyncio.Event | None = None
        self.trouble: str | None = "not started"
        self.pending_bytes = 0

    def start(self) -> None:
        """Start the thread and try the disk once. Call from the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="segment-committer", daemon=True)
        self._thread.start()
        self._launch(_Batch(is_probe=True))

    def submit(self, line: bytes, notifications: int) -> asyncio.Future[bool] | None:
        """As `hand_in`, with a future instead; None when there is no room."""
        waiter: asyncio.Future[bool] = self._loop.create_future()

        def answered(durable: bool) -> None:
            if not waiter.done():
                waiter.set_result(durable)

        return waiter if self.hand_in(line, notifications, answered) else None

    def hand_in(self, line: bytes, notifications: int, answered: Answered) -> bool:
        """Queue one record; `answered` tells whether it is durable. False: no room, or stuck."""
        if self.pending_bytes + len(line) > self._pending_limit or self._stopping or self.is_stuck:
            return False
        pending = self._pending
        pending.lines.append(line)
        pending.waiters.append(answered)
        pending.notifications += notifications
        pending.bytes += len(line)
        self.pending_bytes += len(line)
        if self._flight is None and not self._scheduled:
            # One turn later, so that requests of the same turn share the commit.
            self._scheduled = True
            self._loop.call_soon(self._next)
        return True

    @property
    def is_stuck(self) -> bool:
        """The disk has not answered for so long that waiting for it would be too late."""
        return self._flight is not None and self._loop.time() - self._flight_since > self._stuck_s

    def tick(self) -> None:
        """Called a few times a second: answer waiters of a stuck disk, probe a failing one."""
        if self.is_stuck and self._flight is not None:
            waiting = len(self._flight.waiters) + len(self._pending.waiters)
            self._in_trouble(f"the disk has not answered for {self._stuck_s:g} s", waiting)
            _answer(self._flight, False)
            self._forget(self._pending)
        elif self.trouble and self._flight is None and not self._pending.lines:
            self._launch(_Batch(is_probe=True))

    async def stop(self) -> None:
        """Commit what waits, close the segment, end the thread."""
        self._stopping = True
        deadline = self._loop.time() + STOP_S
        if self._flight is not None or self._pending.lines:
            self._idle = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), STOP_S)
        self._jobs.put(None)
        left = max(0.1, deadline - self._loop.time())
        await asyncio.to_thread(self._thread.join, left)
        if self._thread.is_alive():
            log.error("the disk did not answer; the open segment is left to landing")

    def _next(self) -> None:
        self._scheduled = False
        if self._flight is None and self._pending.lines:
            batch, self._pending = self._pending, _Batch()
            self._launch(batch)
        elif self._flight is None and self._idle is not None:
            self._idle.set()

    def _launch(self, batch: _Batch) -> None:
        self._flight, self._flight_since = batch, self._loop.time()
        self._jobs.put(batch)

    def _landed(self, batch: _Batch, trouble: str | None) -> None:
        """Back on the loop: the thread is done with a batch."""
        self._flight = None
        self.pending_bytes -= batch.bytes
        if trouble is not None:
            self._in_trouble(trouble, len(batch.waiters))
        elif self.trouble is not None:
            if self.trouble != "not started":
                log.warning("staging takes data again")
            self.trouble = None
        _answer(batch, trouble is None)
        self._next()

    def _in_trouble(self, trouble: str, waiting: int) -> None:
        if trouble != self.trouble:
            log.error(
                "staging cannot be written: %s. %d request(s) answered 503, nothing "
                "acknowledged is lost; Graph sends again for 4 hours",
                trouble,
                waiting,
            )
        self.trouble = trouble
        self._on_trouble()

    def _forget(self, batch: _Batch) -> None:
        self.pending_bytes -= batch.bytes
        _answer(batch, False)
        self._pending = _Batch()

    def _run(self) -> None:
        writer = self._writer
        while True:
            try:
                batch = self._jobs.get(timeout=writer.close_in())
            except queue.Empty:
                self._close()
                continue
            if batch is None:
                self._close()
                return
            trouble = self._carry_out(batch)
            with suppress(RuntimeError):  # the loop may have ended before us
                self._loop.call_soon_threadsafe(self._landed, batch, trouble)
            if writer.close_in() == 0:
                self._close()

    def _carry_out(self, batch: _Batch) -> str | None:
        try:
            if batch.is_probe:
                self._writer.probe()
            else:
                began = time.perf_counter()
                self._writer.append(batch.lines, batch.notifications)
                self._on_commit(time.perf_counter() - began)
        except OSError as error:
            return error.strerror or str(error)
        except Exception as error:
            # The thread must outlive anything: without it nobody would ever be answered.
            log.exception("unexpected failure while committing")
            return type(error).__name__
        return None

    def _close(self) -> None:
        try:
            self._writer.close()
        except Exception as error:
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            log.error(
                "a segment could not be closed (%s); its records are durable and landing takes it",
                why,
            )


def _answer(batch: _Batch, durable: bool) -> None:
    waiters, batch.waiters = batch.waiters, []  # a stuck batch was answered before it landed
    for answered in waiters:
        answered(durable)
