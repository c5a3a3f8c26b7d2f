"""The invented company: people in teams, where they live, whom they write to.

Everything is made from the seed. Outside names end in `.example`, which nobody can own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from graph_simulator.traffic.readers import Hours

__all__ = ["NewsList", "Office", "Person", "found_office"]

ZONES = (
    ("Europe/Berlin", 0.3),
    ("America/New_York", 0.3),
    ("America/Los_Angeles", 0.15),
    ("Asia/Kolkata", 0.15),
    ("Asia/Tokyo", 0.1),
)
LISTS = ("morning-brief", "industry-weekly", "price-watch", "travel-desk", "training", "lunch-menu")
FIRMS = (
    "harbour-freight", "north-audit", "blue-legal", "metro-bank", "paper-mill", "sunrise-energy",
    "cargo-lines", "field-surveys", "city-works", "open-insure", "steel-yard", "river-foods",
)  # fmt: skip
CONTACTS_A_FIRM = 7


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a mailbox: the number of their team, their hours, mails sent a working day."""

    mailbox: str
    team: int
    hours: Hours
    sends_a_day: float
    gets_from_outside_a_day: float
    contacts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewsList:
    """A newsletter: who sends it, at which minute of the UTC day, to whom, on weekends too?"""

    sender: str
    minute: int
    readers: tuple[str, ...]
    weekends: bool


@dataclass(frozen=True)
class Office:
    """The whole company."""

    people: tuple[Person, ...]
    lists: tuple[NewsList, ...]
    machines: tuple[str, ...]
    """Outside services that write at any hour: monitoring, tickets, parcels."""

    @cached_property
    def teams(self) -> dict[int, tuple[Person, ...]]:
        """The people of each team."""
        members: dict[int, list[Person]] = {}
        for person in self.people:
            members.setdefault(person.team, []).append(person)
        return {team: tuple(them) for team, them in members.items()}

    @cached_property
    def by_mailbox(self) -> dict[str, Person]:
        """Everybody by address."""
        return {person.mailbox: person for person in self.people}


def found_office(mailboxes: Sequence[str], seed: int) -> Office:
    """Put the owners of `mailboxes` into teams of 4 to 9, each team in one time zone."""
    rng = Random(f"office/{seed}")
    outside = [
        f"contact{nth}@{firm}.example" for firm in FIRMS for nth in range(1, CONTACTS_A_FIRM + 1)
    ]
    people: list[Person] = []
    team = 0
    left = 0
    zone, contacts = "UTC", outside
    for mailbox in mailboxes:
        if not left:
            team += 1
            left = rng.randint(4, 9)
            zone = rng.choices([z for z, _ in ZONES], [w for _, w in ZONES])[0]
            contacts = rng.sample(outside, 12)
        left -= 1
        first = rng.choice((7, 8, 8, 9, 9, 10))
        people.append(
            Person(
                mailbox=mailbox,
                team=team,
                hours=Hours(zone, first, first + rng.choice((8, 9, 9, 10)), weekends=False),
                sends_a_day=min(80.0, rng.lognormvariate(2.6, 0.8)),
                gets_from_outside_a_day=min(60.0, rng.lognormvariate(2.0, 0.9)),
                contacts=tuple(rng.sample(contacts, 6)),
            )
        )
    lists = tuple(
        NewsList(
            sender=f"{name}@news.example",
            minute=rng.randrange(24 * 60),
            readers=tuple(m for m in mailboxes if rng.random() < 0.25),
            weekends=rng.random() < 0.3,
        )
        for name in LISTS
    )
    machines = ("monitoring@status.example", "tickets@service-desk.example", "parcels@post.example")
    return Office(tuple(people), lists, machines)
