"""Which whole days of a file are played when all of them would be too many.

A day is taken or left as a whole, so that threads, newsletters and bursts stay as they were.
The days come from the best-covered stretch of the file, evenly spread over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

__all__ = ["Day", "days_to_play"]

STRETCH = 2
"""The stretch holds this many times the records wanted: enough to choose from, still dense."""


@dataclass(frozen=True, slots=True)
class Day:
    """A local day of the file and the mailbox records it holds."""

    day: date
    records: int


def days_to_play(days: Sequence[Day], limit: int | None) -> list[Day]:
    """The fewest evenly spread whole days that hold at least `limit` records.

    All days when `limit` is None or the file holds no more than that.
    """
    if limit is None or sum(day.records for day in days) <= limit:
        return list(days)
    stretch = _densest(days, STRETCH * limit)
    for count in range(1, len(stretch)):
        chosen = [stretch[(2 * nth + 1) * len(stretch) // (2 * count)] for nth in range(count)]
        if sum(day.records for day in chosen) >= limit:
            return chosen
    return list(stretch)


def _densest(days: Sequence[Day], wanted: int) -> Sequence[Day]:
    """The shortest run of days, by the calendar, with `wanted` records; else all of them."""
    best: tuple[int, int, Sequence[Day]] | None = None
    first = total = 0
    for last, day in enumerate(days):
        total += day.records
        while total - days[first].records >= wanted:
            total -= days[first].records
            first += 1
        if total >= wanted:
            length = (day.day - days[first].day).days
            if best is None or (length, -total) < best[:2]:
                best = (length, -total, days[first : last + 1])
    return best[2] if best else days
