"""What a step did to hours, in the words of a run's note."""

from __future__ import annotations

from sqlalchemy import text

from outlook_lake.lake.completeness import Completeness, Counts
from outlook_lake.lake.export import ExportReport
from outlook_lake.state.database import Database

__all__ = ["added_hours", "newest_batch", "proof_of", "told_of_catch_up", "told_of_export"]

MOST_HOURS = 12
"""So many hours are named one by one."""

_NEWEST = text("SELECT coalesce(max(seq), 0) FROM batch")
_ADDED = text(
    "SELECT part.hour, sum(part.rows) AS events FROM batch "
    "JOIN batch_hour AS part ON part.seq = batch.seq "
    "WHERE batch.seq > :after AND batch.run_id = :run_id GROUP BY part.hour ORDER BY part.hour"
)
_TENANTS = text(
    "SELECT domain_id FROM tenant WHERE CAST(:tenant AS TEXT) IS NULL OR domain_id = :tenant"
)


def newest_batch(db: Database) -> int:
    """The highest batch so far: what comes after it is new."""
    with db.read() as connection:
        return int(connection.execute(_NEWEST).scalar_one())


def added_hours(db: Database, run_id: str, after: int) -> dict[str, int]:
    """Events that `run_id` added since that batch, by their hour."""
    with db.read() as connection:
        rows = connection.execute(_ADDED, {"run_id": run_id, "after": after}).all()
    return {row.hour: int(row.events) for row in rows}


def proof_of(db: Database, hour: str, tenant: str | None) -> Counts:
    """How complete an hour is now, over the tenants that were asked for."""
    with db.read() as connection:
        completeness = Completeness(connection)
        counts = [
            completeness.of(row.domain_id, hour)
            for row in connection.execute(_TENANTS, {"tenant": tenant})
        ]
    return Counts(
        mailboxes=sum(one.mailboxes for one in counts),
        complete=sum(one.complete for one in counts),
        gaps=sum(one.gaps for one in counts),
        open_gaps=sum(one.open_gaps for one in counts),
        waiting=sum(one.waiting for one in counts),
    )


def told_of_catch_up(
    hour: str | None, proof: Counts | None, rounds: int, full: int, added: dict[str, int]
) -> str:
    """`2026-11-24T09: 20 of 20 mailboxes proven; 20 rounds (20 full); added …`."""
    parts = []
    if proof is not None and not proof.mailboxes:
        parts.append(f"{hour}: nobody was watched then")
    elif proof is not None:
        open_gaps = f", {proof.open_gaps:,} open gaps" if proof.open_gaps else ""
        parts.append(
            f"{hour}: {proof.complete:,} of {proof.mailboxes:,} mailboxes proven{open_gaps}"
        )
    parts.append(f"{rounds:,} rounds ({full:,} full)" if rounds else "no round was needed")
    if rounds:
        parts.append(_added(added))
    return "; ".join(parts)


def told_of_export(hour: str, report: ExportReport) -> str:
    """`2026-11-24T09 written again: contoso.example 431 events, as before`."""
    if report.not_over:
        return f"{hour} is not over yet"
    if not report.sealed:
        return f"{hour}: nobody was watched then, there is no such file"
    files = ", ".join(
        f"{one.domain_id} {one.rows:,} events, {'changed' if one.changed else 'as before'}"
        for one in report.sealed
    )
    return f"{hour} written again: {files}"


def _added(added: dict[str, int]) -> str:
    if not added:
        return "nothing was missing"
    named = [f"{hour} +{events:,}" for hour, events in list(added.items())[-MOST_HOURS:]]
    others = len(added) - len(named)
    more = f" and {others} earlier hours" if others else ""
    return f"added {sum(added.values()):,} events: {', '.join(named)}{more}"
