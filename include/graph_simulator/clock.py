"""The clock one can move: Graph time as a straight line over machine time.

    graph_now = min(machine_now, graph_at + (machine_now - machine_at) * speed)

Graph time never passes machine time, so that every hour it makes is a finished interval for
whoever schedules by machine time. Each change is written to the clock file in one atomic step;
readers of that file compute the same instant by the same formula.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from graph_simulator.errors import ControlRefused

__all__ = ["Clock", "iso_micros", "iso_seconds", "machine_us", "parse_duration", "parse_instant"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def machine_us() -> int:
    """Machine time in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@lru_cache(maxsize=65536)
def iso_seconds(second: int) -> str:
    """`2026-11-24T09:15:00Z` of a Unix second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def iso_micros(us: int) -> str:
    """`2026-11-24T09:15:00.000001Z` of Unix microseconds."""
    second, micro = divmod(us, 1_000_000)
    return f"{iso_seconds(second)[:-1]}.{micro:06d}Z"


def parse_instant(text: str) -> int:
    """Unix microseconds of an ISO 8601 instant; without a zone it is UTC.

    Raises ValueError when `text` is no instant.
    """
    trimmed = text.strip()
    if "." in trimmed:  # Graph and .NET write up to seven digits of a second
        head, _, tail = trimmed.partition(".")
        digits = ""
        while tail and tail[0].isdigit():
            digits, tail = digits + tail[0], tail[1:]
        trimmed = f"{head}.{(digits + '000000')[:6]}{tail}"
    at = datetime.fromisoformat(trimmed.replace("Z", "+00:00").replace("z", "+00:00"))
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - EPOCH) // timedelta(microseconds=1)


def parse_duration(text: str) -> float:
    """Seconds of an ISO 8601 duration such as `PT9H`, `P1DT30M` or `PT0.5S`.

    Raises ValueError when `text` is no duration (months and years are none).
    """
    import re

    found = re.fullmatch(
        r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", text.strip()
    )
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT9H or P1DT30M")
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds


class Clock:
    """Graph time. `changed` is called after each change, so that waiting work can look again."""

    def __init__(
        self, machine_at: float, graph_at: float, speed: float, file: Path | None = None
    ) -> None:
        self.machine_at = machine_at
        self.graph_at = graph_at
        self.speed = speed
        self.file = file
        self.changed: list[Callable[[], None]] = []
        self._last = 0
        self._publish()

    @classmethod
    def start(cls, back: float, speed: float, file: Path | None = None) -> Clock:
        """A clock `back` seconds behind machine time, running at `speed`."""
        now = time.time()
        return cls(now, now - max(0.0, back), speed, file)

    def raw_us(self) -> int:
        """Graph time in microseconds, without the promise to be monotonic."""
        machine = time.time()
        graph = self.graph_at + (machine - self.machine_at) * self.speed
        if graph >= machine:
            if self.speed > 1:  # it met machine time: from now on they are one
                self._set(machine, machine, 1.0)
            return int(machine * 1_000_000)
        return int(graph * 1_000_000)

    def instant(self) -> int:
        """The instant of an answer (microseconds): no act that it shows is later."""
        self._last = max(self._last, self.raw_us())
        return self._last

    def tick(self) -> int:
        """The instant of an act (microseconds), strictly later than every instant before it."""
        self._last = max(self._last + 1, self.raw_us())
        return self._last

    def resume_after(self, us: int) -> None:
        """Promise that no later instant lies at or before `us` (used after a restart)."""
        self._last = max(self._last, us)

    def machine_seconds_until(self, graph_us: int) -> float:
        """How long, by the machine's clock, until Graph time reaches `graph_us` (inf if paused)."""
        ahead = (graph_us - self.raw_us()) / 1_000_000
        if ahead <= 0:
            return 0.0
        return ahead / self.speed if self.speed > 0 else float("inf")

    def advance(self, seconds: float) -> None:
        """Move Graph time forward; refused (409) where it would pass machine time."""
        if seconds < 0:
            raise ControlRefused(409, "Graph time runs forward only: advance by a duration >= 0.")
        now, machine = self.raw_us() / 1_000_000, time.time()
        if now + seconds > machine:
            raise ControlRefused(
                409,
                f"Graph time never passes machine time: it can advance by at most "
                f"{machine - now:.1f} s now, {seconds:.1f} s was asked.",
            )
        self._set(machine, now + seconds, self.speed)

    def set_speed(self, speed: float) -> None:
        """Graph seconds per machine second, 0 (paused) to 1,000,000."""
        if not 0 <= speed <= 1_000_000:
            raise ControlRefused(400, "speed is a number from 0 (paused) to 1,000,000.")
        now = self.raw_us() / 1_000_000
        self._set(time.time(), now, speed)

    def _set(self, machine_at: float, graph_at: float, speed: float) -> None:
        self.machine_at, self.graph_at, self.speed = machine_at, graph_at, speed
        self._publish()
        for call in self.changed:
            call()

    def _publish(self) -> None:
        if self.file is None:
            return
        beside = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        beside.write_text(json.dumps(self.line()))
        beside.replace(self.file)

    def line(self) -> dict[str, float]:
        """The line as the clock file and the state keep it (Unix seconds)."""
        return {"machine_at": self.machine_at, "graph_at": self.graph_at, "speed": self.speed}
