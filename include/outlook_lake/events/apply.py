"""Apply: the one place where observations become events, each change exactly once.

    1 diff     observations × inventory → events (DuckDB, no lock held)
    2 write    the batch file, fsync, close
    3 commit   ONE transaction: fences checked; inventory, links, hints, manifest row, dirty
               hours, watermarks, people
    4 live     log/live.parquet replaced

Killed before 3: the file has no manifest row and does not exist; everything is asked again.
Killed after 3: all of it is there. A mailbox whose fence was lost is left out and the rest is
diffed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from outlook_lake import clock
from outlook_lake.errors import LeaseLostError
from outlook_lake.events import commit, log, mailboxes, manifest, objects, silence
from outlook_lake.events.diff import Diff, diff, engine
from outlook_lake.events.known import read_known
from outlook_lake.events.observation import ITEM_KEY, Observed, Row, table
from outlook_lake.events.schema import BATCH_SCHEMA
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.tenants.directory import ensure_key

__all__ = ["Applied", "Applier"]


@dataclass(slots=True)
class Applied:
    """What some applies did."""

    observations: int = 0
    events: int = 0
    batches: int = 0
    gone_unseen: int = 0
    once_more: int = 0
    postponed: int = 0
    lost: set[int] = field(default_factory=set)

    def add(self, other: Applied) -> None:
        """Sum up."""
        self.observations += other.observations
        self.events += other.events
        self.batches += other.batches
        self.gone_unseen += other.gone_unseen
        self.once_more += other.once_more
        self.postponed += other.postponed
        self.lost |= other.lost


class Applier:
    """Applies batches of one run; use from one thread at a time."""

    def __init__(self, db: Database, settings: Settings, *, lane: str, run_id: str) -> None:
        self.db = db
        self.settings = settings
        self.lane = lane
        self.run_id = run_id
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._domains: dict[str, int] = {}
        self._directory_key = ensure_key(settings.keys)
        self._remembered: set[tuple[str, bytes]] = set()

    def apply(self, observed: Sequence[Observed]) -> Applied:
        """Commit what was observed; mailboxes whose lease was lost are named in `lost`."""
        applied = Applied()
        for part in _once_each(observed):
            self._apply_once_each(part, applied)
        return applied

    def _apply_once_each(self, observed: list[Observed], applied: Applied) -> None:
        while observed:
            try:
                applied.add(self._attempt(observed))
                return
            except LeaseLostError as error:
                applied.lost |= error.lost
                observed = [one for one in observed if one.lease.mailbox_id not in error.lost]

    def _attempt(self, observed: list[Observed]) -> Applied:
        observations = table([row for one in observed for row in one.rows])
        outcome = self._diff(observations)
        events = self._events(observed, outcome)
        batch = log.write_batch(events, self.settings, self.lane) if events.num_rows else None
        with self.db.write() as connection:
            commit.check_fences(connection, [one.lease for one in observed])
            if outcome is not None:
                commit.inventory(connection, outcome.inventory, self._domains)
                commit.answers(connection, outcome.answers, self.settings)
            commit.seq(connection, events)
            silence.count(connection, events)
            for one in observed:
                mailboxes.mailbox(connection, one)
            new = commit.people(connection, observed, self._directory_key, self._remembered)
            if batch is not None:
                manifest.record(connection, batch, self.lane, self.run_id, clock.graph_us())
        self._remembered |= new
        if batch is not None:
            manifest.write_live(self.db, self.settings)
        return _report(observations, outcome, events)

    def _events(self, observed: Sequence[Observed], outcome: Diff | None) -> pa.Table:
        messages = None if outcome is None else outcome.events
        if not any(one.objects for one in observed):
            return BATCH_SCHEMA.empty_table() if messages is None else messages
        with self.db.read() as connection:
            others = objects.events_of(connection, observed, messages)
        return others if messages is None else pa.concat_tables([messages, others])

    def _diff(self, observations: pa.Table) -> Diff | None:
        if not observations.num_rows:
            return None
        if self._engine is None:
            self._engine = engine(self.settings)
        with self.db.read() as connection:
            known = read_known(connection, observations)
        horizon = self.settings.inventory.horizon_days * 86_400_000_000
        return diff(
            self._engine,
            observations,
            known,
            keep_recipients=self.settings.privacy.recipients != "off",
            horizon_at=clock.graph_us() - horizon if horizon else 0,
        )


def _report(observations: pa.Table, outcome: Diff | None, events: pa.Table) -> Applied:
    if outcome is None:
        return Applied(events=events.num_rows, batches=int(events.num_rows > 0))
    answers = outcome.answers
    return Applied(
        observations=observations.num_rows,
        events=events.num_rows,
        batches=int(events.num_rows > 0),
        gone_unseen=pc.sum(answers.column("gone_unseen")).as_py() or 0,
        once_more=pc.sum(answers.column("once_more")).as_py() or 0,
        postponed=pc.sum(answers.column("postponed")).as_py() or 0,
    )


def _once_each(observed: Sequence[Observed]) -> Iterable[list[Observed]]:
    """Split so that an item occurs once in each part: what was shown twice is applied twice.

    Observations keep their order; what must be stored with a mailbox's last page stays there.
    """
    part: list[Observed] = []
    seen: set[int] = set()
    for one in observed:
        for piece in _pieces(one):
            if piece.lease.mailbox_id in seen:
                yield part
                part, seen = [], set()
            part.append(piece)
            seen.add(piece.lease.mailbox_id)
    if part:
        yield part


def _pieces(one: Observed) -> list[Observed]:
    nth: dict[bytes, int] = {}
    parts: list[list[Row]] = [[]]
    for row in one.rows:
        place = nth.get(row[ITEM_KEY], 0)
        nth[row[ITEM_KEY]] = place + 1
        if place == len(parts):
            parts.append([])
        parts[place].append(row)
    one.rows = parts[-1]
    return [*(Observed(one.lease, rows, keep=True) for rows in parts[:-1]), one]
