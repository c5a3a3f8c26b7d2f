"""Since when this receiver can vouch that it was there for Graph without a break.

A beat each second of machine time; the span breaks when two beats lie more than 30 s of
*Graph* time apart (a stopped, stuck or starved process) or when a notification was answered
5xx. At high simulator speeds every beat breaks the span: such a receiver never vouches, on
purpose, because a second of it is minutes of Graph time.
"""

from __future__ import annotations

__all__ = ["Pulse"]

LONGEST_PAUSE_US = 30_000_000
"""Longest Graph time between two beats of one span, microseconds."""


class Pulse:
    """All times: microseconds, Graph time."""

    __slots__ = ("_last", "_since")

    def __init__(self) -> None:
        self._last: int | None = None
        self._since: int | None = None

    def beat(self, now: int) -> None:
        """The receiver is alive at `now`; the second beat in a row starts a span."""
        if self._last is None or abs(now - self._last) > LONGEST_PAUSE_US:
            self._since = None
        elif self._since is None:
            self._since = self._last
        self._last = now

    def interrupt(self) -> None:
        """Something was refused: whatever span there was has ended."""
        self._last = self._since = None

    def vouched_since(self, now: int) -> int | None:
        """Start of the span that holds `now`, or None when this receiver cannot vouch."""
        if self._last is None or abs(now - self._last) > LONGEST_PAUSE_US:
            return None
        return self._since
