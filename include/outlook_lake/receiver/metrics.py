"""What a receiver did, as Prometheus text at `/metrics`. Counts only, from the event loop.

Every name, its unit and its meaning stands in `docs/operate/receivers.md`; labels come from
fixed lists, so that no flood can make the page grow.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["SLOW_S", "Histogram", "Metrics"]

SLOW_S = 2.5
"""Graph counts an answer after 3 s as a failure (graph-facts 2.6); half a second is the way."""
WINDOW_S = 600
"""Graph judges by windows of 10 minutes."""
SLOT_S = 10
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 3.0, 10.0)
PREFIX = "outlook_receiver_"


class Histogram:
    """Seconds by upper bounds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def lines(self, name: str, about: str) -> Iterator[str]:
        """As Prometheus reads it."""
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} histogram"
        so_far = 0
        for bound, count in zip(BOUNDS_S, self.counts, strict=False):
            so_far += count
            yield f'{name}_bucket{{le="{bound:g}"}} {so_far}'
        so_far += self.counts[-1]
        yield f'{name}_bucket{{le="+Inf"}} {so_far}'
        yield f"{name}_sum {self.total_s:.6f}"
        yield f"{name}_count {so_far}"


class Metrics:
    """One receiver's. `observe_commit` is called from the committer's thread, all else from
    the event loop."""

    def __init__(self) -> None:
        self.received = 0
        self.acknowledged = 0
        self.acknowledged_at = 0.0
        self.answers: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.handshakes: Counter[str] = Counter()
        self.ack = Histogram()
        self.fsync = Histogram()
        self._slots: deque[tuple[int, list[int]]] = deque()
        self._started_at = time.time()

    def answered(self, status: int, seconds: float) -> None:
        """A POST of notifications was answered; `seconds` since its head was read."""
        self.answers[status] += 1
        self.ack.observe(seconds)
        slot = int(time.monotonic()) // SLOT_S
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, [0, 0]))
            self._forget(slot)
        counts = self._slots[-1][1]
        counts[0] += 1
        if seconds > SLOW_S:
            counts[1] += 1

    def observe_commit(self, seconds: float) -> None:
        """A write and its fdatasync."""
        self.fsync.observe(seconds)

    def slow_share(self) -> float:
        """Share of answers of the last 10 minutes that took over 2.5 s; 0 without answers."""
        self._forget(int(time.monotonic()) // SLOT_S)
        answers = sum(counts[0] for _, counts in self._slots)
        return sum(counts[1] for _, counts in self._slots) / answers if answers else 0.0

    def page(self, **now: float) -> bytes:
        """The whole page; `now` are the gauges by their name without prefix."""
        lines = [
            *_counter("notifications_received_total", RECEIVED, self.received),
            *_counter("notifications_acknowledged_total", ACKNOWLEDGED, self.acknowledged),
            *_labelled("answers_total", ANSWERS, "status", self.answers),
            *_labelled("quarantined_total", QUARANTINED, "reason", self.refused),
            *_labelled("handshakes_total", HANDSHAKES, "result", self.handshakes),
            *self.ack.lines(PREFIX + "ack_seconds", ACK),
            *self.fsync.lines(PREFIX + "fsync_seconds", FSYNC),
        ]
        gauges = {
            **now,
            "slow_answers_share": self.slow_share(),
            "last_acknowledged_timestamp_seconds": self.acknowledged_at,
            "start_timestamp_seconds": self._started_at,
            "resident_memory_bytes": _resident(),
        }
        for name, about in GAUGES.items():
            if name in gauges:
                lines += _metric(name, about, "gauge", [("", gauges[name])])
        return ("\n".join(lines) + "\n").encode()

    def _forget(self, slot: int) -> None:
        while self._slots and self._slots[0][0] <= slot - WINDOW_S // SLOT_S:
            self._slots.popleft()


RECEIVED = "Notifications in POSTs that could be read, passed or not."
ACKNOWLEDGED = "Notifications that were durable when 202 was answered."
ANSWERS = "POSTs of notifications answered, by HTTP status."
QUARANTINED = "Refused notifications and requests, by reason."
HANDSHAKES = "Validation handshakes, answered or refused."
ACK = "Seconds from the head of a POST to its answer."
FSYNC = "Seconds of one group commit: write and fdatasync."
GAUGES = {
    "ready": "1 while staging takes data and the clock can be read.",
    "open_segment_age_seconds": "Age of the open segment; 0 when none is open.",
    "backlog_bytes": "Bytes that wait for the disk.",
    "backlog_segments": "Closed segments in staging that wait for landing, or to be shipped.",
    "shipping_ok": "1 while the object store takes segments; absent where none is set.",
    "connections": "Open connections of a stand-alone receiver.",
    "slow_answers_share": "Drop-state risk: share of answers over 2.5 s in 10 minutes.",
    "last_acknowledged_timestamp_seconds": "When the last 202 left, machine time; 0 = never.",
    "start_timestamp_seconds": "When the process started, machine time.",
    "resident_memory_bytes": "Memory of the process.",
}


def _counter(name: str, about: str, value: float) -> Iterator[str]:
    return _metric(name, about, "counter", [("", value)])


def _labelled(
    name: str, about: str, label: str, values: Counter[str] | Counter[int]
) -> Iterator[str]:
    found = [(f'{{{label}="{key}"}}', count) for key, count in sorted(values.items(), key=str)]
    return _metric(name, about, "counter", found)


def _metric(
    name: str, about: str, kind: str, values: list[tuple[str, float]] | list[tuple[str, int]]
) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {about}"
    yield f"# TYPE {PREFIX}{name} {kind}"
    for label, value in values:
        told = f"{value:d}" if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")
        yield f"{PREFIX}{name}{label} {told}"


def _resident() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
