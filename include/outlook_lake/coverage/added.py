"""Which events a piece of work added, by tenant, hour and action: read from its own batches."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlalchemy import text

from outlook_lake.lake import layout
from outlook_lake.lake.engine import connect
from outlook_lake.settings import Settings
from outlook_lake.state import Database

__all__ = ["events_added"]

_BATCHES = text(
    "SELECT batch.path, part.domain_id, part.hour FROM batch "
    "JOIN batch_hour AS part ON part.seq = batch.seq WHERE batch.run_id = :run_id"
)
_SEALED = "SELECT event_id FROM read_parquet($sealed, hive_partitioning = false)"
_ADDED = """
    SELECT domain_id, hour, action, count(DISTINCT event_id) AS events
    FROM read_parquet($files, hive_partitioning = false)
    ANTI JOIN sealed USING (event_id)
    GROUP BY ALL ORDER BY ALL
"""


def events_added(db: Database, settings: Settings, run_id: str) -> list[dict[str, Any]]:
    """Rows `domain_id, hour, action, events` of what a run committed, before it is exported.

    What stands in the sealed file of its hour already was not added: it is left out.
    """
    with db.read() as connection:
        rows = connection.execute(_BATCHES, {"run_id": run_id}).all()
    files = sorted({str(settings.home / row.path) for row in rows})
    if not files:
        return []
    places = {(row.domain_id, row.hour) for row in rows}
    sealed = [
        str(path) for place in places if (path := layout.hour_file(settings, *place)).exists()
    ]
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
