"""The figures of the Coverage page: right for every hour, and quick for 100,000 mailboxes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from outlook_lake.cli import app
from outlook_lake.clock import graph_now, hour_name, hour_start, machine_us, to_us
from outlook_lake.coverage import settle
from outlook_lake.coverage.page import list_gaps, overview
from outlook_lake.errors import UsageError
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database
from tests.support import lake
from tests.support.coverage import miss, watch

AN_HOUR = timedelta(hours=1)
NOW = hour_start(graph_now())
START = NOW - 6 * AN_HOUR


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database, watch_from=START)
    yield database
    database.close()


def test_each_hour_since_watching_began_has_a_cell_with_its_counts(db, settings):
    one = watch(db, START, proven=START + 3 * AN_HOUR)
    watch(db, START + AN_HOUR, proven=START + 2 * AN_HOUR)
    miss(db, one, START, START + AN_HOUR, state="partial")
    miss(db, one, START + 2 * AN_HOUR, START + 3 * AN_HOUR)
    lake.commit(db, settings, [lake.event(1, at=START)])
    export(db, settings)
    settle(db, settings)

    found = overview(db, hour_name(START - AN_HOUR), hour_name(START + 3 * AN_HOUR))
    cells = found["cells"]["acme"]
    assert [
        (c["hour"], c["maturity"], c["mailboxes"], c["complete"], c["gaps"], c["rows"])
        for c in cells
    ] == [
        (hour_name(START), "settled", 1, 1, 1, 1),
        (hour_name(START + AN_HOUR), "settled", 2, 2, 0, 0),
        (hour_name(START + 2 * AN_HOUR), "open", 2, 1, 1, 0),
    ]


def test_gaps_are_counted_by_cause_and_loss_and_only_those_of_the_window(db):
    for _ in range(3):
        miss(db, watch(db, START), START, START + AN_HOUR, cause="missed")
    one = watch(db, START)
    miss(db, one, START + 2 * AN_HOUR, None, cause="silent", loss="timing")
    miss(db, one, START - 50 * AN_HOUR, START - 49 * AN_HOUR, cause="witness")

    found = overview(db, hour_name(START), hour_name(NOW))
    assert [(g["cause"], g["loss"], g["state"], g["gaps"]) for g in found["gaps"]] == [
        ("missed", "created_and_purged", "open", 3),
        ("silent", "timing", "open", 1),
    ]
    assert found["silent"]["mailboxes"] == 1
    assert [row["cause"] for row in list_gaps(db)] == ["silent", *["missed"] * 3, "witness"]
    assert [row["cause"] for row in list_gaps(db, cause="witness", tenant="acme")] == ["witness"]
    assert not list_gaps(db, tenant="other")


def test_who_is_parked_throttled_or_waits_for_a_round_is_counted(db):
    watch(db, START, state="parked", reason="no licence")
    watch(db, START, pause_until=machine_us() + 60_000_000)
    watch(db, START, round_wanted_at=to_us(NOW), unannounced=1)

    found = overview(db)
    assert found["parked"] == [{"reason": "no licence", "mailboxes": 1}]
    assert found["budget"]["throttled_mailboxes"] == 1
    assert 0 < found["budget"]["longest_pause_s"] <= 60
    assert found["budget"]["rounds_wanted"] == 1
    assert found["silent"] == {"mailboxes": 0, "doubted": 1}


def test_a_home_without_tenants_has_an_empty_page(settings: Settings, tmp_path: Path):
    empty = Database.open(lake.home(tmp_path / "empty"))
    try:
        assert overview(empty)["cells"] == {}
    finally:
        empty.close()


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        pytest.param("2026-11-24", None, "does not name an hour", id="a day"),
        pytest.param("2026-11-24T09", "2026-11-24T09", "holds no hour", id="empty"),
        pytest.param("2026-11-24T09", "2026-11-24T08", "holds no hour", id="end before start"),
        pytest.param("2021-11-24T09", "2026-11-24T09", "at most 92 days", id="five years"),
    ],
)
def test_a_window_that_cannot_be_is_refused_in_words(db, since, until, words):
    with pytest.raises(UsageError, match=words):
        overview(db, since, until)


def crowd(db: Database, mailboxes: int) -> None:
    """Mailboxes by SQL, each fifth with a gap; watermarks spread over six hours."""
    with db.write() as connection:
        connection.execute(
            text(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :most) "
                "INSERT INTO mailbox (tenant_id, aad_id, tuid, shard, state, watch_from, "
                "complete_through) SELECT :tenant, i, i, i % 256, "
                "CASE WHEN i % 100 = 0 THEN 'parked' ELSE 'live' END, :since, "
                ":now - (i % 6) * 3600000000 FROM n"
            ),
            {
                "most": mailboxes,
                "tenant": lake.TENANT,
                "since": to_us(NOW - 500 * AN_HOUR),
                "now": to_us(NOW),
            },
        )
        connection.execute(
            text(
                "INSERT INTO gap (mailbox_id, from_at, to_at, cause, loss, state) "
                "SELECT mailbox_id, watch_from, complete_through, 'receiver_down', 'changes', "
                "'partial' FROM mailbox WHERE mailbox_id % 5 = 0"
            )
        )
        connection.execute(
            text("UPDATE tenant SET watch_from = :since"), {"since": to_us(NOW - 500 * AN_HOUR)}
        )


def test_a_week_of_100_000_mailboxes_is_told_whole(db):
    crowd(db, 100_000)
    overview(db)  # the first opens the file
    found = overview(db, hour_name(NOW - 168 * AN_HOUR), hour_name(NOW))

    cells = found["cells"]["acme"]
    assert len(cells) == 168
    assert cells[0]["complete"] == 100_000
    assert cells[-1]["complete"] < 20_000


def test_the_command_draws_a_heat_map_and_answers_machines(db, settings):
    one = watch(db, START, proven=NOW)
    miss(db, one, START + AN_HOUR, None, cause="parked", loss="changes")
    settle(db, settings)

    drawn = CliRunner().invoke(app, ["coverage"])
    assert drawn.exit_code == 0
    assert "!!" in drawn.stdout
    assert "open gaps: parked" in drawn.stdout
    told = CliRunner().invoke(app, ["coverage", "--from", hour_name(START), "--json"])
    assert json.loads(told.stdout)["cells"]["acme"][0]["hour"] == hour_name(START)


def test_gaps_are_listed_with_their_cause_and_loss(db, settings):
    miss(db, watch(db, START, proven=NOW), START, START + AN_HOUR, cause="missed")
    (told,) = json.loads(CliRunner().invoke(app, ["gaps", "--json"]).stdout)["gaps"]
    assert (told["cause"], told["loss"], told["state"]) == ("missed", "created_and_purged", "open")

    settle(db, settings)
    drawn = CliRunner().invoke(app, ["gaps", "--tenant", "acme"])
    assert "partial" in drawn.stdout


def test_a_wrong_window_is_wrong_use(db):
    answer = CliRunner().invoke(app, ["coverage", "--from", "yesterday"])
    assert (answer.exit_code, "2026-11-24T09" in answer.stderr) == (2, True)
