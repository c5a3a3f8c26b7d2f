"""A constant stream for measuring freshness: so many changes a second, for ever.

A slot is one mailbox change: a message in a mailbox, or one reader's act. A send takes as many
slots as it makes records. Graph time: at speed 1 the rate is also that of the machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from graph_simulator.traffic.model import ActResult, PlannedAct, TrafficSpec
from graph_simulator.traffic.office import Writer
from graph_simulator.traffic.people import Office
from graph_simulator.traffic.reacting import follow_up
from graph_simulator.traffic.readers import Pace

__all__ = ["SteadyTraffic"]

READERS_SHARE = 0.5
"""Of all slots, how many go to readers' acts that are due, rather than to new mail."""

MOST_WAITING = 5000
"""Readers' acts kept waiting; beyond that new arrivals are left unread."""


class SteadyTraffic:
    """`rate` mailbox changes a Graph second from `begins_at` (UTC) on.

    Readers' acts are part of the stream itself: `reactions` keeps them, `plan` spends slots on
    them, so that the rate is constant whatever people do.
    """

    speed: float | None = None

    def __init__(self, office: Office, spec: TrafficSpec, begins_at: datetime) -> None:
        if not spec.rate:
            raise ValueError("a steady stream needs a rate")
        self.office = office
        self.begins_at = begins_at
        self.ends_at: datetime | None = None
        self._minutes = spec.minutes
        self._rate = spec.rate
        self._seed = spec.seed
        self._readers = READERS_SHARE if spec.readers is None else spec.readers
        self._pace = Pace(least=timedelta(seconds=20), pause=timedelta(seconds=30), haste=1 / 60)
        self._paced = self._pace
        self._writer = Writer(office, spec.seed)
        self._waiting: list[PlannedAct] = []
        self._slots = 0

    def begin(self, now: datetime, speed: float) -> None:
        """The stream begins where the clock is, and ends after the minutes asked for, if any."""
        self.begins_at = now
        if self._minutes is not None:
            self.ends_at = now + timedelta(minutes=self._minutes) * speed
        self.keep_pace(speed)

    def keep_pace(self, speed: float) -> None:
        """Readers keep acts apart in machine time, too."""
        self._paced = self._pace.at_speed(speed)

    def plan(self) -> Iterator[PlannedAct]:
        """Acts at even distances; each later by the slots of the act before it."""
        rng = Random(f"steady/{self._seed}")
        while True:
            at = self.begins_at + timedelta(seconds=self._slots / self._rate)
            if self.ends_at is not None and at >= self.ends_at:
                return
            act = self._next(rng, at)
            self._slots += act.records if act.do in ("send", "receive") else 1
            yield act

    def reactions(self, act: PlannedAct, result: ActResult) -> list[PlannedAct]:
        """Nothing to schedule: what readers do is kept and played in the plan's own slots."""
        if len(self._waiting) < MOST_WAITING:
            # Counted from the planned moment: a late answer must not change the stream.
            planned = replace(result, at=act.at)
            for later in follow_up(self._seed, act, planned, self._paced, self.begins_at):
                heapq.heappush(self._waiting, later)
        return []

    def progress(self) -> dict[str, Any]:
        """What was planned so far."""
        return {
            "kind": "steady",
            "mailboxes": len(self.office.people),
            "rate": self._rate,
            "planned_changes": self._slots,
            "waiting": len(self._waiting),
        }

    def _next(self, rng: Random, at: datetime) -> PlannedAct:
        ready = bool(self._waiting) and self._waiting[0].at <= at
        if ready and rng.random() < self._readers:
            later = heapq.heappop(self._waiting)
            return PlannedAct(at, later.mailbox, later.do, later.args, later.records)
        person = rng.choice(self.office.people)
        if rng.random() < 0.5:
            return self._writer.from_outside(rng, person, rng.choice(person.contacts), at)
        return self._writer.letter(rng, person, at)
