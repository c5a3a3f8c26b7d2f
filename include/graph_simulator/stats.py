"""Counts of what was asked, refused and delivered since the simulator started."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Stats"]


@dataclass(slots=True)
class Stats:
    """Counters; what each means is in docs/simulator.md."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Answers of Graph by status, items of a $batch included."""
    throttled: Counter[str] = field(default_factory=Counter)
    """429s by the limit that gave them."""
    early_retries: int = 0
    posts: int = 0
    """Notification POSTs sent."""
    deliveries: int = 0
    """Notifications in them, retries included."""
    acks: int = 0
    """Notifications answered 2xx in time."""
    retries: int = 0
    """Notifications sent again after an answer that was no 2xx, or none in time."""
    drops: int = 0
    """Notifications given up: the window of 4 h ended, or the endpoint was in drop state."""
    withheld: int = 0
    """Notifications a fault swallowed."""
    answers_over_3s: int = 0
    handshakes: int = 0
    handshakes_failed: int = 0
    acts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault struck."""

    def row(self) -> dict[str, Any]:
        """JSON-able copy."""
        return {
            "requests": dict(self.requests),
            "requests_total": self.requests.total(),
            "answers": dict(self.answers),
            "throttled_429": self.throttled.total(),
            "throttled_by": dict(self.throttled),
            "early_retries": self.early_retries,
            "posts": self.posts,
            "deliveries": self.deliveries,
            "acks": self.acks,
            "retries": self.retries,
            "drops": self.drops,
            "withheld": self.withheld,
            "answers_over_3s": self.answers_over_3s,
            "handshakes": self.handshakes,
            "handshakes_failed": self.handshakes_failed,
            "acts": dict(self.acts),
            "faults": dict(self.faults),
        }
