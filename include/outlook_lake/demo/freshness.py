"""How long an act takes to become a row: from the simulator's `wall_at` to the row's commit.

Both are machine time. Acts come from the journal, rows from the batches of the event log; they
meet by item and action, in order.
"""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from outlook_lake.clock import to_us
from outlook_lake.demo.rest import SimulatorApi
from outlook_lake.lake.merge import LANE
from outlook_lake.state.database import Database
from outlook_lake.state.kinds import item_key
from outlook_lake.state.tables import batch

__all__ = ["Freshness", "percentile"]


class Freshness:
    """Ages in seconds, in the order the rows were committed."""

    def __init__(self, db: Database, home: Path, simulator: SimulatorApi) -> None:
        self.db = db
        self.home = home
        self.simulator = simulator
        self.ages: list[float] = []
        self.events = 0
        self._acts: defaultdict[tuple[bytes, str], deque[int]] = defaultdict(deque)
        self._number = 0
        self._seq = 0

    def update(self) -> None:
        """Take in new batches and new acts."""
        rows = self._new_rows()
        self._new_acts()
        for key, action, committed_us in rows:
            self.events += 1
            acts = self._acts.get((key, action))
            if acts:
                self.ages.append(max(0.0, (committed_us - acts.popleft()) / 1e6))

    def quantiles(self, last: int = 0) -> tuple[float | None, float | None, float | None]:
        """p50, p95, p99 over the last so many rows (0 = all); None while there is none."""
        ages = self.ages[-last:] if last else self.ages
        return percentile(ages, 0.5), percentile(ages, 0.95), percentile(ages, 0.99)

    def _new_rows(self) -> list[tuple[bytes, str, int]]:
        import pyarrow.parquet as pq

        query = select(batch.c.seq, batch.c.path, batch.c.committed_machine_at)
        with self.db.read() as connection:
            fresh = connection.execute(
                query.where(batch.c.seq > self._seq, batch.c.lane != LANE).order_by(batch.c.seq)
            ).all()
        rows: list[tuple[bytes, str, int]] = []
        for seq, path, committed_us in fresh:
            self._seq = int(seq)
            try:
                table = pq.read_table(self.home / path, columns=["item_key", "action"])
            except FileNotFoundError:  # sealed and removed long ago
                continue
            for row in table.to_pylist():
                rows.append((row["item_key"], row["action"], int(committed_us)))
        return rows

    def _new_acts(self) -> None:
        for row in self.simulator.journal(self._number):
            self._number = max(self._number, int(row["number"]))
            if row["kind"] == "act" and row.get("observable") and row.get("item"):
                self._acts[_act_key(row)].append(to_us(datetime.fromisoformat(row["wall_at"])))


def percentile(values: list[float], share: float) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _act_key(row: dict[str, Any]) -> tuple[bytes, str]:
    return item_key(str(row["item"])), str(row["action"])
