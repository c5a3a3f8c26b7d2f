"""The words that planners, readers and the player share.

A *plan* is a stream of acts in time order. A *reaction* is what a person does later with
something that arrived. A *record* is one message in one mailbox: a send makes one in Sent
Items and one for each recipient who has a mailbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    def plan(self) -> Iterator[PlannedAct]:
        """Acts in time order, made as they are asked for."""

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
    """Machine minutes the replay takes; None = do not touch the clock's speed."""
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

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> TrafficSpec:
        """Check a request of the control API.

        Raises TrafficSpecError naming the first fault and what to write instead.
        """
        known = {f.name for f in fields(cls)} | {"all_days"}
        for name in spec:
            if name not in known:
                raise TrafficSpecError(
                    f"unknown traffic option {name!r}", f"Use some of: {', '.join(sorted(known))}"
                )
        file = spec.get("file")
        if bool(file) == bool(spec.get("generator")):
            raise TrafficSpecError(
                "traffic needs exactly one of 'file' and 'generator'",
                'Send {"file": "PATH.parquet"} or {"generator": true}',
            )
        whole_file = bool(spec.get("all_days"))
        return cls(
            generator=bool(spec.get("generator")),
            file=Path(str(file)) if file else None,
            minutes=_number(spec, "minutes", above=0),
            mailboxes=_whole(spec, "mailboxes"),
            unfolded=bool(spec.get("unfolded")),
            seed=_whole(spec, "seed", least=0) or 0,
            rate=_number(spec, "rate", above=0),
            floor=_number(spec, "floor", above=0),
            limit=None if whole_file else _whole(spec, "limit") or DEFAULT_LIMIT,
            readers=_share(spec, "readers"),
            time_zone=_zone(spec.get("time_zone") or "America/Chicago"),
            day=_day(spec.get("day")),
        )


def _number(spec: Mapping[str, Any], name: str, *, above: float) -> float | None:
    value = spec.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > above:
        raise TrafficSpecError(f"{name} is {value!r}", f"Use a number above {above:g}")
    return float(value)


def _whole(spec: Mapping[str, Any], name: str, *, least: int = 1) -> int | None:
    value = spec.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TrafficSpecError(f"{name} is {value!r}", f"Use a whole number from {least} up")
    return value


def _share(spec: Mapping[str, Any], name: str) -> float | None:
    value = spec.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise TrafficSpecError(f"{name} is {value!r}", "Use a number from 0 to 1")
    return float(value)


def _zone(name: object) -> str:
    try:
        return ZoneInfo(str(name)).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TrafficSpecError(
            f"time zone {name!r} is not known", "Use an IANA name such as Europe/Berlin"
        ) from None


def _day(value: object) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise TrafficSpecError(f"day is {value!r}", "Use the form 2026-11-18") from None
