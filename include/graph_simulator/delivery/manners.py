"""How Graph treats an endpoint by its answers: normal, slow, drop (option `--endpoint-states`).

    slow   over 10 % of answers took more than 3 s in ten minutes: new ones wait ten minutes
    drop   over 15 % of retries took more than 10 s: new ones are thrown away for ten minutes

Minutes are Graph time. The shares are judged from 100 notifications on.
"""

from __future__ import annotations

from collections import deque

from graph_simulator.clock import Clock

__all__ = ["SPAN_US", "Manners"]

SPAN_US = 600 * 1_000_000
ENOUGH = 100
SLOW_SHARE, SLOW_S = 0.10, 3.0
DROP_SHARE, DROP_S = 0.15, 10.0


class Manners:
    """What one endpoint's answers have earned it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: deque[tuple[int, int, float]] = deque()
        self._state = "normal"
        self._until = 0

    def note(self, count: int, seconds: float) -> None:
        """A POST of `count` notifications was answered (or given up) after `seconds`."""
        now = self._clock.instant()
        self._answers.append((now, count, seconds))
        while self._answers and self._answers[0][0] < now - SPAN_US:
            self._answers.popleft()
        total = sum(count for _, count, _ in self._answers)
        if total < ENOUGH:
            return
        if self._over(DROP_S) > DROP_SHARE * total:
            self._state, self._until = "drop", now + SPAN_US
        elif self._over(SLOW_S) > SLOW_SHARE * total and self.state != "drop":
            self._state, self._until = "slow", now + SPAN_US

    def _over(self, seconds: float) -> int:
        # a time-out is reported a hair early
        return sum(count for _, count, took in self._answers if took > seconds - 0.02)

    @property
    def state(self) -> str:
        """`normal`, `slow` or `drop`."""
        if self._state != "normal" and self._clock.instant() >= self._until:
            self._state = "normal"
            self._answers.clear()
        return self._state
