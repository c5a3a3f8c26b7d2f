"""Batches become real in order, and readers are told of them in one step."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from outlook_lake.clock import graph_us
from outlook_lake.events import log, manifest
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    yield database
    database.close()


def query(db: Database, sql: str) -> list[tuple[object, ...]]:
    with db.read() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def test_a_committed_batch_marks_each_of_its_hours_dirty(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(4000)])
    lake.commit(db, settings, [lake.event(4001)])

    assert query(db, "SELECT hour, dirty_seq, sealed_seq, maturity FROM hour ORDER BY hour") == [
        ("2026-11-23T09", 1, -1, "open"),
        ("2026-11-23T10", 2, -1, "open"),
    ]
    assert query(db, "SELECT seq, hour, rows FROM batch_hour ORDER BY seq, hour") == [
        (1, "2026-11-23T09", 1),
        (1, "2026-11-23T10", 1),
        (2, "2026-11-23T10", 1),
    ]


def test_a_batch_whose_transaction_failed_does_not_exist(db: Database, settings: Settings) -> None:
    batch = log.write_batch(lake.table([lake.event(1)]), settings)
    with pytest.raises(RuntimeError, match="killed"), db.write() as connection:
        manifest.record(connection, batch, "0", "test", graph_us())
        raise RuntimeError("killed")

    assert manifest.write_live(db, settings) == 0
    assert query(db, "SELECT count(*) FROM batch") == [(0,)]


def test_the_live_list_names_what_no_sealed_file_holds(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    lake.commit(db, settings, [lake.event(2), lake.event(4000)])
    with db.write() as connection:
        connection.execute(text("UPDATE hour SET sealed_seq = 1 WHERE hour = '2026-11-23T09'"))
    manifest.write_live(db, settings)

    listed = pq.read_table(manifest.live_path(settings)).to_pylist()
    assert [(row["hour"], row["seq"], row["rows"]) for row in listed] == [
        ("2026-11-23T09", 2, 1),
        ("2026-11-23T10", 2, 1),
    ]
    assert all((settings.home / row["path"]).is_file() for row in listed)


def test_an_empty_manifest_gives_an_empty_list_with_the_right_columns(
    db: Database, settings: Settings
) -> None:
    assert manifest.write_live(db, settings) == 0
    assert pq.read_schema(manifest.live_path(settings)).equals(manifest.LIVE_SCHEMA)


def test_numbers_never_go_back_when_old_batches_are_cleared_away(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    with db.write() as connection:
        connection.execute(text("DELETE FROM batch_hour"))
        connection.execute(text("DELETE FROM batch"))

    assert lake.commit(db, settings, [lake.event(2)]) == 2


def _commit_some(home: Path, lane: int) -> None:
    settings = lake.home(home)
    database = Database.open(settings)
    for number in range(5):
        lake.commit(database, settings, [lake.event(100 * lane + number)], str(lane))
    database.close()


@pytest.mark.slow
def test_lanes_that_commit_at_once_get_numbers_without_holes_and_the_list_ends_complete(
    db: Database, settings: Settings
) -> None:
    start = multiprocessing.get_context("spawn")
    lanes = [start.Process(target=_commit_some, args=(settings.home, lane)) for lane in range(3)]
    for process in lanes:
        process.start()
    for process in lanes:
        process.join()

    assert [process.exitcode for process in lanes] == [0, 0, 0]
    assert query(db, "SELECT seq FROM batch ORDER BY seq") == [(n,) for n in range(1, 16)]
    listed = pq.read_table(manifest.live_path(settings))
    assert sorted(listed["seq"].to_pylist()) == list(range(1, 16))
