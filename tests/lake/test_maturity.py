"""Hours ripen by proof and by age, and the lake says how ripe they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from outlook_lake.clock import graph_now, hour_name, hour_start
from outlook_lake.lake import hours_table, layout
from outlook_lake.lake.export import export
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake
from tests.support.coverage import hours, miss, prove, watch

AN_HOUR = lake.AN_HOUR
WEEK = timedelta(days=7)
NOW = hour_start(graph_now())
YESTERDAY = NOW - timedelta(hours=26)
LONG_AGO = NOW - WEEK - timedelta(hours=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database)
    for number, start in enumerate((YESTERDAY, LONG_AGO)):
        lake.commit(database, settings, [lake.event(number, at=start)])
    yield database
    database.close()


def ripeness(db: Database, settings: Settings) -> tuple[str, str]:
    """Maturity of the hour long ago, and of yesterday's."""
    export(db, settings)
    found = dict(hours(settings))
    return found[hour_name(LONG_AGO)], found[hour_name(YESTERDAY)]


def test_an_hour_settles_when_every_mailbox_is_proven_and_is_final_after_a_week(db, settings):
    one = watch(db, LONG_AGO)
    two = watch(db, YESTERDAY)
    assert ripeness(db, settings) == ("open", "open")

    prove(db, one, YESTERDAY + AN_HOUR)
    prove(db, two, YESTERDAY + timedelta(minutes=59))
    assert ripeness(db, settings) == ("final", "open")

    prove(db, two, YESTERDAY + AN_HOUR)
    assert ripeness(db, settings) == ("final", "settled")


def test_an_open_gap_keeps_an_hour_open_and_a_partial_one_does_not(db, settings):
    one = watch(db, LONG_AGO, proven=NOW)
    miss(db, one, LONG_AGO, LONG_AGO + AN_HOUR, state="partial")
    miss(db, one, YESTERDAY - AN_HOUR, YESTERDAY)  # ends on the stroke: not in the hour
    assert ripeness(db, settings) == ("final", "settled")

    miss(db, one, YESTERDAY - AN_HOUR, YESTERDAY + timedelta(seconds=1))
    assert ripeness(db, settings) == ("final", "open")
    assert hours(settings, "gaps", f"hour = '{hour_name(YESTERDAY)}'") == [(1,)]


def test_who_is_parked_keeps_an_hour_open_for_a_week_and_no_longer(db, settings):
    one = watch(db, LONG_AGO, proven=LONG_AGO, state="parked")
    miss(db, one, LONG_AGO + timedelta(minutes=5), None, cause="parked", loss="changes")

    assert ripeness(db, settings) == ("final", "open")
    assert hours(settings, "mailboxes, complete, gaps") == [(1, 0, 1), (1, 0, 1)]


def test_what_a_round_can_still_prove_keeps_even_an_old_hour_open(db, settings):
    watch(db, LONG_AGO, proven=LONG_AGO)

    assert ripeness(db, settings) == ("open", "open")


def test_a_settled_hour_opens_again_when_something_may_be_missing_and_a_final_one_stays(
    db, settings
):
    one = watch(db, LONG_AGO, proven=NOW)
    assert ripeness(db, settings) == ("final", "settled")

    miss(db, one, LONG_AGO, None, cause="witness")
    assert ripeness(db, settings) == ("final", "open")


def test_an_hour_is_open_while_its_file_lacks_what_was_committed(db, settings):
    watch(db, LONG_AGO, proven=NOW)
    assert ripeness(db, settings)[1] == "settled"

    lake.commit(db, settings, [lake.event(7, at=YESTERDAY)])
    hours_table.write(db, settings)
    assert dict(hours(settings))[hour_name(YESTERDAY)] == "open"

    assert ripeness(db, settings)[1] == "settled"


def test_maturity_is_no_part_of_an_hours_file(db, settings):
    one = watch(db, LONG_AGO)
    assert ripeness(db, settings)[1] == "open"
    place = layout.hour_file(settings, lake.DOMAIN, hour_name(YESTERDAY))
    before = place.read_bytes()

    prove(db, one, NOW)
    assert ripeness(db, settings)[1] == "settled"
    assert place.read_bytes() == before


def test_the_documented_way_to_refuse_holes_leaves_them_out(db, settings):
    one = watch(db, LONG_AGO, proven=NOW)
    miss(db, one, YESTERDAY, YESTERDAY + AN_HOUR)
    export(db, settings)
    page = Path("docs/analyse.md").read_text(encoding="utf-8")
    (query,) = [part for part in page.split("```") if "maturity <> 'open'" in part]

    with open_lake(settings) as connection:
        rows = connection.sql(query.removeprefix("sql\n")).fetchall()
    assert sum(row[-1] for row in rows) == 1  # the event of long ago, not yesterday's


def test_an_hour_in_which_nobody_was_watched_is_not_settled(db, settings):
    watch(db, YESTERDAY - 20 * AN_HOUR, proven=YESTERDAY - 10 * AN_HOUR, state="leaving")

    assert ripeness(db, settings) == ("final", "open")
    assert hours(settings, "mailboxes", f"hour = '{hour_name(YESTERDAY)}'") == [(0,)]


def test_each_tenant_has_its_own_tables_and_they_go_with_it(db, settings):
    lake.add_tenant(db, domain_id="other")
    lake.commit(db, settings, [lake.event(9, at=YESTERDAY, domain_id="other")])
    miss(db, watch(db, YESTERDAY), YESTERDAY, None)
    export(db, settings)
    assert layout.table_files(settings, "hours").keys() == {"acme", "other"}
    assert layout.table_files(settings, "gaps").keys() == {"acme"}

    with db.write() as connection:
        connection.exec_driver_sql("DELETE FROM hour WHERE domain_id = 'other'")
        connection.exec_driver_sql("DELETE FROM gap")
    hours_table.write(db, settings)
    assert layout.table_files(settings, "hours").keys() == {"acme"}
    assert not layout.table_files(settings, "gaps")


def test_a_table_of_gaps_is_written_when_a_gap_changed_and_only_then(db, settings):
    one = watch(db, YESTERDAY)
    miss(db, one, YESTERDAY, None)
    hours_table.write(db, settings)
    place = layout.table_file(settings, "gaps", lake.DOMAIN)
    made = place.stat().st_ino

    hours_table.write(db, settings)
    assert place.stat().st_ino == made

    with db.write() as connection:
        connection.exec_driver_sql("UPDATE gap SET to_at = from_at + 5")
    hours_table.write(db, settings)
    assert place.stat().st_ino != made
    with open_lake(settings) as connection:
        assert connection.sql("SELECT cause, state, to_at - from_at FROM gaps").fetchall() == [
            ("lapsed", "open", timedelta(microseconds=5))
        ]


def test_how_far_each_mailbox_is_proven_is_told_for_whoever_asks_of_one_person(db, settings):
    watch(db, LONG_AGO, proven=NOW, full_at=5)
    watch(db, LONG_AGO, state="erased")
    export(db, settings)

    with open_lake(settings) as connection:
        rows = connection.sql(
            "SELECT state, complete_through = $now, full_at IS NOT NULL FROM rounds",
            params={"now": NOW},
        ).fetchall()
    assert rows == [("live", True, True)]


def test_what_was_gone_before_anybody_could_look_is_told(db, settings):
    one = watch(db, LONG_AGO)
    with db.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO outcome (mailbox_id, item_key, kind, at, count) "
            f"VALUES ({one}, x'000102030405060708090a0b0c0d0e0f', 'gone_unseen', 7, 2)"
        )
    export(db, settings)

    with open_lake(settings) as connection:
        rows = connection.sql("SELECT kind, count, octet_length(item_key) FROM outcomes").fetchall()
    assert rows == [("gone_unseen", 2, 16)]
