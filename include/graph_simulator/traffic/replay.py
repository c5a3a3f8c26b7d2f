"""A laid file as traffic: the messages are the file's, what readers do is the generator's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from graph_simulator.traffic.errors import TrafficSpecError
from graph_simulator.traffic.file import read_traffic_file
from graph_simulator.traffic.laying import Laying, last_whole_wednesday, lay
from graph_simulator.traffic.model import (
    DEFAULT_FILE_MAILBOXES,
    ActResult,
    PlannedAct,
    TrafficSpec,
)
from graph_simulator.traffic.reacting import follow_up
from graph_simulator.traffic.readers import Pace

__all__ = ["ReplayTraffic", "lay_spec"]

READERS_SHARE = 0.25
READERS_LEAST = timedelta(minutes=20)
"""Nobody touches a replayed message earlier (Graph time)."""


def lay_spec(spec: TrafficSpec, now: datetime) -> tuple[Laying, int]:
    """Read and lay the file of `spec`; `now` (UTC) decides which week is the last whole one.

    Returns the laying and how many rows of the file could not be read at all.
    """
    if spec.file is None:
        raise TrafficSpecError("there is no file to replay", "Name one with --traffic FILE")
    file = read_traffic_file(spec.file)
    day: date = spec.day or last_whole_wednesday(now, spec.time_zone)
    laying = lay(
        file,
        mailboxes=spec.mailboxes or DEFAULT_FILE_MAILBOXES,
        zone=spec.time_zone,
        day=day,
        folded=not spec.unfolded,
        limit=spec.limit,
    )
    return laying, file.unreadable_rows


class ReplayTraffic:
    """Plays a laying from its first hour to its last; readers stop with it."""

    def __init__(self, laying: Laying, spec: TrafficSpec, unreadable_rows: int = 0) -> None:
        self.laying = laying
        self._seed = spec.seed
        self._minutes = spec.minutes
        self._unreadable = unreadable_rows
        self._pace = Pace(
            share=READERS_SHARE if spec.readers is None else spec.readers,
            least=READERS_LEAST,
            pause=READERS_LEAST,
            until=laying.ends_at,
        )
        self._paced = self._pace

    @property
    def begins_at(self) -> datetime:
        """07:00 local of the day everything is laid on; unfolded, the first message (UTC)."""
        return self.laying.begins_at

    @property
    def ends_at(self) -> datetime | None:
        """19:00 local; unfolded, just after the last message (UTC)."""
        return self.laying.ends_at

    @property
    def speed(self) -> float | None:
        """Graph seconds a machine second that make the play last the minutes asked for."""
        if self._minutes is None:
            return None
        return (self.laying.ends_at - self.laying.begins_at) / timedelta(minutes=self._minutes)

    def begin(self, now: datetime, speed: float) -> None:
        """The day of a replay is fixed; only its readers need to know the speed."""
        self.keep_pace(speed)

    def keep_pace(self, speed: float) -> None:
        """Readers keep acts apart in machine time, too."""
        self._paced = self._pace.at_speed(speed)

    def plan(self) -> Iterator[PlannedAct]:
        """The file's sends and receives in time order."""
        return self.laying.planned()

    def reactions(self, act: PlannedAct, result: ActResult) -> list[PlannedAct]:
        """What readers do, 20 Graph minutes after the arrival at the earliest."""
        return follow_up(self._seed, act, result, self._paced, self.begins_at)

    def progress(self) -> dict[str, Any]:
        """What is played and what was left out, in counts."""
        laying = self.laying
        return {
            "kind": "file",
            "mailboxes": len(laying.mailboxes),
            "planned_acts": len(laying.acts),
            "planned_records": laying.records,
            "days_played": len(laying.days),
            "days_in_file": laying.days_in_file,
            "records_in_file": laying.records_in_file,
            "first_day": laying.days[0].day.isoformat(),
            "last_day": laying.days[-1].day.isoformat(),
            "sampled": len(laying.days) < laying.days_in_file,
            "skipped": {
                **laying.skipped,
                **({"unreadable": self._unreadable} if self._unreadable else {}),
            },
            "recipients_dropped": laying.recipients_dropped,
            "begins_at": laying.begins_at.isoformat(),
            "ends_at": laying.ends_at.isoformat(),
            "speed": self.speed,
        }
