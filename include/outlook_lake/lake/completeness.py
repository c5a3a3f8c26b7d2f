"""How complete every hour is, from watermarks and gaps: no row per mailbox and hour is kept.

Whether a mailbox is proven for an hour depends on three hours only: the one in which watching
began, the one its watermark lies in, and the hours its gaps touch. Counted by these, 100,000
mailboxes are a few hundred rows, and 876 million mailbox-hours a year are never made.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from outlook_lake.clock import parse_hour, to_us

__all__ = ["HOUR_US", "Completeness", "Counts"]

HOUR_US = 3_600_000_000

_KIND = (
    "CASE WHEN m.state IN ('leaving', 'erased') THEN 'left' "
    "WHEN m.state = 'parked' THEN 'parked' ELSE 'here' END"
)
_SPANS = text(
    f"SELECT t.domain_id, {_KIND} AS kind, m.watch_from / :hour AS began, "
    "coalesce(m.complete_through, m.watch_from) / :hour AS proven, count(*) AS mailboxes "
    "FROM mailbox m JOIN tenant t ON t.tenant_id = m.tenant_id "
    "WHERE m.watch_from IS NOT NULL GROUP BY 1, 2, 3, 4"
)
_GAPS = text(
    f"SELECT t.domain_id, {_KIND} AS kind, g.state, g.from_at / :hour AS first, "
    "(g.to_at - 1) / :hour AS last, count(*) AS gaps "
    "FROM gap g JOIN mailbox m ON m.mailbox_id = g.mailbox_id "
    "JOIN tenant t ON t.tenant_id = m.tenant_id "
    "WHERE g.state <> 'filled' AND g.from_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is to be said of one tenant's hour."""

    mailboxes: int
    """Watched in it; who left counts for as long as it was proven."""
    complete: int
    """Of these, proven by a round that started after the hour."""
    gaps: int
    """Gaps that touch it and are not filled."""
    open_gaps: int
    """Of these, neither filled nor ended with their loss named."""
    waiting: int
    """Mailboxes and open gaps that a round can still prove: nobody is parked there."""

    @property
    def is_whole(self) -> bool:
        """Somebody was watched, everybody is proven, and nothing is open."""
        return 0 < self.mailboxes == self.complete and not self.open_gaps


class Completeness:
    """The state of one moment; all hours can be asked for."""

    def __init__(self, connection: Connection) -> None:
        steps: dict[tuple[str, str], dict[int, int]] = {}

        def step(domain_id: str, what: str, hour: int, by: int) -> None:
            at = steps.setdefault((domain_id, what), {})
            at[hour] = at.get(hour, 0) + by

        for row in connection.execute(_SPANS, {"hour": HOUR_US}):
            step(row.domain_id, "mailboxes", row.began, row.mailboxes)
            step(row.domain_id, "complete", row.began, row.mailboxes)
            step(row.domain_id, "complete", row.proven, -row.mailboxes)
            if row.kind == "left":
                step(row.domain_id, "mailboxes", row.proven, -row.mailboxes)
            elif row.kind == "here":
                step(row.domain_id, "waiting", row.proven, row.mailboxes)
        for row in connection.execute(_GAPS, {"hour": HOUR_US}):
            if row.last is not None and row.last < row.first:
                continue  # without any extent, on the stroke
            what = ["gaps"]
            if row.state == "open":
                what += ["open_gaps", *(["waiting"] if row.kind == "here" else [])]
            for one in what:
                step(row.domain_id, one, row.first, row.gaps)
                if row.last is not None:
                    step(row.domain_id, one, row.last + 1, -row.gaps)
        self._sums = {key: _Sums(at) for key, at in steps.items()}

    def of(self, domain_id: str, hour: str) -> Counts:
        """The counts of a tenant's hour, `YYYY-MM-DDTHH`."""
        return self.at(domain_id, to_us(parse_hour(hour)) // HOUR_US)

    def at(self, domain_id: str, number: int) -> Counts:
        """The same, by the hour's number since 1970."""
        counted = {
            name: self._sums[domain_id, name].at(number) if (domain_id, name) in self._sums else 0
            for name in ("mailboxes", "complete", "gaps", "open_gaps", "waiting")
        }
        return Counts(**counted)


class _Sums:
    """A count that changes at some hours: its value at any hour."""

    def __init__(self, steps: Mapping[int, int]) -> None:
        self._hours = sorted(steps)
        self._values: list[int] = []
        total = 0
        for hour in self._hours:
            total += steps[hour]
            self._values.append(total)

    def at(self, hour: int) -> int:
        place = bisect_right(self._hours, hour)
        return self._values[place - 1] if place else 0
