"""Merge the plan with what readers do, and hand out what is due.

plan (lazy) ─┐
             ├─▶ due(now) ─▶ the simulator acts ─▶ done(act, result) ─▶ later acts ─┐
waiting  ────┘◀────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from graph_simulator.traffic.model import ActResult, PlannedAct, Traffic

__all__ = ["Player"]


class Player:
    """One traffic being played. Not thread-safe; the caller owns the clock and the acting."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._plan: Iterator[PlannedAct] | None = None
        self._next: PlannedAct | None = None
        self._waiting: list[PlannedAct] = []
        self._played: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._records = 0
        self._last_at: datetime | None = None
        self._worst_lag_s = 0.0

    @property
    def next_at(self) -> datetime | None:
        """Graph time (UTC) of the next act; None when everything was played."""
        moments = [
            act.at for act in (self._planned(), self._waiting[0] if self._waiting else None) if act
        ]
        return min(moments, default=None)

    def due(self, now: datetime) -> Iterator[PlannedAct]:
        """Acts planned for `now` (UTC Graph time) or before, in order.

        Reactions reported through `done` while iterating take their place in the order.
        """
        while (act := self._take(now)) is not None:
            yield act

    def done(self, act: PlannedAct, result: ActResult) -> None:
        """The simulator carried `act` out."""
        self._played[act.do] += 1
        self._records += act.records if act.do in ("send", "receive") else 0
        self._last_at = result.at
        self._worst_lag_s = max(self._worst_lag_s, (result.at - act.at).total_seconds())
        for later in self.traffic.reactions(act, result):
            heapq.heappush(self._waiting, later)

    def refused(self, act: PlannedAct, reason: str) -> None:
        """The simulator refused `act`: counted under `reason` (a word), and the play goes on."""
        self._refused[f"{act.do}: {reason}"] += 1

    def progress(self) -> dict[str, Any]:
        """How far it is: the traffic's own counts and what was played of it."""
        return {
            **self.traffic.progress(),
            "played_acts": self._played.total(),
            "played_records": self._records,
            "played": dict(sorted(self._played.items())),
            "refused": dict(sorted(self._refused.items())),
            "waiting_reactions": len(self._waiting),
            "worst_lag_graph_s": round(self._worst_lag_s, 3),
            "last_act_at": self._last_at.isoformat() if self._last_at else None,
            "finished": self.next_at is None,
        }

    def _take(self, now: datetime) -> PlannedAct | None:
        planned, waiting = self._planned(), self._waiting[0] if self._waiting else None
        if waiting is not None and (planned is None or waiting.at < planned.at):
            return heapq.heappop(self._waiting) if waiting.at <= now else None
        if planned is None or planned.at > now:
            return None
        self._next = next(self._plan, None) if self._plan is not None else None
        return planned

    def _planned(self) -> PlannedAct | None:
        """The next act of the plan, which starts with the first look at it."""
        if self._plan is None:
            self._plan = self.traffic.plan()
            self._next = next(self._plan, None)
        return self._next
