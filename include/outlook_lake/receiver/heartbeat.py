"""When receivers were there, and when they refused: `staging/pulse/<receiver>.json`.

Graph tries for four hours; what nobody took by then is gone. So every receiver leaves a beat
on the disk every few seconds, and whoever judges coverage later sees each hour in which no
receiver of this home was alive.

    spans      [[since, until], …]   Graph time in which this process ran without a pause
    refusals   [[since, until], …]   Graph time in which notifications were answered 5xx
    beat_at    machine time of the last beat

A pause is one of *machine* time: when a simulator's clock leaps, the process was there all along.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from outlook_lake.clock import machine_us

__all__ = ["Beats", "Heartbeat", "pulse_folder", "read_beats"]

log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Machine time between two writes."""
PAUSE_S = 30.0
"""Machine time without a beat after which a new span begins: the process was stopped."""
REFUSALS_APART_US = 600_000_000
"""Graph time: refusals closer than this are one span."""
MOST_SPANS = 50

Spans = list[tuple[int, int]]


class Beats(msgspec.Struct, omit_defaults=True):
    """What one receiver left behind. Times: microseconds, Graph time but for `beat_at`."""

    receiver: str
    beat_at: int
    spans: Spans = []
    refusals: Spans = []


class Heartbeat:
    """One receiver's; `beat` and `refuse` are called from its event loop."""

    def __init__(self, staging: Path, receiver: str) -> None:
        self._path = pulse_folder(staging) / f"{receiver}.json"
        self._beats = Beats(receiver, 0)
        self._last = 0.0
        self._written = 0.0
        self._writing: asyncio.Task[None] | None = None

    def beat(self, now: int) -> None:
        """The receiver is alive at `now`; every few seconds that reaches the disk."""
        at = time.monotonic()
        spans = self._beats.spans
        if not spans or at - self._last > PAUSE_S or now < spans[-1][1]:
            spans.append((now, now))
        spans[-1] = (spans[-1][0], now)
        del spans[:-MOST_SPANS]
        self._last = at
        if at - self._written >= EVERY_S and (self._writing is None or self._writing.done()):
            self._written = at
            # A disk that does not answer must not keep the event loop from saying so.
            self._writing = asyncio.get_running_loop().create_task(self._write_aside())

    def refuse(self, now: int) -> None:
        """A notification was answered 5xx at `now`."""
        refusals = self._beats.refusals
        if not refusals or not 0 <= now - refusals[-1][1] <= REFUSALS_APART_US:
            refusals.append((now, now))
        refusals[-1] = (refusals[-1][0], now)
        del refusals[:-MOST_SPANS]

    async def stop(self, now: int | None) -> None:
        """The last beat, when the receiver ends in good order."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        if now is not None and self._beats.spans:
            self._beats.spans[-1] = (self._beats.spans[-1][0], max(now, self._beats.spans[-1][0]))
            await self._write_aside()

    async def _write_aside(self) -> None:
        self._beats.beat_at = machine_us()
        await asyncio.to_thread(_write, self._path, msgspec.json.encode(self._beats))


def _write(path: Path, data: bytes) -> None:
    # A beat that cannot be written is none: the hour will look as it was, without a receiver.
    staged = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(data)
        staged.replace(path)
    except OSError as error:
        log.debug("a beat was not written: %s", error.strerror)
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def pulse_folder(staging: Path) -> Path:
    """Where receivers leave their beats."""
    return staging / "pulse"


def read_beats(staging: Path) -> dict[Path, Beats]:
    """What all receivers of a home left behind; a torn file tells nothing."""
    found: dict[Path, Beats] = {}
    for path in sorted(pulse_folder(staging).glob("*.json")):
        with suppress(OSError, msgspec.MsgspecError):
            found[path] = msgspec.json.decode(path.read_bytes(), type=Beats)
    return found
