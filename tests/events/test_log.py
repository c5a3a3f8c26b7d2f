"""A batch is whole, sorted, cut at hours, and real only under its final name."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from outlook_lake.errors import StorageError
from outlook_lake.events import log
from outlook_lake.events.log import HourRows
from outlook_lake.events.schema import BATCH_SCHEMA, ROW_GROUP
from tests.support import lake


def test_a_batch_is_sorted_by_tenant_hour_person_time_and_order(tmp_path: Path) -> None:
    rows = [
        lake.event(3, at=lake.NINE, tuid="b"),
        lake.event(2, at=lake.NINE, tuid="b"),
        lake.event(1, at=lake.NINE + timedelta(hours=1), tuid="a"),
        lake.event(4, at=lake.NINE, tuid="a", domain_id="zeta"),
        lake.event(5, at=lake.NINE + timedelta(seconds=1), tuid="a"),
    ]
    batch = log.write_batch(lake.table(rows), lake.home(tmp_path))

    written = pq.read_table(tmp_path / batch.path, partitioning=None)
    assert written.schema.equals(BATCH_SCHEMA)
    assert written["seq"].to_pylist() == [5, 2, 3, 1, 4]


def test_no_row_group_crosses_an_hour(tmp_path: Path) -> None:
    rows = [lake.event(n, at=lake.NINE + timedelta(minutes=25 * n)) for n in range(6)]
    batch = log.write_batch(lake.table(rows), lake.home(tmp_path))

    file = pq.ParquetFile(tmp_path / batch.path)
    groups = [
        set(file.read_row_group(number, ["hour"])["hour"].to_pylist())
        for number in range(file.num_row_groups)
    ]
    assert groups == [{"2026-11-23T09"}, {"2026-11-23T10"}, {"2026-11-23T11"}]
    assert batch.hours == (
        HourRows(lake.DOMAIN, "2026-11-23T09", 3),
        HourRows(lake.DOMAIN, "2026-11-23T10", 2),
        HourRows(lake.DOMAIN, "2026-11-23T11", 1),
    )


def test_row_groups_stay_small_enough_for_one_persons_rows_to_be_found_fast(tmp_path: Path) -> None:
    one = lake.table([lake.event(1)])
    many = one.take([0] * (ROW_GROUP + 1))
    batch = log.write_batch(many, lake.home(tmp_path))

    file = pq.ParquetFile(tmp_path / batch.path)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [
        ROW_GROUP,
        1,
    ]


def test_size_and_digest_are_those_of_the_file(tmp_path: Path) -> None:
    batch = log.write_batch(lake.table([lake.event(1)]), lake.home(tmp_path))

    path = tmp_path / batch.path
    assert (batch.rows, batch.bytes) == (1, path.stat().st_size)
    assert batch.digest == log.file_digest(path)


def test_nothing_half_written_keeps_a_final_name(tmp_path: Path) -> None:
    log.write_batch(lake.table([lake.event(1)]), lake.home(tmp_path))

    assert not list(tmp_path.rglob("*.tmp"))


def test_a_batch_without_events_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without events"):
        log.write_batch(lake.table([]), lake.home(tmp_path))
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_said_in_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        with open("/dev/full", "wb", buffering=0) as device:
            device.write(b"x")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="Check the space"):
        log.write_batch(lake.table([lake.event(1)]), lake.home(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
