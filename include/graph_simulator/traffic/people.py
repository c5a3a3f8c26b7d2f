"""The people of a simulated company: teams, hours, whom they know, which lists they get.

Everything beyond the mailbox itself is made from the seed. Outside names end in `.example`,
which nobody can own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from graph_simulator.traffic.readers import Hours

__all__ = ["NewsList", "Office", "Person", "Seat", "found_office"]

LISTS = ("morning-brief", "industry-weekly", "price-watch", "travel-desk", "training", "lunch-menu")
FIRMS = (
    "harbour-freight", "north-audit", "blue-legal", "metro-bank", "paper-mill", "sunrise-energy",
    "cargo-lines", "field-surveys", "city-works", "open-insure", "steel-yard", "river-foods",
)  # fmt: skip
MACHINES = ("monitoring@status.example", "tickets@service-desk.example", "parcels@post.example")
CONTACTS_A_FIRM = 7
LEAST_TEAM, MOST_TEAM = 4, 9


@dataclass(frozen=True, slots=True)
class Seat:
    """A mailbox as the directory knows it: address, object id, department, hours."""

    address: str
    aad_id: str
    department: str
    hours: Hours


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a mailbox: the number of their team, their hours, messages a working day."""

    mailbox: str
    aad_id: str
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
    """The whole company. `machines` are outside services that write at any hour."""

    people: tuple[Person, ...]
    lists: tuple[NewsList, ...]
    machines: tuple[str, ...] = MACHINES

    @cached_property
    def teams(self) -> dict[int, tuple[Person, ...]]:
        """The people of each team."""
        members: dict[int, list[Person]] = {}
        for person in self.people:
            members.setdefault(person.team, []).append(person)
        return {team: tuple(them) for team, them in members.items()}

    @cached_property
    def by_mailbox(self) -> dict[str, Person]:
        """Everybody by address and by object id."""
        return {key: person for person in self.people for key in (person.mailbox, person.aad_id)}


def found_office(seats: Sequence[Seat], seed: int) -> Office:
    """Put people into teams of 4 to 9 from one department, and give them ways and contacts."""
    rng = Random(f"office/{seed}")
    outside = [
        f"contact{nth}@{firm}.example" for firm in FIRMS for nth in range(1, CONTACTS_A_FIRM + 1)
    ]
    people: list[Person] = []
    for number, team in enumerate(_teams(rng, seats), start=1):
        partners = rng.sample(outside, 12)
        people += [
            Person(
                mailbox=seat.address,
                aad_id=seat.aad_id,
                team=number,
                hours=seat.hours,
                sends_a_day=min(80.0, rng.lognormvariate(2.6, 0.8)),
                gets_from_outside_a_day=min(60.0, rng.lognormvariate(2.0, 0.9)),
                contacts=tuple(rng.sample(partners, 6)),
            )
            for seat in team
        ]
    lists = tuple(
        NewsList(
            sender=f"{name}@news.example",
            minute=rng.randrange(24 * 60),
            readers=tuple(seat.address for seat in seats if rng.random() < 0.25),
            weekends=rng.random() < 0.3,
        )
        for name in LISTS
    )
    return Office(tuple(people), lists)


def _teams(rng: Random, seats: Sequence[Seat]) -> Iterator[list[Seat]]:
    departments: dict[str, list[Seat]] = {}
    for seat in seats:
        departments.setdefault(seat.department, []).append(seat)
    for colleagues in departments.values():
        first = 0
        while first < len(colleagues):
            size = rng.randint(LEAST_TEAM, MOST_TEAM)
            yield colleagues[first : first + size]
            first += size
