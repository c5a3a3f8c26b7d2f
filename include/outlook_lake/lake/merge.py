"""Many small batches of hours that are still running become one, so that reading stays quick.

A stream commits several times a second; after an hour thousands of files would stand behind
`events_live`. The rows do not change, nor does what export makes of them: the new batch takes
the place of the old ones in one transaction. The old files stay for whoever is reading them and
go as orphans.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from sqlalchemy import Connection, bindparam, text

from outlook_lake.events.log import write_batch
from outlook_lake.events.manifest import record, write_live
from outlook_lake.events.schema import BATCH_SCHEMA, ROW_GROUP
from outlook_lake.lake.engine import connect, sql
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["LANE", "Merged", "merge"]

LANE = "merged"
"""Lane of a batch that tells of nothing new: freshness is not read from it."""
LEAST = 200
"""Batches that are worth a merge."""
MOST = 2_000
SMALL = ROW_GROUP
"""A batch with this many rows or more is left as it is."""

_SMALL_AND_RUNNING = (
    "SELECT batch.seq, batch.path, batch.committed_at FROM batch "
    "WHERE batch.rows < :small AND NOT EXISTS ("
    "  SELECT 1 FROM batch_hour AS part JOIN hour "
    "    ON hour.domain_id = part.domain_id AND hour.hour = part.hour "
    "  WHERE part.seq = batch.seq AND hour.sealed_seq >= 0)"
)
_CHOOSE = text(_SMALL_AND_RUNNING + " ORDER BY batch.seq LIMIT :most")
_STILL = text(
    f"SELECT count(*) FROM ({_SMALL_AND_RUNNING}) AS running WHERE seq IN :seqs"
).bindparams(bindparam("seqs", expanding=True))
_FORGET_PARTS = text("DELETE FROM batch_hour WHERE seq IN :seqs").bindparams(
    bindparam("seqs", expanding=True)
)
_FORGET = text("DELETE FROM batch WHERE seq IN :seqs").bindparams(bindparam("seqs", expanding=True))


@dataclass(frozen=True, slots=True)
class Merged:
    """How many batches became one, and with how many rows; nothing when none were worth it."""

    batches: int = 0
    rows: int = 0
    repeats: int = 0


def merge(db: Database, settings: Settings, *, run_id: str, least: int = LEAST) -> Merged:
    """Merge the small batches of hours that were never sealed, if there are `least` of them.

    Only batches whose every hour is unsealed take part. When one of them was sealed or merged
    by somebody else meanwhile, nothing happens.
    """
    with db.read() as connection:
        chosen = connection.execute(_CHOOSE, {"small": SMALL, "most": MOST}).all()
    if len(chosen) < max(least, 2):
        return Merged()
    seqs = [row.seq for row in chosen]
    table, read = _read(settings, {str(settings.home / row.path): row.seq for row in chosen})
    batch = write_batch(table, settings, LANE)
    with db.write() as connection:
        if not _are_untouched(connection, seqs):
            return Merged()  # the file just written is an orphan and goes with the others
        connection.execute(_FORGET_PARTS, {"seqs": seqs})
        connection.execute(_FORGET, {"seqs": seqs})
        record(connection, batch, LANE, run_id, max(row.committed_at for row in chosen))
    write_live(db, settings)
    return Merged(len(seqs), batch.rows, read - batch.rows)


def _read(settings: Settings, files: dict[str, int]) -> tuple[pa.Table, int]:
    with connect(settings) as engine:
        sources = pa.table({"filename": list(files), "batch_seq": list(files.values())})
        engine.register("sources", sources)
        ((read,),) = engine.execute(
            "SELECT count(*) FROM read_parquet($files, hive_partitioning = false)",
            {"files": list(files)},
        ).fetchall()
        rows = engine.sql(sql("merged_rows"), params={"files": list(files)}).to_arrow_table()
    return rows.select(BATCH_SCHEMA.names), int(read)


def _are_untouched(connection: Connection, seqs: list[int]) -> bool:
    found = connection.execute(_STILL, {"small": SMALL, "seqs": seqs}).scalar_one()
    return int(found) == len(seqs)
