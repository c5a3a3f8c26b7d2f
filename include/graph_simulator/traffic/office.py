"""A seeded office: who writes to whom and when, made a few Graph minutes at a time.

    people ─▶ slot of 5 minutes ─▶ sends, drafts, mail from outside, newsletters ─▶ in time order

The day has a shape in each person's own time zone; threads are answered by those in them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from graph_simulator.traffic.model import ActResult, PlannedAct, TrafficSpec
from graph_simulator.traffic.people import Office, Person
from graph_simulator.traffic.reacting import follow_up
from graph_simulator.traffic.readers import ALWAYS, Hours, Pace

__all__ = ["OfficeTraffic", "Writer"]

SLOT = timedelta(minutes=5)
EVENING, NIGHT, WEEKEND_DAY = 0.12, 0.01, 0.08
MACHINE_MAILS_A_DAY = 3.0
THREADS_REMEMBERED = 15
DRAFT_FIRST, REPLY, EVERYBODY, OUTSIDE = 0.08, 0.4, 0.02, 0.25


@dataclass(slots=True)
class _Thread:
    conversation: str
    members: tuple[str, ...]
    last_sender: str
    last_at: datetime


@dataclass
class Writer:
    """Makes single messages; remembers the threads people are in."""

    office: Office
    seed: int
    _threads: dict[str, deque[_Thread]] = field(default_factory=dict)
    _made: int = 0

    def letter(self, rng: Random, person: Person, at: datetime) -> PlannedAct:
        """Something `person` writes at `at`: an answer or a new message."""
        thread = self._answerable(rng, person, at) if rng.random() < REPLY else None
        if thread is None:
            thread = self._begin(rng, person, at)
            to = [m for m in thread.members if m != person.mailbox]
        else:
            everybody = [m for m in thread.members if m != person.mailbox]
            back = thread.last_sender
            to = everybody if back == person.mailbox or rng.random() < 0.5 else [back]
            thread.last_sender, thread.last_at = person.mailbox, at
        first = rng.choice((1, 1, 2, len(to)))
        args = self._args(rng, thread, to[:first], to[first:])
        inside = sum(address in self.office.by_mailbox for address in to)
        do = "draft" if rng.random() < DRAFT_FIRST else "send"
        return PlannedAct(at, person.mailbox, do, args, 1 + inside)

    def from_outside(self, rng: Random, person: Person, sender: str, at: datetime) -> PlannedAct:
        """A message from outside to `person`; partners start threads, machines do not."""
        conversation = self._conversation()
        if sender in person.contacts:
            thread = _Thread(conversation, (person.mailbox, sender), sender, at)
            self._recent(person.mailbox).append(thread)
        args = {
            "from": sender,
            "to": [person.mailbox],
            "cc": [],
            "conversation": conversation,
            "has_attachments": rng.random() < 0.2,
        }
        return PlannedAct(at, person.mailbox, "receive", args, 1)

    def newsletter(self, rng: Random, nth: int, at: datetime) -> list[PlannedAct]:
        """One issue of list `nth`, to all its readers within seconds."""
        news = self.office.lists[nth]
        conversation = self._conversation()
        return [
            PlannedAct(
                at + timedelta(seconds=rng.uniform(0, 20)),
                reader,
                "receive",
                {"from": news.sender, "to": [reader], "cc": [], "conversation": conversation},
                1,
            )
            for reader in news.readers
        ]

    def _answerable(self, rng: Random, person: Person, at: datetime) -> _Thread | None:
        old = [t for t in self._recent(person.mailbox) if at - t.last_at > timedelta(minutes=3)]
        return rng.choice(old) if old else None

    def _begin(self, rng: Random, person: Person, at: datetime) -> _Thread:
        team = [p.mailbox for p in self.office.teams[person.team] if p is not person]
        draw = rng.random()
        if draw < EVERYBODY and len(self.office.people) > 1:
            others = [p.mailbox for p in self.office.people if p is not person]
            company = rng.sample(others, min(40, len(others)))
        elif draw < EVERYBODY + OUTSIDE or not team:
            company = [rng.choice(person.contacts)]
            if team and rng.random() < 0.4:
                company.append(rng.choice(team))
        elif rng.random() < 0.2:
            company = [rng.choice(self.office.people).mailbox]
            if company == [person.mailbox]:
                company = [team[0]]
        else:
            company = rng.sample(team, min(len(team), rng.choice((1, 1, 1, 2, 3, 8))))
        thread = _Thread(self._conversation(), (person.mailbox, *company), person.mailbox, at)
        for member in thread.members:
            if member in self.office.by_mailbox:
                self._recent(member).append(thread)
        return thread

    def _recent(self, mailbox: str) -> deque[_Thread]:
        return self._threads.setdefault(mailbox, deque(maxlen=THREADS_REMEMBERED))

    def _conversation(self) -> str:
        self._made += 1
        return f"office-{self.seed}-{self._made}"

    def _args(self, rng: Random, thread: _Thread, to: list[str], cc: list[str]) -> dict[str, Any]:
        return {
            "to": to,
            "cc": cc,
            "conversation": thread.conversation,
            "has_attachments": rng.random() < 0.15,
        }


class OfficeTraffic:
    """Office mail from `begins_at` (UTC) on. Same office, seed and beginning: same plan."""

    speed: float | None = None

    def __init__(self, office: Office, spec: TrafficSpec, begins_at: datetime) -> None:
        self.office = office
        self.begins_at = begins_at
        self.ends_at: datetime | None = None
        self._seed = spec.seed
        self._minutes = spec.minutes
        self._floor = spec.floor or 0.0
        self._pace = Pace(share=1.0 if spec.readers is None else spec.readers)
        self._paced = self._pace
        self._writer = Writer(office, spec.seed)
        self._planned = {"acts": 0, "records": 0}

    def begin(self, now: datetime, speed: float) -> None:
        """An office begins where the clock is, and ends after the minutes asked for, if any."""
        self.begins_at = now
        if self._minutes is not None:
            self.ends_at = now + timedelta(minutes=self._minutes) * speed
            self._pace = replace(self._pace, until=self.ends_at)
        self.keep_pace(speed)

    def keep_pace(self, speed: float) -> None:
        """Readers keep acts apart in machine time, too."""
        self._paced = self._pace.at_speed(speed)

    def plan(self) -> Iterator[PlannedAct]:
        """Acts in time order; five Graph minutes are made at a time."""
        slot = self.begins_at
        late: list[PlannedAct] = []  # a newsletter of this slot may trail into the next one
        while self.ends_at is None or slot < self.ends_at:
            made = sorted([*late, *self._slot(slot)])
            late = [act for act in made if act.at >= slot + SLOT]
            for act in made[: len(made) - len(late)]:
                if self.ends_at is not None and act.at >= self.ends_at:
                    return
                self._planned["acts"] += 1
                self._planned["records"] += act.records
                yield act
            slot += SLOT

    def reactions(self, act: PlannedAct, result: ActResult) -> list[PlannedAct]:
        """What the receivers do with it, in their working hours."""
        return follow_up(self._seed, act, result, self._paced, self.begins_at, self._hours)

    def progress(self) -> dict[str, Any]:
        """What was planned so far."""
        return {
            "kind": "office",
            "mailboxes": len(self.office.people),
            "planned_acts": self._planned["acts"],
            "planned_records": self._planned["records"],
        }

    def _hours(self, mailbox: str) -> Hours:
        if self._floor:  # a floor is asked for by those who want to see everything at any hour
            return ALWAYS
        person = self.office.by_mailbox.get(mailbox)
        return person.hours if person else ALWAYS

    def _slot(self, start: datetime) -> Iterator[PlannedAct]:
        rng = Random(f"slot/{self._seed}/{start.isoformat()}")
        local = {zone: start.astimezone(ZoneInfo(zone)) for zone in self._zones()}
        share = SLOT / timedelta(hours=1)
        busy = [self._activity(person.hours, local[person.hours.zone]) for person in self._people]
        expected = share * sum(
            level * (person.sends_a_day + person.gets_from_outside_a_day) / 9
            for level, person in zip(busy, self._people, strict=True)
        )
        lift = max(1.0, self._floor * share / expected) if expected else 1.0
        for level, person in zip(busy, self._people, strict=True):
            level *= lift * share / 9
            for _ in range(_poisson(rng, level * person.sends_a_day)):
                yield self._writer.letter(rng, person, start + rng.random() * SLOT)
            for _ in range(_poisson(rng, level * person.gets_from_outside_a_day)):
                sender = rng.choice(person.contacts)
                yield self._writer.from_outside(rng, person, sender, start + rng.random() * SLOT)
            for _ in range(_poisson(rng, share * MACHINE_MAILS_A_DAY / 24)):
                sender = rng.choice(self.office.machines)
                yield self._writer.from_outside(rng, person, sender, start + rng.random() * SLOT)
        yield from self._newsletters(rng, start)

    def _newsletters(self, rng: Random, start: datetime) -> Iterator[PlannedAct]:
        midnight = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for nth, news in enumerate(self.office.lists):
            due = midnight + timedelta(minutes=news.minute)
            if due < start:
                due += timedelta(days=1)
            if due < start + SLOT and (news.weekends or due.weekday() < 5):
                yield from self._writer.newsletter(rng, nth, due)

    @property
    def _people(self) -> tuple[Person, ...]:
        return self.office.people

    def _zones(self) -> set[str]:
        return {person.hours.zone for person in self._people}

    @staticmethod
    def _activity(hours: Hours, local: datetime) -> float:
        if local.weekday() >= 5:
            return WEEKEND_DAY if 9 <= local.hour < 22 else NIGHT
        if hours.works(local):
            return 0.6 if 12 <= local.hour < 13 else 1.0
        return EVENING if hours.first - 1 <= local.hour < 23 else NIGHT


def _poisson(rng: Random, mean: float) -> int:
    """A Poisson number by Knuth's product; means here are far below 30."""
    limit, count, product = math.exp(-min(mean, 30.0)), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
