"""Hours in which no receiver was there are gaps of everybody, and only those."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from outlook_lake.clock import from_us, graph_us, machine_us
from outlook_lake.coverage import settle
from outlook_lake.receiver.heartbeat import Beats, pulse_folder
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake
from tests.support.coverage import gaps, prove, watch

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = graph_us()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database)
    watch(database, from_us(NOW - 48 * HOUR))
    watch(database, from_us(NOW - 48 * HOUR), state="priming")
    watch(database, from_us(NOW - 48 * HOUR), state="parked")
    yield database
    database.close()


def beats(
    settings: Settings,
    name: str,
    *spans: tuple[float, float],
    refusals: tuple[tuple[float, float], ...] = (),
    beat_at: int | None = None,
) -> Path:
    """A receiver left this; spans are hours before now."""
    folder = pulse_folder(settings.staging)
    folder.mkdir(parents=True, exist_ok=True)
    left = Beats(
        name,
        machine_us() if beat_at is None else beat_at,
        [(NOW - int(since * HOUR), NOW - int(until * HOUR)) for since, until in spans],
        [(NOW - int(since * MINUTE), NOW - int(until * MINUTE)) for since, until in refusals],
    )
    path = folder / f"{name}.json"
    path.write_bytes(msgspec.json.encode(left))
    return path


def spans(db: Database) -> list[tuple[int, int, int | None, str]]:
    """(mailbox, from, to, loss) of all gaps; minutes before now."""
    with db.read() as connection:
        rows = connection.execute(
            text("SELECT mailbox_id, from_at, to_at, loss FROM gap ORDER BY mailbox_id, from_at")
        )
        return [
            (row.mailbox_id, (NOW - row.from_at) // MINUTE,
             None if row.to_at is None else (NOW - row.to_at) // MINUTE, row.loss)
            for row in rows
        ]  # fmt: skip


def wanted(db: Database) -> list[tuple[int, str]]:
    with db.read() as connection:
        rows = connection.execute(
            text("SELECT mailbox_id, round_reason FROM mailbox WHERE round_wanted_at IS NOT NULL")
        )
        return [tuple(row) for row in rows]


def test_nine_hours_without_a_receiver_are_a_gap_and_a_round_is_wanted(db, settings):
    beats(settings, "one", (30, 20))
    beats(settings, "two", (11, 0))
    settle(db, settings)

    assert spans(db) == [(1, 20 * 60 + 5, 11 * 60, "changes"), (2, 20 * 60 + 5, 11 * 60, "changes")]
    assert wanted(db) == [(1, "receiver_down"), (2, "receiver_down")]


def test_what_graph_tried_again_for_is_no_gap(db, settings):
    beats(settings, "one", (30, 20), (16.5, 3))
    beats(settings, "two", (22, 0))

    assert settle(db, settings).opened == 0


def test_one_of_several_receivers_is_enough(db, settings):
    beats(settings, "one", (30, 20), (8, 0))
    beats(settings, "two", (21, 7))

    assert settle(db, settings).opened == 0


def test_an_absence_is_judged_once_so_that_its_gap_stays_closed(db, settings):
    beats(settings, "one", (30, 20), (11, 0))
    settle(db, settings)
    for mailbox_id in (1, 2):
        prove(db, mailbox_id, from_us(NOW))
    assert settle(db, settings).partial == 2
    assert settle(db, settings).opened == 0
    assert {row[1] for row in gaps(db)} == {"partial"}


def test_nobody_there_now_is_a_gap_without_an_end_until_somebody_is(db, settings):
    beats(settings, "one", (30, 6), beat_at=machine_us() - 6 * HOUR)
    settle(db, settings)
    assert spans(db)[0] == (1, 6 * 60 + 5, None, "changes")
    assert settle(db, settings).opened == 0
    assert not wanted(db)

    beats(settings, "two", (1, 0))
    settle(db, settings)
    assert spans(db) == [(1, 365, 60, "changes"), (2, 365, 60, "changes")]
    assert [row[0] for row in wanted(db)] == [1, 2]


def test_a_leap_of_graphs_clock_is_no_absence_of_who_still_beats(db, settings):
    beats(settings, "one", (30, 6), beat_at=machine_us() - 2 * SECOND)

    assert settle(db, settings).opened == 0


def test_a_receiver_that_did_not_know_graphs_clock_yet_was_not_there_in_the_future(db, settings):
    beats(settings, "one", (-9, -9), (30, 0))

    assert settle(db, settings).opened == 0


def test_refusals_are_a_question_of_time_unless_graph_gave_up(db, settings):
    beats(settings, "one", (30, 0), refusals=((390, 389.9), (360, 350)))
    settle(db, settings)
    assert spans(db) == [(1, 365, 350, "timing"), (2, 365, 350, "timing")]
    assert not wanted(db)

    beats(settings, "one", (30, 0), refusals=((360, 60),))  # it went on
    settle(db, settings)
    assert spans(db) == [(1, 365, 60, "changes"), (2, 365, 60, "changes")]
    assert [row[0] for row in wanted(db)] == [1, 2]


def test_old_receivers_are_forgotten_and_the_last_one_is_not(db, settings):
    old = beats(settings, "one", (30, 20), beat_at=machine_us() - 9 * 24 * HOUR)
    new = beats(settings, "two", (21, 0))
    settle(db, settings)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_home_without_a_receiver_of_its_own_is_not_judged(db, settings):
    assert settle(db, settings).opened == 0
