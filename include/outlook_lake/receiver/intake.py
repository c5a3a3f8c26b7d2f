"""From the body of a POST to its answer, whichever server took it in.

    take ─▶ quick, or sifting ─▶ committer ─▶ 202        └▶ quarantine      └▶ 503 in time

One of these a process: it owns the committer, the keys, the clock's beat and the counts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec

from outlook_lake.clock import graph_us, set_offset
from outlook_lake.receiver.answers import (
    ACCEPTED,
    MALFORMED,
    NO_CLOCK,
    READY,
    TOO_MANY,
    UNAVAILABLE,
    Answer,
    answer,
)
from outlook_lake.receiver.append_blob import AppendBlobWriter
from outlook_lake.receiver.committer import Committer, Writer
from outlook_lake.receiver.heartbeat import Heartbeat
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.metrics import Metrics
from outlook_lake.receiver.pulse import Pulse
from outlook_lake.receiver.quarantine import Quarantine, quarantine_record
from outlook_lake.receiver.quick import Quick
from outlook_lake.receiver.segments import Quarantined, ready_folder
from outlook_lake.receiver.shipping import Shipper
from outlook_lake.receiver.sifting import MalformedPostError, TooManyItemsError, sift
from outlook_lake.receiver.writer import SegmentWriter, receiver_id
from outlook_lake.settings import Settings

__all__ = ["Answered", "Intake"]

log = logging.getLogger(__name__)

Answered = Callable[[Answer], None]

TICK_S = 0.25
BEAT_S = 1.0
QUARANTINE_S = 2.0
"""Counts of what was refused reach the disk this often (machine time)."""
SHIP_S = 10.0
"""How long a graceful stop waits for the object store (machine time)."""
STAMP_S = 0.001
LOOK_S = 1.0
"""The page of metrics waits so long for a staging folder that does not answer."""


class Intake:
    """`take` is called from the event loop that called `startup`.

    Raises StateError when the keys of the home cannot be read or made.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.body_limit = settings.receiver.body_limit_bytes
        self.held_limit = max(settings.receiver.pending_limit_bytes, 8 * self.body_limit)
        self.held_bytes = 0
        """Of bodies that are still coming in."""
        self.connections: Callable[[], int] | None = None
        """How many are open, where a server tells."""
        self.on_beat: Callable[[], None] = lambda: None
        """Called once a second."""
        self._staging = settings.staging
        self._keyring = Keyring(settings.keys)
        self._quick = Quick(self._keyring)
        self._pulse = Pulse()
        name = receiver_id()
        self._heartbeat = Heartbeat(settings.staging, name)
        self._quarantine = Quarantine()
        self._writer = _writer_of(settings, name, lambda: self._pulse.vouched_since(graph_us()))
        self._committer = Committer(
            self._writer,
            pending_limit=settings.receiver.pending_limit_bytes,
            on_trouble=self.interrupt,
            on_commit=self.metrics.observe_commit,
        )
        self._shipper: Shipper | None = None
        if settings.receiver.ship_to and settings.receiver.open_segment == "disk":
            self._shipper = Shipper(settings.staging, settings.receiver.ship_to)
        self._ticking: asyncio.Task[None] | None = None
        self._full = False
        self._clock_lost = False
        self._stamped = 0
        self._stamped_at = 0.0

    async def startup(self) -> None:
        """Start committing; the first look at the disk decides whether `ready` says so."""
        self._committer.start()
        self._ticking = asyncio.create_task(self._tick(), name="receiver-tick")
        if self._shipper is not None:
            self._shipper.start()

    async def shutdown(self) -> None:
        """Store what waits and close the open segment."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._store_quarantine()
            await self._committer.stop()
            if self._shipper is not None:
                await asyncio.to_thread(self._shipper.stop, SHIP_S)
            with suppress(_ClockUnreadableError):
                await self._heartbeat.stop(_now())

    def take(self, body: bytes, answered: Answered) -> None:
        """Judge one POST's body; `answered` is called once, now or when it is durable."""
        try:
            self._judge(body, answered)
        except _ClockUnreadableError:  # the beat says so in the log
            answered(self.give_up())
        except Exception as error:
            answered(self.fail(error))

    def refuse(self, reason: str, content: bytes, *, size: int = 0) -> None:
        """Count a request that was refused as a whole; `size` where it was not read."""
        self.metrics.refused[reason] += 1
        with suppress(_ClockUnreadableError):
            self._quarantine.add(reason, content, _now(), size=size)

    def fail(self, error: Exception) -> Answer:
        """Where, and of what kind, but not its message: that could quote the body."""
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("answered 503 after an unexpected %s\n%s", type(error).__name__, where)
        return self.give_up()

    def give_up(self) -> Answer:
        """503: Graph sends it again."""
        self.interrupt()
        return UNAVAILABLE

    def interrupt(self) -> None:
        """Something was refused: nobody can vouch for now, and a gap may have begun."""
        self._pulse.interrupt()
        with suppress(_ClockUnreadableError):
            self._heartbeat.refuse(_now())

    def readiness(self) -> Answer:
        """200, or 503 and why."""
        if self._clock_lost:
            return NO_CLOCK
        trouble = self._committer.trouble
        if trouble is None:
            return READY
        return answer(503, f"not ready: staging: {trouble}\n".encode())

    async def page(self) -> bytes:
        """The metrics; what staging does not tell in time is left out."""
        now: dict[str, float] = {
            "ready": int(self.readiness() is READY),
            "open_segment_age_seconds": self._writer.age_s(),
            "backlog_bytes": self._committer.pending_bytes + self.held_bytes,
        }
        if self.connections is not None:
            now["connections"] = self.connections()
        if self._shipper is not None:
            now["shipping_ok"] = int(self._shipper.trouble is None)
        with suppress(TimeoutError, OSError):
            looking = asyncio.to_thread(os.listdir, ready_folder(self._staging))
            now["backlog_segments"] = len(await asyncio.wait_for(looking, LOOK_S))
        return self.metrics.page(**now)

    def _stamp(self) -> int:
        """Graph time; asked of the clock once a millisecond, which is what it costs to ask."""
        at = time.monotonic()
        if at - self._stamped_at > STAMP_S:
            self._stamped, self._stamped_at = _now(), at
        return self._stamped

    def _judge(self, body: bytes, answered: Answered) -> None:
        now = self._stamp()
        vouched = self._pulse.vouched_since(now)
        sifted = self._quick.sift(body, now, vouched)
        if sifted is None:
            try:
                sifted = sift(body, self._keyring, now, vouched)
            except MalformedPostError:
                self.refuse("malformed_json", body)
                answered(MALFORMED)
                return
            except TooManyItemsError:
                self.refuse("too_many_items", body)
                answered(TOO_MANY)
                return
            for refused in sifted.refused:
                self.metrics.refused[refused.reason] += 1
                self._quarantine.add(refused.reason, refused.content, now)
        passed = sifted.passed
        self.metrics.received += passed + len(sifted.refused)
        if not passed:
            answered(ACCEPTED)
        elif not self._committer.hand_in(
            sifted.line, passed, partial(self._committed, passed, answered)
        ):
            answered(self._turn_away())

    def _committed(self, passed: int, answered: Answered, durable: bool) -> None:
        if durable:
            self.metrics.acknowledged += passed
            self.metrics.acknowledged_at = time.time()
            answered(ACCEPTED)
        else:
            answered(UNAVAILABLE)

    def _turn_away(self) -> Answer:
        if not self._full:
            log.error("the disk cannot keep up: answering 503 until it has caught up")
        self._full = True
        return self.give_up()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        beat_at = quarantine_at = loop.time()
        while True:
            self._committer.tick()
            now = loop.time()
            if now >= beat_at:
                beat_at = now + BEAT_S
                self.on_beat()
                self._beat()
            if now >= quarantine_at:
                quarantine_at = now + QUARANTINE_S
                self._store_quarantine()
            await asyncio.sleep(TICK_S)

    def _beat(self) -> None:
        """Once a second: the clock's offset, the keys, the vouching span."""
        try:
            self._learn_offset()
            self._keyring.refresh()
            if self._full and self._committer.pending_bytes == 0:
                self._full = False
                log.warning("the disk has caught up")
            now = _now()
            self._pulse.beat(now)
            self._heartbeat.beat(now)
            self._clock_lost = False
        except _ClockUnreadableError as error:
            self._pulse.interrupt()
            if not self._clock_lost:
                log.error("answering 503 until the clock can be read: %s", error)
            self._clock_lost = True

    def _learn_offset(self) -> None:
        """Workers learn Graph's clock from its answers and leave it in a file for us."""
        try:
            text = (self._staging / "clock.json").read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _ClockUnreadableError(error.strerror) from None
        try:
            set_offset(msgspec.json.decode(text, type=_Offset).offset_s)
        except msgspec.MsgspecError:
            raise _ClockUnreadableError("clock.json in staging is not what was expected") from None

    def _store_quarantine(self) -> None:
        counts = self._quarantine.drain()
        if not counts:
            return
        if not self._committer.hand_in(
            quarantine_record(counts), 0, partial(self._quarantine_stored, counts)
        ):
            self._quarantine.put_back(counts)

    def _quarantine_stored(self, counts: list[Quarantined], durable: bool) -> None:
        if not durable:
            self._quarantine.put_back(counts)


def _writer_of(settings: Settings, name: str, vouched_since: Callable[[], int | None]) -> Writer:
    receiver = settings.receiver
    age_s, size_bytes = receiver.segment_age_s, receiver.segment_bytes
    if receiver.open_segment == "append_blob":
        return AppendBlobWriter(
            receiver.ship_to,
            name,
            age_s=age_s,
            size_bytes=size_bytes,
            vouched_since=vouched_since,
        )
    return SegmentWriter(
        settings.staging, name, age_s=age_s, size_bytes=size_bytes, vouched_since=vouched_since
    )


class _ClockUnreadableError(Exception):
    """No notification can be stamped, so none is taken."""


class _Offset(msgspec.Struct):
    """`staging/clock.json`: seconds that Graph is ahead of this machine."""

    offset_s: float


def _now() -> int:
    """Graph time, microseconds."""
    try:
        return graph_us()
    except (OSError, ValueError, KeyError) as error:
        raise _ClockUnreadableError(type(error).__name__) from None
