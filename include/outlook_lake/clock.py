"""Two clocks, never mixed in one line.

*Graph time* is the clock of Graph (or of the simulator): message dates, hours, watermarks,
expiry. *Machine time* is this computer's: leases, due times, time-outs, ages of files.

    graph_now()   = machine_now() + an offset learnt from Graph's `Date` header
    with a clock file (OUTLOOK_LAKE_CLOCK): graph_at + (machine_now - machine_at) * speed,
    never past machine time
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

__all__ = [
    "HOUR",
    "from_us",
    "graph_now",
    "graph_us",
    "hour_name",
    "hour_start",
    "learn_offset",
    "machine_now",
    "machine_us",
    "to_us",
]

CLOCK_ENV = "OUTLOOK_LAKE_CLOCK"
"""Names the clock file a simulator writes: `{"machine_at", "graph_at", "speed"}`, Unix seconds."""

HOUR = timedelta(hours=1)
HOUR_FORMAT = "%Y-%m-%dT%H"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One state of the clock file; `mtime_ns` and `inode` tell when it was replaced."""

    mtime_ns: int
    inode: int
    machine_at: float
    graph_at: float
    speed: float


class _Offset:
    """What `Date` headers taught us: seconds Graph is ahead of this machine."""

    def __init__(self) -> None:
        self.seconds = 0.0


_offset = _Offset()
_lock = threading.Lock()
_readings: dict[str, _Reading] = {}


def machine_now() -> datetime:
    """This computer's clock, aware UTC."""
    return datetime.now(UTC)


def machine_us() -> int:
    """This computer's clock in microseconds since the epoch."""
    return time.time_ns() // 1000


def graph_now() -> datetime:
    """Graph's clock, aware UTC."""
    return from_us(graph_us())


def graph_us() -> int:
    """Graph's clock in microseconds since the epoch."""
    path = os.environ.get(CLOCK_ENV)
    now = time.time()
    if not path:
        return int((now + _offset.seconds) * 1_000_000)
    reading = _read(path)
    graph = reading.graph_at + (now - reading.machine_at) * reading.speed
    return int(min(graph, now) * 1_000_000)


def learn_offset(date_header: datetime, machine_at: datetime) -> float:
    """Take Graph's offset from an answer's `Date` (cut to the second) and its arrival time.

    Half a second is added because the header is cut; a difference below two seconds is
    noise of the network and changes nothing. Returns the offset in seconds.
    """
    seen = (date_header - machine_at).total_seconds() + 0.5
    if abs(seen - _offset.seconds) > 2.0:
        _offset.seconds = seen
    return _offset.seconds


def set_offset(seconds: float) -> None:
    """Take an offset another process learnt (state database or staging/clock.json)."""
    _offset.seconds = seconds


def to_us(moment: datetime) -> int:
    """Microseconds since the epoch; refuses a naive time."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored; use aware UTC times")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_us(moment_us: int) -> datetime:
    """The aware UTC time of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=moment_us)


def hour_start(moment: datetime) -> datetime:
    """The start of the UTC hour a time lies in; hours are half-open."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_name(moment: datetime) -> str:
    """`YYYY-MM-DDTHH` of the UTC hour a time lies in."""
    return hour_start(moment).strftime(HOUR_FORMAT)


def parse_hour(name: str) -> datetime:
    """The start of the hour named `YYYY-MM-DDTHH`; ValueError in words otherwise."""
    try:
        return datetime.strptime(name, HOUR_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(
            f"{name!r} does not name an hour; expected the form 2026-11-24T09 (UTC)"
        ) from None


def _read(path: str) -> _Reading:
    stat = os.stat(path)  # noqa: PTH116  (a hot path: called for every notification)
    known = _readings.get(path)
    if known and known.mtime_ns == stat.st_mtime_ns and known.inode == stat.st_ino:
        return known
    with _lock:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        fresh = _Reading(
            mtime_ns=stat.st_mtime_ns,
            inode=stat.st_ino,
            machine_at=float(data["machine_at"]),
            graph_at=float(data["graph_at"]),
            speed=float(data["speed"]),
        )
        _readings[path] = fresh
    return fresh
