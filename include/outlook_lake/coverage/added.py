"""Which events a piece of work added, by tenant, hour and action: read from its own batches."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
from sqlalchemy import and_, select

from outlook_lake.lake import layout
from outlook_lake.lake.engine import connect
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import batch, batch_hour, hour

__all__ = ["events_added"]

_TRY = re.compile(r"/\d+(?=:|$)")
"""The number of a try in the name of a run: `dag/run/task/2:reprocess`."""

_SEALED = "SELECT event_id FROM read_parquet($sealed, hive_partitioning = false)"
_ADDED = """
    SELECT domain_id, hour, action, count(DISTINCT event_id) AS events
    FROM read_parquet($files, hive_partitioning = false)
    ANTI JOIN sealed USING (event_id)
    GROUP BY ALL ORDER BY ALL
"""


def events_added(db: Database, settings: Settings, run_id: str) -> list[dict[str, Any]]:
    """Rows `domain_id, hour, action, events` of what a run committed, in whichever try.

    What stood in the sealed file of its hour before was not added: it is left out.
    """
    before, _, after = _TRY.sub("/\0", run_id, count=1).partition("\0")
    mine = batch.c.run_id == run_id
    if "/" in before and before != run_id:
        mine = and_(
            batch.c.run_id.startswith(before, autoescape=True),
            batch.c.run_id.endswith(after, autoescape=True),
        )
    with db.read() as connection:
        rows = connection.execute(
            select(batch.c.seq, batch.c.path, hour.c.domain_id, hour.c.hour, hour.c.sealed_seq)
            .join(batch_hour, batch_hour.c.seq == batch.c.seq)
            .join(
                hour,
                and_(hour.c.domain_id == batch_hour.c.domain_id, hour.c.hour == batch_hour.c.hour),
            )
            .where(mine)
        ).all()
    files = sorted({str(settings.home / row.path) for row in rows})
    if not files:
        return []
    first = min(row.seq for row in rows)
    # A file sealed since the work began may hold what it brought.
    places = {(row.domain_id, row.hour) for row in rows if row.sealed_seq < first}
    paths = [layout.hour_file(settings, *place) for place in sorted(places)]
    sealed = [str(path) for path in paths if path.exists()]
    with connect(settings) as engine:
        if sealed:
            known = engine.sql(_SEALED, params={"sealed": sealed}).to_arrow_table()
        else:
            known = pa.table({"event_id": pa.array([], pa.string())})
        engine.register("sealed", known)
        found: list[dict[str, Any]] = (
            engine.sql(_ADDED, params={"files": files}).to_arrow_table().to_pylist()
        )
    return found
