"""Leases: who may look at a mailbox, and who does work that one process at a time does.

A lease is taken by one UPDATE that counts its fence up; a commit checks the fences of all it
touches. Times here are machine time. Nobody sleeps under a lease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, text

from outlook_lake import clock
from outlook_lake.state.database import Database

__all__ = ["Lease", "claim_due", "claim_in_state", "named", "release", "renew"]

NAMED_LEASE_S = 60.0

FRESH_S = 10.0
"""So long (machine time) a due hint keeps its mailbox free for the stream; when none has come by
then, none runs, and whoever primes goes on."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One mailbox, held: everything a look needs to know about it. Times in microseconds."""

    mailbox_id: int
    tenant_id: str
    aad_id: str
    shard: int
    fence: int
    state: str
    watch_from: int | None


CLAIM = """
    UPDATE mailbox SET lease_by = :owner, lease_until = :until, fence = fence + 1
    WHERE mailbox_id IN ({chosen})
      AND (lease_until < :now OR lease_by = :owner)
    RETURNING mailbox_id, tenant_id, aad_id, shard, fence, state, watch_from
"""

DUE = """
    SELECT m.mailbox_id FROM mailbox m
    WHERE m.state IN ('priming', 'live') AND m.pause_until <= :now
      AND m.shard % :lanes = :lane {only}
      AND (m.lease_until < :now OR m.lease_by = :owner)
      AND EXISTS (SELECT 1 FROM hint h WHERE h.mailbox_id = m.mailbox_id AND h.due_at <= :now)
    ORDER BY m.lease_until LIMIT :most {locked}
"""

DUE_SQLITE = """
    SELECT d.mailbox_id FROM (SELECT DISTINCT mailbox_id FROM hint WHERE due_at <= :now) d
    JOIN mailbox m ON m.mailbox_id = d.mailbox_id
    WHERE m.state IN ('priming', 'live') AND m.pause_until <= :now
      AND m.shard % :lanes = :lane {only}
      AND (m.lease_until < :now OR m.lease_by = :owner)
    LIMIT :most
"""

IN_STATE = """
    SELECT m.mailbox_id FROM mailbox m
    WHERE m.state = :state AND m.pause_until <= :now {only}
      AND (m.lease_until < :now OR m.lease_by = :owner)
      AND NOT EXISTS (SELECT 1 FROM hint h WHERE h.mailbox_id = m.mailbox_id
                      AND h.due_at <= :now AND h.due_at > :fresh)
    ORDER BY m.lease_until, m.mailbox_id LIMIT :most {locked}
"""


THESE = """
    SELECT m.mailbox_id FROM mailbox m
    WHERE m.mailbox_id IN ({chosen}) AND m.pause_until <= :now
      AND m.state IN ('priming', 'live')
"""


def claim_due(
    db: Database,
    owner: str,
    lease_s: float,
    *,
    lane: int,
    lanes: int,
    most: int,
    tenants: Collection[str],
) -> list[Lease]:
    """Lease up to `most` mailboxes of a lane, of these tenants, that have a hint due."""
    only, values = _only(tenants)
    if db.is_sqlite:
        query = DUE_SQLITE.format(only=only)
    else:
        query = DUE.format(only=only, locked="FOR UPDATE SKIP LOCKED")
    values |= {"lane": lane, "lanes": lanes, "most": most}
    return _claim(db, query, owner, lease_s, values)


def claim_in_state(
    db: Database,
    owner: str,
    lease_s: float,
    *,
    state: str,
    most: int,
    tenants: Collection[str],
) -> list[Lease]:
    """Lease up to `most` mailboxes of these tenants in a state, those untouched longest first.

    Live work outranks this: a mailbox with a hint that became due just now is left to the stream.
    """
    only, values = _only(tenants)
    values["fresh"] = clock.machine_us() - int(FRESH_S * 1_000_000)
    query = IN_STATE.format(only=only, locked="" if db.is_sqlite else "FOR UPDATE SKIP LOCKED")
    return _claim(db, query, owner, lease_s, values | {"state": state, "most": most})


def claim_these(
    db: Database, owner: str, lease_s: float, mailbox_ids: Sequence[int]
) -> list[Lease]:
    """Lease the named mailboxes, as far as they may be asked now and nobody else holds them."""
    claimed: list[Lease] = []
    for start in range(0, len(mailbox_ids), 500):
        some = mailbox_ids[start : start + 500]
        chosen = ",".join(str(int(mailbox_id)) for mailbox_id in some)
        claimed += _claim(db, THESE.format(chosen=chosen), owner, lease_s, {})
    return claimed


def _only(tenants: Collection[str]) -> tuple[str, dict[str, object]]:
    names = {f"tenant{number}": tenant for number, tenant in enumerate(sorted(tenants))}
    marks = ", ".join(f":{name}" for name in names) or "NULL"
    return f"AND m.tenant_id IN ({marks})", dict(names)


def _claim(
    db: Database, chosen: str, owner: str, lease_s: float, values: dict[str, object]
) -> list[Lease]:
    now = clock.machine_us()
    statement = text(CLAIM.format(chosen=chosen))
    with db.write() as connection:
        rows = connection.execute(
            statement,
            {"owner": owner, "now": now, "until": now + int(lease_s * 1_000_000), **values},
        ).all()
    return [Lease(*row) for row in rows]


def renew(db: Database, owner: str, lease_s: float) -> int:
    """Prolong everything an owner holds, by one UPDATE; returns how many."""
    now = clock.machine_us()
    with db.write() as connection:
        return connection.execute(
            text(
                "UPDATE mailbox SET lease_until = :until "
                "WHERE lease_by = :owner AND lease_until >= :now"
            ),
            {"owner": owner, "now": now, "until": now + int(lease_s * 1_000_000)},
        ).rowcount


def release(connection: Connection, leases: Sequence[Lease]) -> None:
    """Give mailboxes back inside a transaction; a lease lost meanwhile is left alone."""
    if leases:
        connection.execute(
            text(
                "UPDATE mailbox SET lease_until = 0 "
                "WHERE mailbox_id = :mailbox_id AND fence = :fence"
            ).bindparams(bindparam("mailbox_id"), bindparam("fence")),
            [{"mailbox_id": lease.mailbox_id, "fence": lease.fence} for lease in leases],
        )


@contextmanager
def named(db: Database, name: str, owner: str, lease_s: float = NAMED_LEASE_S) -> Iterator[bool]:
    """Hold the lease of a kind of work; yields False at once when somebody else has it.

    A holder that dies is waited for `lease_s` (machine time), so it should be short.
    """
    now = clock.machine_us()
    with db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO lease (name, lease_until, fence) VALUES (:name, 0, 0) "
                "ON CONFLICT (name) DO NOTHING"
            ),
            {"name": name},
        )
        held = connection.execute(
            text(
                "UPDATE lease SET lease_by = :owner, lease_until = :until, fence = fence + 1 "
                "WHERE name = :name AND (lease_until < :now OR lease_by = :owner)"
            ),
            {"name": name, "owner": owner, "now": now, "until": now + int(lease_s * 1_000_000)},
        ).rowcount
    try:
        yield bool(held)
    finally:
        if held:
            with db.write() as connection:
                connection.execute(
                    text(
                        "UPDATE lease SET lease_until = 0 WHERE name = :name AND lease_by = :owner"
                    ),
                    {"name": name, "owner": owner},
                )
