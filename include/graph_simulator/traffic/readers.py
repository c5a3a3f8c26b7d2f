"""What people do with the mail they get: read, flag, categorise, file, delete, change their mind.

Everything a person does with one message is decided when it arrives, from the seed, the
mailbox and the message's place in the plan: same seed, same behaviour, in whatever order the
simulator answers. Delays are log-normal, as in real offices: most within the hour, some days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from random import Random
from zoneinfo import ZoneInfo

from graph_simulator.traffic.model import Arrival, PlannedAct

__all__ = ["ALWAYS", "Habits", "Hours", "Pace", "habits_of", "what_follows"]

CATEGORIES = ("Red category", "Blue category", "Green category", "Follow up", "Finance")
PLACES = ("archive", "archive", "Projects", "Receipts", "Reading", "Team")
"""Well-known names and display names of folders that every simulated mailbox has."""
WEEKEND = 5
WATCHED = timedelta(seconds=15)
"""Machine time after which whoever watches has looked at a message again."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When a person works: local whole hours of a weekday, half-open."""

    zone: str = "UTC"
    first: int = 0
    last: int = 24
    weekends: bool = True

    def next_working(self, at: datetime, rng: Random) -> datetime:
        """`at` itself, or some minutes after the next start of work."""
        local = at.astimezone(ZoneInfo(self.zone))
        if self.works(local):
            return at
        day = local.date()
        if local.hour >= self.first:
            day += timedelta(days=1)
        while not self.weekends and day.weekday() >= WEEKEND:
            day += timedelta(days=1)
        start = datetime.combine(day, time(self.first), ZoneInfo(self.zone)).astimezone(UTC)
        return start + timedelta(seconds=rng.uniform(0, 3600))

    def works(self, local: datetime) -> bool:
        """Whether somebody is at work at the local time `local`."""
        at_work = self.first <= local.hour < self.last
        return at_work and (self.weekends or local.weekday() < WEEKEND)


ALWAYS = Hours()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how much people react. Graph time.

    `share` of arrivals is touched at all; nobody reacts before `least`; two acts on one message
    lie at least `pause` apart, so that both can be told apart by whoever watches; delays are
    multiplied by `haste`; nothing is planned at or after `until`.
    """

    share: float = 1.0
    least: timedelta = timedelta(seconds=20)
    pause: timedelta = timedelta(minutes=1)
    haste: float = 1.0
    until: datetime | None = None

    def at_speed(self, speed: float) -> Pace:
        """The same pace, with acts at least WATCHED machine time apart at `speed`."""
        apart = WATCHED * speed
        return replace(self, least=max(self.least, apart), pause=max(self.pause, apart))


@dataclass(frozen=True, slots=True)
class Habits:
    """One person's ways. Shares are of the messages this person touches."""

    looks_after_minutes: float
    reads: float
    flags: float
    categorizes: float
    files: float
    deletes: float
    purges: float
    second_thoughts: float
    hours: Hours = ALWAYS


@lru_cache(maxsize=100_000)
def habits_of(seed: int, mailbox: str, hours: Hours = ALWAYS) -> Habits:
    """The ways of the owner of `mailbox`: stable for one seed."""
    rng = Random(f"habits/{seed}/{mailbox}")
    return Habits(
        looks_after_minutes=rng.lognormvariate(math.log(25), 0.6),
        reads=rng.uniform(0.75, 0.99),
        flags=rng.choice((0.0, 0.03, 0.1)),
        categorizes=rng.choice((0.0, 0.0, 0.05, 0.2)),
        files=rng.choice((0.02, 0.1, 0.3)),
        deletes=rng.choice((0.05, 0.15, 0.4)),
        purges=rng.choice((0.0, 0.1, 0.5)),
        second_thoughts=0.06,
        hours=hours,
    )


def what_follows(
    rng: Random, habits: Habits, arrival: Arrival, at: datetime, pace: Pace
) -> list[PlannedAct]:
    """The acts of one person on one message that arrived at `at` (UTC), in time order."""
    if rng.random() >= pace.share:
        return []
    steps = list(_steps(rng, habits))
    acts: list[PlannedAct] = []
    moment = at
    for nth, (minutes, do, extra) in enumerate(steps):
        delay = timedelta(minutes=rng.lognormvariate(math.log(minutes), 0.9)) * pace.haste
        moment += max(delay, pace.pause if nth else pace.least)
        moment = habits.hours.next_working(moment, rng)
        if pace.until is not None and moment >= pace.until:
            break
        args = {"item": arrival.item_id, **extra}
        acts.append(PlannedAct(moment, arrival.mailbox, do, args))
    return acts


Step = tuple[float, str, dict[str, object]]


def _steps(rng: Random, habits: Habits) -> list[Step]:
    """What is done, each with its median delay in minutes after the step before."""
    looks: list[Step] = []
    if rng.random() < habits.reads:
        looks.append((habits.looks_after_minutes, "read", {}))
        if rng.random() < habits.second_thoughts:
            looks += [(3, "unread", {}), (90, "read", {})]
    first_look = 20 if looks else habits.looks_after_minutes
    return looks + _marks(rng, habits) + _ending(rng, habits, first_look)


def _marks(rng: Random, habits: Habits) -> list[Step]:
    steps: list[Step] = []
    if rng.random() < habits.flags:
        steps.append((8, "flag", {}))
        if rng.random() < 0.6:
            steps.append((180, "complete" if rng.random() < 0.7 else "unflag", {}))
    if rng.random() < habits.categorizes:
        labels = rng.sample(CATEGORIES, rng.choice((1, 1, 2)))
        steps.append((5, "categorize", {"categories": labels}))
    if rng.random() < 0.01:
        steps.append((10, "set_importance", {"importance": "high"}))
    return steps


def _ending(rng: Random, habits: Habits, first_look: float) -> list[Step]:
    end = rng.random()
    if end < habits.files:
        return [(30, "move", {"to": rng.choice(PLACES)})]
    if end >= habits.files + habits.deletes:
        return []
    delete: Step = (first_look, "delete", {})
    after = rng.random()
    if after < habits.second_thoughts:
        return [delete, (25, "restore", {})]
    if after < habits.second_thoughts + habits.purges:
        return [delete, (150, "purge", {})]
    return [delete]
