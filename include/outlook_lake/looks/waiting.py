"""Which mailboxes wait for a full round that somebody wants: the work list, and the doorbell's.

Light on purpose: whoever only asks whether there is work imports no engine.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, text

from outlook_lake import clock

__all__ = ["round_start", "rounds_left", "waiting", "waiting_rounds"]

SECOND_US = 1_000_000

WAITING = """
    SELECT m.mailbox_id, m.tenant_id FROM mailbox m
    WHERE m.round_wanted_at <= :started AND m.state = 'live'
      AND m.pause_until <= :now AND m.lease_until < :now
"""


def round_start() -> int:
    """The earliest `Date` (Graph us, cut to the second) a round that starts now can have."""
    return clock.graph_us() // SECOND_US * SECOND_US


def waiting(connection: Connection) -> bool:
    """Whether any wanted round could be carried out now, in any tenant and lane."""
    row = connection.execute(
        text(f"{WAITING} LIMIT 1"), {"started": round_start(), "now": clock.machine_us()}
    ).first()
    return row is not None


def rounds_left(
    connection: Connection, *, tenants: Collection[str], without: Collection[int] = ()
) -> int:
    """Wanted rounds of live mailboxes, also those that have to wait before they can start."""
    return int(
        connection.execute(
            text(
                "SELECT count(*) FROM mailbox WHERE round_wanted_at <= :now AND state = 'live' "
                "AND tenant_id IN :tenants AND mailbox_id NOT IN :without"
            ).bindparams(
                bindparam("tenants", expanding=True), bindparam("without", expanding=True)
            ),
            {"now": clock.graph_us(), "tenants": sorted(tenants), "without": sorted(without)},
        ).scalar_one()
    )


def waiting_rounds(
    connection: Connection,
    *,
    lane: int,
    lanes: int,
    most: int,
    tenants: Collection[str],
    without: Collection[int] = (),
) -> list[int]:
    """Mailboxes of a lane whose wanted round could start now, longest waiting first."""
    rows = connection.execute(
        text(
            f"{WAITING} AND m.shard % :lanes = :lane AND m.tenant_id IN :tenants "
            "AND m.mailbox_id NOT IN :without ORDER BY m.round_wanted_at LIMIT :most"
        ).bindparams(bindparam("tenants", expanding=True), bindparam("without", expanding=True)),
        {
            "started": round_start(),
            "now": clock.machine_us(),
            "lane": lane,
            "lanes": lanes,
            "most": most,
            "tenants": sorted(tenants),
            "without": sorted(without),
        },
    )
    return [row.mailbox_id for row in rows]
