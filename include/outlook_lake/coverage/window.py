"""A window of hours, asked for by a person: half-open, whole UTC hours, said in one way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from outlook_lake.clock import HOUR, graph_now, hour_name, hour_start, parse_hour, to_us
from outlook_lake.errors import UsageError

__all__ = ["MOST_DAYS", "Window"]

MOST_DAYS = 92
"""Longest window that is looked at or worked on at once."""


@dataclass(frozen=True, slots=True)
class Window:
    """From the start of one hour to the start of another, Graph time."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, from_hour: str | None, to_hour: str | None, *, hours: int = 48) -> Window:
        """A window `YYYY-MM-DDTHH` to `YYYY-MM-DDTHH` (not included); UsageError in words.

        Without an end it ends with the hour that runs now, without a beginning it is `hours` long.
        """
        end = _hour(to_hour) if to_hour else hour_start(graph_now()) + HOUR
        start = _hour(from_hour) if from_hour else end - hours * HOUR
        if start >= end:
            raise UsageError(
                f"the window {hour_name(start)} to {hour_name(end)} holds no hour: "
                "the end is the first hour that is not wanted, and comes after the beginning"
            )
        if end - start > timedelta(days=MOST_DAYS):
            raise UsageError(
                f"the window is {(end - start).days} days long; at most {MOST_DAYS} days go at "
                "once: ask for it in parts"
            )
        return cls(start, end)

    @property
    def from_us(self) -> int:
        """Its beginning, microseconds."""
        return to_us(self.start)

    @property
    def to_us(self) -> int:
        """Its end, microseconds."""
        return to_us(self.end)

    @property
    def hours(self) -> int:
        """How many hours it holds."""
        return (self.end - self.start) // HOUR

    def names(self) -> Iterator[str]:
        """Its hours, oldest first."""
        for number in range(self.hours):
            yield hour_name(self.start + number * HOUR)


def _hour(name: str) -> datetime:
    try:
        return parse_hour(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
