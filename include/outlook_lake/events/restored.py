"""Manifest and list of live batches, held together: lag is mended, a restored copy refused.

The list of live batches says which batch was the last when it was written. A database that
knows fewer was restored: every step refuses, until a person says to go on from it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from outlook_lake.errors import RestoredStateError
from outlook_lake.events.manifest import LAST_SEQ, last_seq, live_path, write_live
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["accept_restored", "compare_log"]


def compare_log(db: Database, settings: Settings) -> None:
    """Compare the list of live batches with the manifest, at the start of every step.

    A list that lags behind (its writer died right after a commit) or is damaged is written
    again. Raises
    RestoredStateError when it is ahead: the database was restored from an older copy.
    """
    written = _written(settings)
    with db.read() as connection:
        known = last_seq(connection)
    if written > known:
        raise RestoredStateError(
            f"the event log has seen batch {written}, the state database knows {known}: it was "
            "restored from an older copy. Run `outlook-lake migrate --restored` to go on from it: "
            "events get a new epoch, so that no event id is given twice."
        )
    if written < known:
        write_live(db, settings)


def accept_restored(db: Database, settings: Settings) -> int:
    """Go on from a restored database: every mailbox gets a new epoch; returns how many."""
    written = _written(settings)
    with db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO meta (name, value) VALUES ('batch_seq', :value) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            ),
            {"value": str(max(written, last_seq(connection)))},
        )
        return int(connection.execute(text("UPDATE mailbox SET epoch = epoch + 1")).rowcount)


def _written(settings: Settings) -> int:
    path = live_path(settings)
    if not path.exists():
        return 0
    try:
        return int((pq.read_schema(path).metadata or {}).get(LAST_SEQ, b"0"))
    except pa.ArrowInvalid:  # damaged: it says nothing, and is written again
        return 0
