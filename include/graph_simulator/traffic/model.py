"""The words that planners, readers and the player share.

A *plan* is a stream of acts in time order. A *reaction* is what a person does later with
something that arrived. A *record* is one message in one mailbox: a send makes one in Sent
Items and one for each recipient who has a mailbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from graph_simulator.traffic.errors import TrafficSpecError
from graph_simulator.world.model import ActResult

__all__ = ["ActResult", "Arrival", "PlannedAct", "Traffic", "TrafficSpec"]

DEFAULT_FILE_MAILBOXES = 300
DEFAULT_OFFICE_MAILBOXES = 50
DEFAULT_LIMIT = 24_000


@dataclass(frozen=True, slots=True)
class PlannedAct:
    """One thing one person (or the outside world) is going to do.

    `at` is aware UTC Graph time; `mailbox` an address or Entra object id; `do` and `args` are
    those of the simulator's act call. `records` is how many messages come into being.
    """

    at: datetime
    mailbox: str
    do: str
    args: dict[str, Any]
    records: int = 0

    def __lt__(self, other: PlannedAct) -> bool:
        return self.at < other.at


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came to lie in somebody's mailbox."""

    mailbox: str
    item_id: str


class Traffic(Protocol):
    """Something that can be played into a simulated tenant."""

    @property
    def begins_at(self) -> datetime:
        """Graph time (UTC) to which the clock goes when the play starts."""

    @property
    def ends_at(self) -> datetime | None:
        """Graph time (UTC) after which nothing is played; None = endless."""

    @property
    def speed(self) -> float | None:
        """Graph seconds a machine second; None = leave the clock's speed alone."""

    def begin(self, now: datetime, speed: float) -> None:
        """The play starts at Graph time `now` (UTC), with the clock at `speed`."""

    def keep_pace(self, speed: float) -> None:
        """The clock's speed changed: people act apart enough for a watcher to tell acts apart."""

    def plan(self) -> Iterator[PlannedAct]:
        """Acts in time order, made as they are asked for; asked for after `begin`."""

    def reactions(self, act: PlannedAct, result: ActResult) -> list[PlannedAct]:
        """What readers will do with what `act` delivered (or go on to do after it)."""

    def progress(self) -> dict[str, Any]:
        """Counts as a JSON-able dict without addresses."""


@dataclass(frozen=True, slots=True)
class TrafficSpec:
    """One traffic request, checked. Times of day are local to `time_zone`."""

    generator: bool = False
    """Play the seeded office instead of a file."""
    file: Path | None = None
    """Parquet file to replay."""
    minutes: float | None = None
    """Machine minutes. A file is played in them, which sets the clock's speed (None: the speed
    is left alone); the generator ends after them, at the speed it began with (None: never)."""
    mailboxes: int | None = None
    """How many mailboxes: the busiest of the file (300), or people of the office (50)."""
    unfolded: bool = False
    """Keep the dates of the file instead of laying all days on one."""
    seed: int = 0
    """Same seed, same plan."""
    rate: float | None = None
    """Generator only: mailbox records plus readers' acts a second of Graph time, constant."""
    floor: float | None = None
    """Generator only: at least so many new messages a Graph hour, also at night."""
    limit: int | None = DEFAULT_LIMIT
    """File only: take whole days until this many mailbox records are reached; None = all days."""
    readers: float | None = None
    """Share (0-1) of arrived messages that somebody touches; None = 0.25 (file), 1 (office)."""
    time_zone: str = "America/Chicago"
    """File only: IANA zone whose wall time the senders lived by."""
    day: date | None = None
    """File only: the day to lay everything on; None = Wednesday of the last whole week."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself or lies out of range, naming the first fault."""
        if (self.file is None) != self.generator:
            raise TrafficSpecError(
                "traffic needs exactly one of 'file' and 'generator'",
                'Send {"file": "PATH.parquet"} or {"generator": true}',
            )
        for name in ("minutes", "rate", "floor"):
            _check(name, getattr(self, name), lambda n: n > 0, "a number above 0")
        _check("readers", self.readers, lambda n: 0 <= n <= 1, "a number from 0 to 1")
        for name in ("mailboxes", "limit"):
            _check(name, getattr(self, name), lambda n: n >= 1, "a whole number from 1 up", int)
        _check("seed", self.seed, lambda n: n >= 0, "a whole number from 0 up", int)
        if self.generator and self.unfolded:
            raise TrafficSpecError("unfolded belongs to a file", "Leave it out, or name a file")
        if self.file is not None and (self.rate or self.floor):
            raise TrafficSpecError(
                "rate and floor belong to the generator", 'Leave them out, or use "minutes"'
            )
        _check_zone(self.time_zone)

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> TrafficSpec:
        """The request of a control call or a command line; None stands for "not given".

        `all_days` true is the same as no `limit`. Raises TrafficSpecError.
        """
        given = {name: value for name, value in spec.items() if value is not None}
        known = {one.name for one in fields(cls)} | {"all_days"}
        for name in given:
            if name not in known:
                raise TrafficSpecError(
                    f"unknown traffic option {name!r}", f"Use some of: {', '.join(sorted(known))}"
                )
        for name in ("generator", "unfolded", "all_days"):
            if not isinstance(given.get(name, False), bool):
                raise TrafficSpecError(f"{name} is {given[name]!r}", "Use true or false")
        if given.pop("all_days", False):
            given["limit"] = None
        if "file" in given:
            given["file"] = Path(str(given["file"]))
        if "day" in given:
            given["day"] = _day(given["day"])
        return cls(**given)


def _check(
    name: str,
    value: Any,
    fits: Callable[[Any], bool],
    wanted: str,
    kind: type = float,
) -> None:
    """Refuse a number that is none, or does not fit; None is not given."""
    if value is None:
        return
    kinds = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not fits(value):
        raise TrafficSpecError(f"{name} is {value!r}", f"Use {wanted}")


def _check_zone(name: object) -> None:
    try:
        ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TrafficSpecError(
            f"time zone {name!r} is not known", "Use an IANA name such as Europe/Berlin"
        ) from None


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise TrafficSpecError(f"day is {value!r}", "Use the form 2026-11-18") from None
