"""Hours mature: open → settled → final. Kept in `hour`, told in `lake/hours/`.

    open      a mailbox that was watched in it is not proven yet, a gap touches it that is open,
              or its file is not what was committed
    settled   every mailbox is proven by a round that started after it, and no gap is open;
              what cannot be known is named by gaps that ended `partial`
    final     settled and seven days old, or as old with nothing left that a round could prove

A settled hour opens again when something is found that may be missing in it; a final one stays.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import text

from outlook_lake.clock import from_us, graph_us, hour_name
from outlook_lake.lake.completeness import HOUR_US, Completeness, Counts
from outlook_lake.state.database import Database

__all__ = ["FINAL_US", "mature"]

FINAL_US = 7 * 24 * HOUR_US
"""Graph time after an hour's end: by then whoever could come back has been asked daily."""
KEPT_US = 92 * 24 * HOUR_US
"""Counts of final hours follow what is filled late for so long (Graph time)."""

_HOURS = text(
    "SELECT domain_id, hour, maturity, mailboxes, complete, gaps, "
    "sealed_seq >= 0 AND dirty_seq <= sealed_seq AS is_sealed FROM hour "
    "WHERE maturity <> 'final' OR hour >= :since"
)
_CHANGE = text(
    "UPDATE hour SET maturity = CASE WHEN maturity = 'final' THEN maturity ELSE :maturity END, "
    "mailboxes = :mailboxes, complete = :complete, gaps = :gaps "
    "WHERE domain_id = :domain_id AND hour = :hour"
)


def mature(db: Database) -> dict[str, int]:
    """Bring maturity and counts of all hours up to date; returns how many hours became what."""
    now = graph_us()
    became: Counter[str] = Counter()
    with db.read() as connection:
        completeness = Completeness(connection)
        changes = []
        for row in connection.execute(_HOURS, {"since": hour_name(from_us(now - KEPT_US))}):
            counts = completeness.of(row.domain_id, row.hour)
            maturity = row.maturity
            if maturity != "final":
                maturity = _maturity(counts, _is_old(row.hour, now), bool(row.is_sealed))
            told = (maturity, counts.mailboxes, counts.complete, counts.gaps)
            if told == (row.maturity, row.mailboxes, row.complete, row.gaps):
                continue
            changes.append(
                {
                    "domain_id": row.domain_id,
                    "hour": row.hour,
                    "maturity": maturity,
                    "mailboxes": counts.mailboxes,
                    "complete": counts.complete,
                    "gaps": counts.gaps,
                }
            )
            became[maturity] += maturity != row.maturity
    if changes:  # writers wait only for what changed
        with db.write() as connection:
            connection.execute(_CHANGE, changes)
    return {name: count for name, count in became.items() if count}


def _maturity(counts: Counts, is_old: bool, is_sealed: bool) -> str:
    if not is_sealed:
        return "open"
    if counts.is_whole:
        return "final" if is_old else "settled"
    return "final" if is_old and not counts.waiting else "open"


def _is_old(hour: str, now: int) -> bool:
    return hour < hour_name(from_us(now - FINAL_US))
