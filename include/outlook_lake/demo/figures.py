"""What the live table shows, read from the state database and the staging folder."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import batch, gap, hint, hour, mailbox, segment, subscription

__all__ = ["Figures", "read_figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts at one moment."""

    mailboxes: int = 0
    live: int = 0
    priming: int = 0
    parked: int = 0
    subscriptions: int = 0
    notifications: int = 0
    events: int = 0
    hints: int = 0
    segments: int = 0
    sealed: int = 0
    open: int = 0
    gaps: int = 0

    @property
    def all_live(self) -> bool:
        """Whether every mailbox in scope that can be read is live."""
        return self.live > 0 and self.live + self.parked == self.mailboxes

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits to be looked at."""
        return not self.hints and not self.segments


def read_figures(db: Database, settings: Settings) -> Figures:
    """Read them all in one snapshot."""
    with db.read() as connection:

        def one(query: object) -> int:
            return int(connection.execute(query).scalar() or 0)  # type: ignore[call-overload]

        by_state = connection.execute(
            select(mailbox.c.state, func.count()).group_by(mailbox.c.state)
        )
        states: dict[str, int] = {str(state): int(count) for state, count in by_state}
        is_sealed = (hour.c.sealed_seq >= hour.c.dirty_seq) & (hour.c.sealed_seq >= 0)
        return Figures(
            mailboxes=sum(n for state, n in states.items() if state != "erased"),
            live=states.get("live", 0),
            priming=states.get("priming", 0),
            parked=states.get("parked", 0),
            subscriptions=one(select(func.count()).where(subscription.c.state == "active")),
            notifications=one(select(func.sum(segment.c.rows))),
            events=one(select(func.sum(batch.c.rows))),
            hints=one(select(func.count()).select_from(hint)),
            segments=_files(settings),
            sealed=one(select(func.count()).where(is_sealed)),
            open=one(select(func.count()).where(~is_sealed)),
            gaps=one(select(func.count()).where(gap.c.state == "open")),
        )


def _files(settings: Settings) -> int:
    ready = settings.staging / "ready"
    return sum(1 for _ in ready.iterdir()) if ready.exists() else 0
