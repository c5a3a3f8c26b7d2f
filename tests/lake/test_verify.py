"""Verification names whatever is not as the manifest says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from outlook_lake.lake import layout
from outlook_lake.lake.export import export
from outlook_lake.lake.verify import verify
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
    lake.commit(database, settings, [lake.event(1), lake.event(2)])
    export(database, settings)
    yield database
    database.close()


def found(settings: Settings) -> list[tuple[str, str]]:
    return [(finding.kind, finding.what) for finding in verify(settings).findings]


def test_a_missing_hour_is_named(db: Database, settings: Settings) -> None:
    layout.hour_file(settings, lake.DOMAIN, HOUR).unlink()
    assert found(settings) == [("hour", "its file is missing")]


def test_rows_changed_under_an_unchanged_footer_are_named(db: Database, settings: Settings) -> None:
    path = layout.hour_file(settings, lake.DOMAIN, HOUR)
    table = pq.read_table(path, partitioning=None)
    metadata = {**(table.schema.metadata or {}), **pq.read_metadata(path).metadata}
    metadata.pop(b"ARROW:schema", None)
    at = table.schema.get_field_index("is_read")
    forged = table.set_column(at, table.schema.field(at), pa.array([True, False]))
    pq.write_table(forged.replace_schema_metadata(metadata), path)

    assert found(settings) == [("hour", "the rows in its file are not those that were sealed")]


def test_the_file_of_another_hour_is_named(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(4000)])
    export(db, settings)
    other = layout.hour_file(settings, lake.DOMAIN, "2026-11-23T10").read_bytes()
    layout.hour_file(settings, lake.DOMAIN, HOUR).write_bytes(other)

    assert found(settings) == [("hour", "its file is not the one that was sealed")]


def test_a_batch_that_is_gone_or_has_changed_is_named(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(3)])
    first, second = sorted(settings.log.glob("date=*/*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"x")

    assert sorted(found(settings)) == [
        ("batch", "its file has changed"),
        ("batch", "its file is missing"),
    ]


def test_a_file_nobody_sealed_is_named(db: Database, settings: Settings) -> None:
    path = layout.hour_file(settings, lake.DOMAIN, "2020-01-01T00")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"who put this here")

    assert found(settings) == [("foreign", "no row of the manifest names it")]


def test_a_repair_that_is_not_possible_leaves_the_finding(db: Database, settings: Settings) -> None:
    layout.hour_file(settings, lake.DOMAIN, HOUR).unlink()
    for path in settings.log.glob("date=*/*.parquet"):
        path.unlink()
    report = verify(settings, repair=True)

    assert (report.repaired, report.is_whole) == ([], False)
