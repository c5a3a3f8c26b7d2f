"""Maintenance takes away what is proven elsewhere, and never anything else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from outlook_lake.clock import graph_now, hour_start, machine_us, to_us
from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.lake.maintain import SEGMENT_KEEP_S, maintain
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake

HOUR = "2026-11-23T09"
LONG_AGO = to_us(lake.NINE - timedelta(days=30))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    yield database
    database.close()


def age_batches(db: Database) -> None:
    with db.write() as connection:
        connection.execute(text("UPDATE batch SET committed_at = :at"), {"at": LONG_AGO})


def batches(settings: Settings) -> int:
    return len(list(settings.log.glob("date=*/*.parquet")))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_old_batches_go_when_all_their_hours_are_sealed(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(4000)])
    export(db, settings)
    age_batches(db)

    assert maintain(db, settings)["batches"] == 1
    assert batches(settings) == 0


@pytest.mark.parametrize("why", ["young", "unsealed", "partly sealed", "damaged"])
def test_a_batch_stays_while_anything_speaks_for_it(
    db: Database, settings: Settings, why: str
) -> None:
    rows = [lake.event(1)]
    if why == "partly sealed":
        rows.append(lake.event(2, at=hour_start(graph_now())))
    lake.commit(db, settings, rows)
    if why != "unsealed":
        export(db, settings)
    if why != "young":
        age_batches(db)
    if why == "damaged":
        layout.hour_file(settings, lake.DOMAIN, HOUR).write_bytes(b"PAR1 not really PAR1")

    assert maintain(db, settings)["batches"] == 0
    assert batches(settings) == 1


def test_a_late_event_joins_an_hour_whose_batches_are_gone(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(2), lake.event(1)])
    export(db, settings)
    age_batches(db)
    maintain(db, settings)
    lake.commit(db, settings, [lake.event(3), lake.event(2, sighting="delta")])

    report = export(db, settings)

    assert [(one.rows, one.repeats) for one in report.sealed] == [(3, 1)]
    written = pq.read_table(layout.hour_file(settings, lake.DOMAIN, HOUR), partitioning=None)
    assert written.select(["seq", "sighting"]).to_pylist() == [
        {"seq": 1, "sighting": "notification"},
        {"seq": 2, "sighting": "notification"},
        {"seq": 3, "sighting": "notification"},
    ]


def test_an_hour_made_with_and_without_its_first_batches_is_the_same_file(tmp_path: Path) -> None:
    found = set()
    for cleared in (False, True):
        settings = lake.home(tmp_path / str(cleared))
        db = Database.open(settings)
        lake.commit(db, settings, [lake.event(2), lake.event(5)])
        export(db, settings)
        if cleared:
            age_batches(db)
            assert maintain(db, settings)["batches"] == 1
        lake.commit(db, settings, [lake.event(3)])
        export(db, settings)
        db.close()
        found.add(layout.hour_file(settings, lake.DOMAIN, HOUR).read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_an_hour_that_cannot_be_rebuilt_is_reported_and_left(
    db: Database, settings: Settings, fault: str
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    export(db, settings)
    age_batches(db)
    maintain(db, settings)
    path = layout.hour_file(settings, lake.DOMAIN, HOUR)
    if fault == "missing":
        path.unlink()
    else:
        table = pq.read_table(path, partitioning=None)
        metadata = pq.read_metadata(path).metadata
        pq.write_table(table.slice(0, 0).replace_schema_metadata(metadata), path)
    lake.commit(db, settings, [lake.event(2)])

    (failed,) = export(db, settings).failed

    assert "Bring the file back from a backup" in failed.reason


def test_files_no_manifest_row_names_go_when_old(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    (kept,) = settings.log.glob("date=*/*.parquet")
    orphan, torn, young = (kept.parent / name for name in ("a.parquet", "b.tmp", "c.parquet"))
    for path in (orphan, torn, young):
        path.write_bytes(b"x")
    for path in (kept, orphan, torn):
        age(path, settings.lake.orphan_s + 60)

    assert maintain(db, settings)["orphans"] == 2
    assert sorted(path.name for path in kept.parent.iterdir()) == sorted([kept.name, "c.parquet"])


def test_landed_segments_go_after_a_day_and_waiting_ones_never(
    db: Database, settings: Settings
) -> None:
    for folder in ("landed", "ready", "open"):
        path = settings.staging / folder / "1.segment"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        age(path, SEGMENT_KEEP_S + 60)

    assert maintain(db, settings)["segments"] == 1
    assert (settings.staging / "ready" / "1.segment").exists()
    assert (settings.staging / "open" / "1.segment").exists()


def test_counts_of_refusals_are_forgotten_after_a_month(db: Database, settings: Settings) -> None:
    now = machine_us()
    with db.write() as connection:
        for days in (1, 40):
            connection.execute(
                text(
                    "INSERT INTO quarantine (minute, stage, reason, count, bytes, samples) "
                    "VALUES (:minute, 'edge', 'forged', 1, 1, '[]')"
                ),
                {"minute": now - days * 86_400_000_000},
            )

    assert maintain(db, settings)["quarantine_rows"] == 1


def test_maintaining_twice_changes_nothing(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    export(db, settings)
    age_batches(db)
    maintain(db, settings)

    assert set(maintain(db, settings).values()) == {0}
