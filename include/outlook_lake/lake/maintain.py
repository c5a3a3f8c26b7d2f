"""Take away what nobody needs any more; what is not proven elsewhere stays.

    staging/landed/   segments whose hints are committed              after a day
    log/date=…/       batches whose hours are all sealed and intact   after lake.log_keep_h
    log/, lake/       files no manifest row names, torn leftovers     after lake.orphan_s
    quarantine        counts and hashes of what was refused           after 30 days

Many small batches of running hours become one (`merge.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection, text

from outlook_lake.clock import graph_us, machine_us
from outlook_lake.errors import ForeignFileError
from outlook_lake.events.manifest import write_live
from outlook_lake.lake import layout
from outlook_lake.lake.digest import read_footer
from outlook_lake.lake.merge import merge
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.tenants.directory import export_directory

__all__ = ["maintain"]

SEGMENT_KEEP_S = 86_400
"""Seconds of machine time a landed segment stays, for whoever has to look something up."""
QUARANTINE_KEEP_S = 30 * 86_400
_SECOND_US = 1_000_000
_AT_ONCE = 500

_SEALED_BATCHES = text(
    "SELECT batch.seq, batch.path FROM batch "
    "WHERE batch.committed_at < :before AND NOT EXISTS ("
    "  SELECT 1 FROM batch_hour AS part JOIN hour "
    "    ON hour.domain_id = part.domain_id AND hour.hour = part.hour "
    "  WHERE part.seq = batch.seq AND hour.sealed_seq < part.seq) "
    "ORDER BY batch.seq LIMIT :most"
)
_HOURS_OF = text(
    "SELECT DISTINCT part.domain_id, part.hour, hour.digest FROM batch_hour AS part "
    "JOIN hour ON hour.domain_id = part.domain_id AND hour.hour = part.hour "
    "WHERE part.seq BETWEEN :first AND :last"
)
_PARTS_OF = text("SELECT domain_id, hour FROM batch_hour WHERE seq = :seq")
_FORGET_BATCH = text("DELETE FROM batch WHERE seq = :seq AND path = :path")
_PATHS = text("SELECT path FROM batch")
_FORGET_SEGMENTS = text("DELETE FROM segment WHERE landed_at < :before")
_FORGET_QUARANTINE = text("DELETE FROM quarantine WHERE minute < :before")


def maintain(db: Database, settings: Settings) -> dict[str, int]:
    """Clear away what is no longer needed; returns how much of each, without names.

    Safe beside everything else and when run twice. A file that cannot be removed is left for
    the next time.
    """
    counts = {
        "segments": _clear_segments(db, settings),
        "batches": _clear_batches(db, settings),
        "orphans": _clear_orphans(db, settings),
        "quarantine_rows": _clear_quarantine(db),
        "merged": merge(db, settings, run_id="maintain").batches,
    }
    export_directory(db, settings)
    write_live(db, settings)
    return counts


def _clear_segments(db: Database, settings: Settings) -> int:
    landed = settings.staging / "landed"
    removed = _remove_old(landed.glob("*"), SEGMENT_KEEP_S) if landed.is_dir() else 0
    with db.write() as connection:
        connection.execute(
            _FORGET_SEGMENTS, {"before": machine_us() - 2 * SEGMENT_KEEP_S * _SECOND_US}
        )
    return removed


def _clear_batches(db: Database, settings: Settings) -> int:
    """The manifest forgets first, then the file goes: a kill between leaves an orphan."""
    keep_us = settings.lake.log_keep_h * 3600 * _SECOND_US
    with db.read() as connection:
        old = connection.execute(
            _SEALED_BATCHES, {"before": graph_us() - keep_us, "most": _AT_ONCE}
        ).all()
        if not old:
            return 0
        damaged = _damaged_hours(connection, settings, old[0].seq, old[-1].seq)
        clear = [
            row
            for row in old
            if not any(
                (part.domain_id, part.hour) in damaged
                for part in connection.execute(_PARTS_OF, {"seq": row.seq})
            )
        ]
    with db.write() as connection:
        for row in clear:
            # batch_hour stays: it tells export that these rows are in the sealed file only.
            connection.execute(_FORGET_BATCH, {"seq": row.seq, "path": row.path})
    for row in clear:
        (settings.home / row.path).unlink(missing_ok=True)
    return len(clear)


def _damaged_hours(
    connection: Connection, settings: Settings, first: int, last: int
) -> set[tuple[str, str]]:
    damaged = set()
    for row in connection.execute(_HOURS_OF, {"first": first, "last": last}).all():
        try:
            intact = (
                read_footer(layout.hour_file(settings, row.domain_id, row.hour)).digest
                == row.digest
            )
        except (OSError, ForeignFileError):
            intact = False
        if not intact:
            damaged.add((row.domain_id, row.hour))
    return damaged


def _clear_orphans(db: Database, settings: Settings) -> int:
    files = list(settings.log.glob("date=*/*.parquet"))  # before the manifest: never the newest
    with db.read() as connection:
        known = set(connection.scalars(_PATHS))
    orphans = [path for path in files if path.relative_to(settings.home).as_posix() not in known]
    leftovers = [
        *settings.log.glob("date=*/*.tmp"),
        *settings.log.glob(".*.tmp"),
        *settings.lake_root.glob("events/*/*/*/.events.*.tmp"),
    ]
    removed = _remove_old([*orphans, *leftovers], settings.lake.orphan_s)
    for folder in settings.log.glob("date=*"):
        _remove_if_empty(folder, settings.lake.orphan_s)
    return removed


def _clear_quarantine(db: Database) -> int:
    before = machine_us() - QUARANTINE_KEEP_S * _SECOND_US
    with db.write() as connection:
        return connection.execute(_FORGET_QUARANTINE, {"before": before}).rowcount


def _remove_old(paths: Iterable[Path], keep_s: float) -> int:
    """Remove files last written longer ago than `keep_s` seconds of machine time."""
    removed = 0
    for path in paths:
        try:
            if time.time() - path.stat().st_mtime > keep_s:
                path.unlink()
                removed += 1
        except OSError:
            continue
    return removed


def _remove_if_empty(folder: Path, keep_s: float) -> None:
    try:
        if time.time() - folder.stat().st_mtime > keep_s:  # nobody is about to write there
            folder.rmdir()  # refuses a folder with files
    except OSError:
        return
