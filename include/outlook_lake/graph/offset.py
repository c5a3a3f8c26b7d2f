"""Graph's clock, remembered: the offset in the state database and for receivers in a file.

Only where no clock file rules (`OUTLOOK_LAKE_CLOCK`): a simulator says its time itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sqlalchemy import delete, insert, select

from outlook_lake import clock
from outlook_lake.errors import StorageError
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import meta

__all__ = ["keep_offset", "load_offset"]

NAME = "clock_offset_s"
NOISE_S = 2.0
"""Smaller differences are the network's and are not written down."""


def load_offset(db: Database) -> float:
    """Take the offset (seconds) another run learnt; 0 before the first answer of Graph."""
    offset_s = _known(db) or 0.0
    if not os.environ.get(clock.CLOCK_ENV):
        clock.set_offset(offset_s)
    return offset_s


def keep_offset(db: Database, settings: Settings, offset_s: float | None) -> bool:
    """Write the offset down where it changed; returns whether anything was written."""
    if offset_s is None or os.environ.get(clock.CLOCK_ENV):
        return False
    file = settings.staging / "clock.json"
    known = _known(db)
    if known is not None and abs(known - offset_s) <= NOISE_S and file.exists():
        return False
    with db.write() as connection:
        connection.execute(delete(meta).where(meta.c.name == NAME))
        connection.execute(insert(meta).values(name=NAME, value=repr(offset_s)))
    _replace(file, json.dumps({"offset_s": offset_s}))
    return True


def _known(db: Database) -> float | None:
    with db.read() as connection:
        value = connection.execute(select(meta.c.value).where(meta.c.name == NAME)).scalar()
    return None if value is None else float(value)


def _replace(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        raise StorageError(
            f"staging/clock.json cannot be written ({error.strerror}): receivers stamp with "
            "machine time until it can"
        ) from error
