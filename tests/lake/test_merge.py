"""Merging makes reading quick and changes nothing that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from outlook_lake.clock import graph_now, hour_start
from outlook_lake.events.manifest import live_path
from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.lake.merge import LANE, merge
from outlook_lake.lake.verify import verify
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake

HOUR = "2026-11-23T09"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    yield database
    database.close()


def live(settings: Settings) -> list[int]:
    with open_lake(settings) as connection:
        rows = connection.execute("SELECT seq FROM events_live ORDER BY seq").fetchall()
    return [row[0] for row in rows]


def listed(settings: Settings) -> set[str]:
    return set(pq.read_table(live_path(settings))["path"].to_pylist())


def test_many_batches_become_one_and_readers_see_the_same(db: Database, settings: Settings) -> None:
    for number in range(6):
        lake.commit(db, settings, [lake.event(number), lake.event(4000 + number)])
    before = live(settings)

    merged = merge(db, settings, run_id="test", least=5)

    assert (merged.batches, merged.rows, merged.repeats) == (6, 12, 0)
    assert live(settings) == before
    assert len(listed(settings)) == 1
    assert verify(settings).findings == []


def test_an_hour_has_the_same_bytes_merged_or_not(tmp_path: Path) -> None:
    found = set()
    for merging in (False, True):
        settings = lake.home(tmp_path / str(merging))
        db = Database.open(settings)
        for number in range(5):
            lake.commit(db, settings, [lake.event(number, sighting="notification")])
        lake.commit(db, settings, [lake.event(3, sighting="delta")])
        if merging:
            assert merge(db, settings, run_id="test", least=2).repeats == 1
        export(db, settings)
        db.close()
        found.add(layout.hour_file(settings, lake.DOMAIN, HOUR).read_bytes())
    assert len(found) == 1


def test_a_few_batches_are_not_worth_it(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    assert merge(db, settings, run_id="test", least=1).batches == 0


def test_batches_of_a_sealed_hour_are_left_alone(db: Database, settings: Settings) -> None:
    now = hour_start(graph_now())
    lake.commit(db, settings, [lake.event(1), lake.event(2, at=now)])
    export(db, settings)
    for number in range(3):
        lake.commit(db, settings, [lake.event(10 + number, at=now + timedelta(seconds=number))])

    assert merge(db, settings, run_id="test", least=2).batches == 3
    assert live(settings) == [1, 2, 10, 11, 12]


def test_a_merge_that_was_overtaken_by_an_export_does_nothing(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outlook_lake.lake import merge as module

    for number in range(3):
        lake.commit(db, settings, [lake.event(number)])
    real = module.write_batch

    def slow(*args: object) -> object:
        export(db, settings)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_batch", slow)

    assert merge(db, settings, run_id="test", least=2).batches == 0
    assert live(settings) == [0, 1, 2]
    with db.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM batch")).scalar_one() == 3


def test_who_is_reading_the_old_list_keeps_its_files(db: Database, settings: Settings) -> None:
    for number in range(3):
        lake.commit(db, settings, [lake.event(number)])
    old = listed(settings)
    before = live_path(settings).read_bytes()
    merge(db, settings, run_id="test", least=2)
    live_path(settings).write_bytes(before)

    assert all((settings.home / path).is_file() for path in old)
    assert live(settings) == [0, 1, 2]


def test_a_merged_batch_says_so(db: Database, settings: Settings) -> None:
    for number in range(3):
        lake.commit(db, settings, [lake.event(number)])
    merge(db, settings, run_id="test", least=2)

    with db.read() as connection:
        rows = connection.execute(text("SELECT seq, lane, rows FROM batch")).all()
    assert [tuple(row) for row in rows] == [(4, LANE, 3)]
