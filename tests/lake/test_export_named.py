"""Export of one named hour, as a backfill asks for it: that hour, dirty or not, and no other."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake

HOUR = "2026-11-23T09"


def digest(db: Database) -> str:
    with db.read() as connection:
        found = connection.execute(text("SELECT digest FROM hour WHERE hour = :h"), {"h": HOUR})
        return str(found.scalar_one())


def test_an_hour_asked_for_alone_is_written_again_and_no_other(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(3), lake.event(2)])
    export(db, settings)
    file = layout.hour_file(settings, lake.DOMAIN, HOUR)
    before = (file.read_bytes(), digest(db))
    file.unlink()
    lake.commit(db, settings, [lake.event(1, at=lake.NINE - timedelta(minutes=9))])

    report = export(db, settings, hour=HOUR, only=True)

    assert [(one.hour, one.rows, one.changed) for one in report.sealed] == [(HOUR, 2, False)]
    assert file.read_bytes() == before[0]
    assert digest(db) == before[1]
    assert not layout.hour_file(settings, lake.DOMAIN, "2026-11-23T08").exists()


def test_an_hour_nobody_was_watched_in_cannot_be_written(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(3)])

    assert export(db, settings, hour="2026-01-01T00", only=True).sealed == []
