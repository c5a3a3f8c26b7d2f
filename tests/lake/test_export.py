"""Export: an hour is one file, replaced at once, a pure function of the manifest."""

from __future__ import annotations

import itertools
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from sqlalchemy import text

from outlook_lake.clock import graph_now, hour_name, hour_start, machine_us
from outlook_lake.events import manifest
from outlook_lake.events.schema import EVENT_SCHEMA, ROW_GROUP, SORT_ORDER
from outlook_lake.lake import layout
from outlook_lake.lake.digest import read_digest, read_footer
from outlook_lake.lake.export import export
from outlook_lake.lake.hour_writer import StagedHour
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


def hour_row(db: Database, hour: str = HOUR) -> dict[str, object]:
    with db.read() as connection:
        found = connection.execute(text("SELECT * FROM hour WHERE hour = :hour"), {"hour": hour})
        return dict(found.mappings().one())


def hour_bytes(settings: Settings, hour: str = HOUR) -> bytes:
    return layout.hour_file(settings, lake.DOMAIN, hour).read_bytes()


def test_a_dirty_hour_that_is_over_becomes_one_sorted_file(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(3, tuid="b"), lake.event(2, tuid="a")])
    lake.commit(db, settings, [lake.event(1, tuid="b")])

    report = export(db, settings)

    path = layout.hour_file(settings, lake.DOMAIN, HOUR)
    assert path == (
        settings.home
        / "lake/events/domain_id=acme/event_date=2026-11-23/event_hour=09/events.parquet"
    )
    written = pq.read_table(path, partitioning=None)
    assert written.schema.equals(EVENT_SCHEMA)
    assert [(row["tuid"], row["seq"]) for row in written.select(["tuid", "seq"]).to_pylist()] == [
        ("a", 2),
        ("b", 1),
        ("b", 3),
    ]
    assert [(one.hour, one.rows) for one in report.sealed] == [(HOUR, 3)]
    assert not report.failed


def test_the_file_says_what_the_manifest_says(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(2)])
    export(db, settings)

    footer = read_footer(layout.hour_file(settings, lake.DOMAIN, HOUR))
    row = hour_row(db)
    assert (footer.domain_id, footer.hour, footer.rows) == (lake.DOMAIN, HOUR, 2)
    assert (
        footer.digest == row["digest"] == read_digest(layout.hour_file(settings, lake.DOMAIN, HOUR))
    )
    assert (row["dirty_seq"], row["sealed_seq"], row["rows"]) == (1, 1, 2)


def test_a_running_hour_is_answered_not_over_yet_and_left_alone(
    db: Database, settings: Settings
) -> None:
    now = hour_name(graph_now())
    lake.commit(db, settings, [lake.event(1, at=hour_start(graph_now()))])

    report = export(db, settings, hour=now)

    assert (report.not_over, report.sealed, report.waiting) == ([now], [], 1)
    assert not layout.hour_file(settings, lake.DOMAIN, now).exists()


def test_an_hour_is_over_only_two_minutes_after_its_end(db: Database, tmp_path: Path) -> None:
    last = hour_start(graph_now()) - timedelta(hours=1)
    far = lake.home(tmp_path, over_s=3600)
    lake.commit(db, far, [lake.event(1, at=last)])

    assert export(db, far).sealed == []
    assert [one.hour for one in export(db, lake.home(tmp_path, over_s=0)).sealed] == [
        hour_name(last)
    ]


def test_every_hour_since_watching_began_has_a_file_if_need_be_without_rows(
    db: Database, settings: Settings
) -> None:
    start = hour_start(graph_now()) - timedelta(hours=5)
    lake.add_tenant(db, watch_from=start + timedelta(minutes=30))
    lake.commit(db, settings, [lake.event(1, at=start + timedelta(hours=2))])

    export(db, settings)

    rows = [
        pq.read_metadata(
            layout.hour_file(settings, lake.DOMAIN, hour_name(start + n * lake.AN_HOUR))
        )
        for n in range(4)
    ]
    assert [one.num_rows for one in rows] == [0, 0, 1, 0]
    assert export(db, settings).sealed == []


def test_a_tenant_that_is_gone_gets_no_more_hours(db: Database, settings: Settings) -> None:
    lake.add_tenant(db, watch_from=graph_now() - timedelta(hours=5))
    with db.write() as connection:
        connection.execute(text("UPDATE tenant SET state = 'gone'"))

    assert export(db, settings).sealed == []


def test_a_late_event_replaces_the_hour_and_only_that(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(4000)])
    export(db, settings)
    lake.commit(db, settings, [lake.event(2)])

    report = export(db, settings, hour="2026-11-23T12")

    assert [(one.hour, one.rows) for one in report.sealed] == [(HOUR, 2)]


def test_running_twice_changes_nothing(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1)])
    export(db, settings)
    before = layout.hour_file(settings, lake.DOMAIN, HOUR).stat()

    assert export(db, settings, hour=HOUR).sealed == []
    assert layout.hour_file(settings, lake.DOMAIN, HOUR).stat().st_mtime_ns == before.st_mtime_ns


@example_settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    cuts=st.lists(st.integers(0, 120), max_size=6),
    shuffle=st.randoms(use_true_random=False),
    threads=st.integers(1, 2),
)
@pytest.mark.slow
def test_the_same_events_give_the_same_bytes_whatever_batches_they_came_in(
    tmp_path: Path, cuts: list[int], shuffle: random.Random, threads: int
) -> None:
    rows = [
        lake.event(n, tuid=f"tuid-{n % 7}", action=("email_received", "email_read")[n % 2])
        for n in range(120)
    ]
    for n, row in enumerate(rows):
        if n % 5 == 0:  # nulls in every kind of column
            row.update(
                recipients=None,
                to_domains=None,
                from_key=None,
                from_domain=None,
                is_read=None,
                to_count=None,
                sent_at=None,
                importance=None,
                changed=None,
            )
    reference = _sealed(tmp_path / "one", [rows], threads=1)
    shuffle.shuffle(rows)
    edges = [0, *sorted(cuts), len(rows)]
    pieces = [rows[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert _sealed(tmp_path / "many", pieces, threads=threads) == reference


def _sealed(home: Path, batches: list[list[lake.Row]], threads: int) -> tuple[bytes, str]:
    shutil.rmtree(home, ignore_errors=True)
    settings = lake.home(home, threads=threads)
    database = Database.open(settings)
    try:
        for rows in batches:
            lake.commit(database, settings, rows)
        (sealed,) = export(database, settings).sealed
    finally:
        database.close()
    return hour_bytes(settings), sealed.digest


@pytest.mark.slow
def test_an_hour_of_several_row_groups_gives_the_same_bytes_from_one_batch_or_many(
    tmp_path: Path,
) -> None:
    rows = [
        lake.event(n, at=lake.NINE + timedelta(milliseconds=40 * n), tuid=f"tuid-{n % 300}")
        for n in range(2 * ROW_GROUP + 100)
    ]
    one = _sealed(tmp_path / "one", [rows], threads=1)
    random.Random(5).shuffle(rows)
    many = _sealed(tmp_path / "many", [rows[n::9] for n in range(9)], threads=2)

    assert one == many
    file = pq.ParquetFile(layout.hour_file(lake.home(tmp_path / "many"), lake.DOMAIN, HOUR))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [ROW_GROUP, ROW_GROUP, 100]
    keys = file.read(list(SORT_ORDER)).to_pylist()
    assert keys == sorted(keys, key=lambda row: tuple(row[name] for name in SORT_ORDER))


def test_a_second_row_of_one_event_id_is_dropped_and_counted_and_the_lower_batch_wins(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1, sighting="notification")])
    lake.commit(db, settings, [lake.event(1, sighting="delta"), lake.event(2)])

    (sealed,) = export(db, settings).sealed

    assert (sealed.rows, sealed.repeats) == (2, 1)
    written = pq.read_table(layout.hour_file(settings, lake.DOMAIN, HOUR), partitioning=None)
    assert written["sighting"].to_pylist() == ["notification", "notification"]


def test_tenants_do_not_see_each_other_in_a_shared_batch(db: Database, settings: Settings) -> None:
    lake.commit(db, settings, [lake.event(1), lake.event(2, domain_id="zeta")])

    report = export(db, settings, tenant="zeta")

    assert [(one.domain_id, one.rows) for one in report.sealed] == [("zeta", 1)]
    assert not layout.hour_file(settings, lake.DOMAIN, HOUR).exists()


def test_a_batch_that_lost_its_file_fails_its_hour_and_no_other(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    lake.commit(db, settings, [lake.event(4000)])
    with db.read() as connection:
        path = connection.execute(text("SELECT path FROM batch WHERE seq = 1")).scalar_one()
    (settings.home / path).unlink()

    report = export(db, settings)

    assert [one.hour for one in report.failed] == [HOUR]
    assert [one.hour for one in report.sealed] == ["2026-11-23T10"]
    assert hour_row(db)["sealed_seq"] == -1
    assert not list(settings.lake_root.rglob("*.tmp"))


def test_a_batch_with_fewer_rows_than_the_manifest_says_fails_the_hour(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    with db.write() as connection:
        connection.execute(text("UPDATE batch_hour SET rows = 2"))

    (failed,) = export(db, settings).failed
    assert "lists 2 rows, the event log gives 1" in failed.reason


def test_two_exporters_at_once_seal_everything_between_them(
    db: Database, settings: Settings
) -> None:
    for number in range(8):
        lake.commit(db, settings, [lake.event(3600 * number + n) for n in range(20)])
    reports = []
    pair = [threading.Thread(target=lambda: reports.append(export(db, settings))) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()

    assert sorted(one.hour for report in reports for one in report.sealed) == [
        hour_name(lake.NINE + n * lake.AN_HOUR) for n in range(8)
    ]
    assert not [one for report in reports for one in report.failed]
    assert manifest.write_live(db, settings) == 0


def test_an_hour_left_leased_by_a_killed_exporter_is_sealed_when_the_lease_ends(
    db: Database, settings: Settings
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    with db.write() as connection:
        connection.execute(
            text("UPDATE hour SET lease_by = 'dead', fence = 7, lease_until = :until"),
            {"until": machine_us() + 1_200_000},
        )

    assert [one.hour for one in export(db, settings).sealed] == [HOUR]


def test_a_batch_committed_while_its_hour_is_being_sealed_leaves_it_dirty(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    seen: list[int] = []
    real = StagedHour.publish

    def publish(staged: StagedHour) -> None:
        if not seen:
            seen.append(lake.commit(db, settings, [lake.event(2)]))
        real(staged)

    monkeypatch.setattr(StagedHour, "publish", publish)
    first = export(db, settings)
    left = hour_row(db)
    second = export(db, settings)

    # Not again in the same run: while a repair commits on and on it would never end.
    assert [one.rows for one in first.sealed] == [1]
    assert left["dirty_seq"] > left["sealed_seq"]
    assert [one.rows for one in second.sealed] == [2]
    assert hour_row(db)["sealed_seq"] == 2


def test_an_exporter_that_lost_its_lease_after_the_replace_leaves_the_hour_dirty(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.commit(db, settings, [lake.event(1)])
    taken: list[bool] = []
    real = StagedHour.publish

    def slow_publish(staged: StagedHour) -> None:
        real(staged)
        if not taken:  # meanwhile somebody else took the hour
            taken.append(True)
            with db.write() as connection:
                connection.execute(text("UPDATE hour SET fence = fence + 1, lease_until = 0"))

    monkeypatch.setattr(StagedHour, "publish", slow_publish)
    report = export(db, settings)

    assert [one.rows for one in report.sealed] == [1]
    assert hour_row(db)["sealed_seq"] == 1


@pytest.mark.parametrize("folder", ["with space", "quote's", "brac[ket]s", "star*"])
def test_a_home_may_have_any_folder_name(tmp_path: Path, folder: str) -> None:
    settings = replace(lake.home(tmp_path / folder))
    database = Database.open(settings)
    lake.commit(database, settings, [lake.event(1)])

    report = export(database, settings)
    database.close()

    assert [one.rows for one in report.sealed] == [1]


def test_an_hour_without_any_row_is_a_file_with_all_columns(
    db: Database, settings: Settings
) -> None:
    start = hour_start(graph_now()) - timedelta(hours=2)
    lake.add_tenant(db, watch_from=start)
    export(db, settings)

    path = layout.hour_file(settings, lake.DOMAIN, hour_name(start))
    assert pq.read_schema(path).names == EVENT_SCHEMA.names
    assert read_footer(path).digest == read_digest(path)
