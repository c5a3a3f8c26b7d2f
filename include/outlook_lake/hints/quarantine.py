"""What was refused, counted by minute, stage and reason; content never gets here."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from outlook_lake import clock
from outlook_lake.receiver.segments import Quarantined
from outlook_lake.state.tables import quarantine

__all__ = ["add", "merge"]

MINUTE_US = 60_000_000
SAMPLES = 20


def add(connection: Connection, stage: str, reason: str, size: int, count: int = 1) -> None:
    """Count one refusal at this minute (machine time)."""
    minute = clock.machine_us() // MINUTE_US * MINUTE_US
    _count(connection, minute, stage, reason, count, size, [])


def merge(connection: Connection, entries: Iterable[Quarantined]) -> None:
    """Add the counts a receiver kept in its segment."""
    for entry in entries:
        _count(
            connection,
            entry.minute,
            entry.stage,
            entry.reason,
            entry.count,
            entry.bytes,
            [list(sample) for sample in entry.samples],
        )


def _count(
    connection: Connection,
    minute: int,
    stage: str,
    reason: str,
    count: int,
    size: int,
    samples: list[list[object]],
) -> None:
    key = (
        (quarantine.c.minute == minute)
        & (quarantine.c.stage == stage)
        & (quarantine.c.reason == reason)
    )
    row = connection.execute(select(quarantine).where(key)).first()
    if row is None:
        connection.execute(
            quarantine.insert(),
            {
                "minute": minute,
                "stage": stage,
                "reason": reason,
                "count": count,
                "bytes": size,
                "samples": samples[:SAMPLES],
            },
        )
        return
    connection.execute(
        update(quarantine)
        .where(key)
        .values(
            count=quarantine.c.count + count,
            bytes=quarantine.c.bytes + size,
            samples=(list(row.samples) + samples)[:SAMPLES],
        )
    )
