"""Settle: what rounds have proven becomes closed gaps and ripe hours.

    receivers that were away ─┐
    folders whose state died ─┴▶ gaps ─▶ closed by proof ─▶ hours mature ─▶ lake/hours, lake/gaps

Cheap and set-based: it runs at the end of whatever may have proven something, as often as
anybody likes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, text

from outlook_lake import clock
from outlook_lake.coverage import proof, receivers
from outlook_lake.lake import hours_table
from outlook_lake.settings import Settings
from outlook_lake.state import Database

__all__ = ["Settled", "settle"]

_LOST_FOLDERS = (
    "SELECT 1 FROM folder f WHERE f.mailbox_id = m.mailbox_id "
    "AND f.link_state = 'lost' AND f.gone_at IS NULL"
)
_TOKENS_LOST = text(
    # Since the last round that read the folder nothing but notifications told of it.
    "INSERT INTO gap (mailbox_id, from_at, cause, loss, state, opened_at, note) "
    "SELECT m.mailbox_id, coalesce(min(f.round_started_at), m.primed_at), 'token_lost', 'timing', "
    "'open', :now, CAST(count(*) AS TEXT) || ' folder(s) are listed anew' "
    "FROM folder f JOIN mailbox m ON m.mailbox_id = f.mailbox_id "
    "WHERE f.link_state = 'lost' AND f.gone_at IS NULL AND m.state = 'live' "
    "AND m.primed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM gap g "
    "  WHERE g.mailbox_id = m.mailbox_id AND g.cause = 'token_lost' AND g.state = 'open' "
    "  AND g.to_at IS NULL) "
    # What the witness has listed anew is in a gap of its own.
    "AND NOT EXISTS (SELECT 1 FROM gap g "
    "  WHERE g.mailbox_id = m.mailbox_id AND g.cause = 'witness' AND g.state = 'open') "
    "GROUP BY m.mailbox_id, m.primed_at"
)
_TOKENS_BACK = text(
    "UPDATE gap SET to_at = CASE WHEN from_at > :now THEN from_at ELSE :now END "
    "WHERE cause = 'token_lost' AND state = 'open' AND to_at IS NULL "
    "AND EXISTS (SELECT 1 FROM mailbox m WHERE m.mailbox_id = gap.mailbox_id "
    f"AND NOT EXISTS ({_LOST_FOLDERS}))"
)


@dataclass(frozen=True, slots=True)
class Settled:
    """Gaps `opened`, `filled`, ended `partial`; hours that became `settled`, `final`, or open."""

    opened: int = 0
    filled: int = 0
    partial: int = 0
    settled: int = 0
    final: int = 0
    reopened: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def settle(db: Database, settings: Settings) -> Settled:
    """Open and close gaps by what is known now, let hours mature, write both to the lake.

    Running twice changes nothing. Only rounds prove: nothing closes because time passed.
    """
    with db.write() as connection:
        opened = _open(connection, settings)
        closed = proof.close(connection, clock.graph_us())
    became = hours_table.write(db, settings)
    return Settled(
        opened=opened,
        **closed,
        settled=became.get("settled", 0),
        final=became.get("final", 0),
        reopened=became.get("open", 0),
    )


def _open(connection: Connection, settings: Settings) -> int:
    now = clock.graph_us()
    opened = receivers.judge(connection, settings)
    opened += connection.execute(_TOKENS_LOST, {"now": now}).rowcount
    connection.execute(_TOKENS_BACK, {"now": now})
    return opened
