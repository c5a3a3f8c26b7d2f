"""Gaps close by proof, and what cannot be proven stays named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from outlook_lake.clock import graph_now, to_us
from outlook_lake.coverage import Settled, settle
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from outlook_lake.state.tables import folder, mailbox
from tests.support import lake
from tests.support.coverage import gaps, miss, prove, watch

AN_HOUR = timedelta(hours=1)
NOW = graph_now().replace(microsecond=0)
START = NOW - 9 * AN_HOUR


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database)
    yield database
    database.close()


def test_a_round_that_started_after_the_end_closes_a_gap_and_an_earlier_one_does_not(db, settings):
    one = watch(db, START)
    miss(db, one, START, START + AN_HOUR, cause="missed")

    prove(db, one, START + AN_HOUR - timedelta(seconds=1))
    assert settle(db, settings).partial == 0

    prove(db, one, START + AN_HOUR)
    assert settle(db, settings).partial == 1
    assert gaps(db) == [("missed", "partial", "created_and_purged", "round")]


def test_nothing_closes_because_time_passed_or_while_it_lasts(db, settings):
    miss(db, watch(db, START), START, START + AN_HOUR)
    miss(db, watch(db, START, proven=NOW), START, None)

    assert settle(db, settings) == Settled()
    assert [row[1] for row in gaps(db)] == ["open", "open"]


def test_a_question_of_time_alone_is_filled(db, settings):
    miss(
        db, watch(db, START, proven=NOW), START, START + AN_HOUR, cause="token_lost", loss="timing"
    )

    assert settle(db, settings).filled == 1
    assert gaps(db) == [("token_lost", "filled", "timing", "round")]


def test_silence_is_more_than_a_question_of_time(db, settings):
    miss(db, watch(db, START, proven=NOW), START, START + AN_HOUR, cause="silent", loss="timing")

    settle(db, settings)
    assert gaps(db) == [("silent", "partial", "changes", "round")]


def test_a_partial_gap_says_in_words_what_is_lost_and_closing_twice_adds_nothing(db, settings):
    miss(db, watch(db, START, proven=NOW), START, START + AN_HOUR, cause="parked", loss="changes")
    for _ in range(2):
        settle(db, settings)

    with db.read() as connection:
        (note,) = connection.execute(text("SELECT note FROM gap")).scalars()
    assert note == (
        "test; everything since was read: changes undone or overtaken inside, and what came and "
        "was purged inside, cannot be known"
    )


def test_what_the_witness_doubts_no_round_alone_can_close(db, settings):
    one = watch(db, START, proven=NOW)
    for cause in ("witness", "unavailable"):
        miss(db, one, START, START + AN_HOUR, cause=cause, loss="changes", opened_at=START)
    assert settle(db, settings).partial == 0

    with db.write() as connection:
        connection.execute(mailbox.update().values(witnessed_at=to_us(NOW)))
    assert settle(db, settings).partial == 2
    assert {row[3] for row in gaps(db)} == {"witness"}


def test_a_mailbox_that_left_leaves_no_open_gap_behind(db, settings):
    miss(db, watch(db, START, state="leaving"), START, None)

    assert settle(db, settings).partial == 1
    with db.read() as connection:
        row = connection.execute(text("SELECT state, closed_by, to_at, note FROM gap")).one()
    assert (row.state, row.closed_by) == ("partial", "left")
    assert row.to_at >= to_us(NOW)


def test_a_folder_whose_state_died_opens_a_gap_that_ends_when_it_is_read_again(db, settings):
    one = watch(db, START, proven=START + AN_HOUR)
    with db.write() as connection:
        connection.execute(
            folder.insert(),
            [
                {
                    "mailbox_id": one,
                    "folder_no": number,
                    "folder_id": str(number),
                    "kind": "other",
                    "link_state": state,
                    "round_started_at": to_us(START + number * AN_HOUR),
                }
                for number, state in ((1, "live"), (2, "lost"), (3, "lost"))
            ],
        )
    assert settle(db, settings).opened == 1
    assert settle(db, settings).opened == 0
    with db.read() as connection:
        row = connection.execute(text("SELECT from_at, to_at, note FROM gap")).one()
    assert row == (to_us(START + 2 * AN_HOUR), None, "2 folder(s) are listed anew")

    with db.write() as connection:
        connection.execute(folder.update().values(link_state="live"))
    settle(db, settings)
    assert gaps(db) == [("token_lost", "open", "timing", None)]
    prove(db, one, graph_now() + timedelta(seconds=1))
    settle(db, settings)
    assert gaps(db) == [("token_lost", "filled", "timing", "round")]
