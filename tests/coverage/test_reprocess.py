"""What a person may ask to be done again, and what they are told before it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from outlook_lake.application import Application
from outlook_lake.cli import app
from outlook_lake.clock import graph_now, hour_name, hour_start, to_us
from outlook_lake.coverage.added import events_added
from outlook_lake.coverage.reprocess import Request, preview
from outlook_lake.errors import UsageError
from outlook_lake.lake.export import export
from outlook_lake.settings import Settings
from outlook_lake.state import leases
from outlook_lake.state.database import Database
from outlook_lake.state.tables import folder
from outlook_lake.steps import reprocess
from tests.support import lake
from tests.support.coverage import miss, watch

AN_HOUR = timedelta(hours=1)
NOW = hour_start(graph_now() - timedelta(minutes=2))
START = NOW - 9 * AN_HOUR
DAY_BEFORE = NOW - 24 * AN_HOUR


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OUTLOOK_LAKE_HOME", str(tmp_path))
    return lake.home(tmp_path)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    lake.add_tenant(database, watch_from=DAY_BEFORE)
    yield database
    database.close()


def asked(db: Database, settings: Settings, **more: Any) -> Request:
    """The outage of nine hours, unless told otherwise."""
    said = {"from_hour": hour_name(START), "to_hour": hour_name(NOW), "reason": "an outage"}
    return Request.of(db, settings, **(said | more))


def tuid(db: Database, mailbox_id: int) -> str:
    with db.read() as connection:
        return str(
            connection.execute(
                text("SELECT tuid FROM mailbox WHERE mailbox_id = :id"), {"id": mailbox_id}
            ).scalar_one()
        )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(
            {"to_hour": hour_name(NOW + 2 * AN_HOUR)}, "is not over yet", id="running hour"
        ),
        pytest.param({"to_hour": "2099-01-01T00"}, "at most 92 days", id="far future"),
        pytest.param(
            {"from_hour": hour_name(NOW + AN_HOUR), "to_hour": hour_name(NOW + 3 * AN_HOUR)},
            "is not over yet",
            id="future",
        ),
        pytest.param({"from_hour": hour_name(NOW)}, "holds no hour", id="empty"),
        pytest.param({"to_hour": hour_name(START - AN_HOUR)}, "holds no hour", id="end first"),
        pytest.param({"from_hour": "2021-11-24T00"}, "at most 92 days", id="five years"),
        pytest.param({"from_hour": "yesterday"}, "does not name an hour", id="no hour"),
        pytest.param({"to_hour": ""}, "a window needs", id="half a window"),
        pytest.param({"tenant": "nobody"}, "no tenant 'nobody' here; known: acme", id="tenant"),
        pytest.param({"mailboxes": ["x"]}, "number 1 of those named is not known", id="mailbox"),
        pytest.param({"mailboxes": []}, "none was named", id="no mailbox"),
        pytest.param({"mailboxes": "parked"}, "no mailbox is left to do", id="nobody parked"),
        pytest.param({"depth": "deep"}, "depth is one of rounds, window", id="depth"),
        pytest.param({"reason": "  "}, "say why", id="no reason"),
        pytest.param(
            {"from_hour": hour_name(NOW - 50 * AN_HOUR), "to_hour": hour_name(NOW - 40 * AN_HOUR)},
            "nobody was watched before",
            id="before watching",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(db, settings, more, words):
    watch(db, DAY_BEFORE)
    with pytest.raises(UsageError, match=words):
        asked(db, settings, **more)


def test_an_address_that_was_typed_is_not_repeated(db, settings):
    watch(db, DAY_BEFORE)
    with pytest.raises(UsageError) as refused:
        asked(db, settings, mailboxes=["jane@acme.example"])
    assert "jane" not in str(refused.value)


def test_a_preview_counts_mailboxes_requests_and_what_is_proven_already(db, settings):
    one = watch(db, DAY_BEFORE, proven=NOW)
    two = watch(db, DAY_BEFORE, proven=START)
    watch(db, DAY_BEFORE, state="parked")
    watch(db, NOW)  # later than the window
    miss(db, two, START, NOW, cause="receiver_down", loss="changes")
    with db.write() as connection:
        for mailbox_id, folders in ((one, 17), (two, 2)):
            for number in range(folders):
                connection.execute(
                    folder.insert().values(
                        mailbox_id=mailbox_id, folder_no=number, folder_id=str(number),
                        kind="other", link_state="live",
                    )
                )  # fmt: skip
    told = preview(db, asked(db, settings))

    assert (told["mailboxes"], told["readable"], told["parked"]) == (3, 2, 1)
    assert (told["hours"], told["not_watched_then"], told["proven_already"]) == (9, 1, 1)
    assert told["requests"] == (17 + 3) + (2 + 3)
    assert told["minutes"] == 1
    assert told["gaps_open"] == [{"cause": "receiver_down", "loss": "changes", "gaps": 1}]
    assert any("overtaken or undone" in words for words in told["cannot_be_recovered"])
    assert any("parked" in words for words in told["cannot_be_recovered"])
    assert "| requests | about 25, in 1 minutes or more |" in told["table"]


def test_an_open_gap_in_the_window_is_not_proven_however_far_the_watermark_is(db, settings):
    one = watch(db, DAY_BEFORE, proven=NOW)
    two = watch(db, DAY_BEFORE, proven=NOW)
    miss(db, one, START, START + AN_HOUR)
    miss(db, two, START - 3 * AN_HOUR, START)  # before the window

    chosen = asked(db, settings, mailboxes="unproven").chosen
    assert [each.mailbox_id for each in chosen] == [one]


def test_mailboxes_are_chosen_by_tuid(db, settings):
    one = watch(db, DAY_BEFORE)
    watch(db, DAY_BEFORE)

    assert [each.mailbox_id for each in asked(db, settings, mailboxes=tuid(db, one)).chosen] == [
        one
    ]


def test_a_window_look_costs_less_and_says_what_it_does_not_find(db, settings):
    watch(db, DAY_BEFORE)
    told = preview(db, asked(db, settings, depth="window"))

    assert told["requests"] == 2
    assert any("read, moved on or purged" in words for words in told["cannot_be_recovered"])


def test_what_a_run_added_is_counted_by_hour_and_action_without_what_was_there(db, settings):
    lake.commit(db, settings, [lake.event(n, at=START) for n in range(3)])
    export(db, settings)
    rows = [lake.event(n, at=START) for n in range(2, 5)]
    rows.append(lake.event(9, at=START + AN_HOUR, action="email_moved"))
    lake.commit(db, settings, rows)
    with db.write() as connection:
        connection.execute(text("UPDATE batch SET run_id = 'mine' WHERE seq = 2"))

    assert events_added(db, settings, "mine") == [
        {"domain_id": "acme", "hour": hour_name(START), "action": "email_received", "events": 2},
        {
            "domain_id": "acme",
            "hour": hour_name(START + AN_HOUR),
            "action": "email_moved",
            "events": 1,
        },
    ]
    assert events_added(db, settings, "nobody's") == []


def test_what_an_earlier_try_of_the_same_run_added_is_counted_too(db, settings):
    for number, run_id in enumerate(
        ("d/r_1/t/1:reprocess", "d/r_1/t/2:reprocess", "d/rx1/t/1:reprocess", "d/r_1/t/2:stream")
    ):
        lake.commit(db, settings, [lake.event(number, at=START)])
        with db.write() as connection:
            connection.execute(
                text("UPDATE batch SET run_id = :run WHERE seq = :seq"),
                {"run": run_id, "seq": number + 1},
            )
        export(db, settings)  # sealed meanwhile

    (told,) = events_added(db, settings, "d/r_1/t/2:reprocess")
    assert told["events"] == 2


def test_a_dry_run_tells_and_changes_nothing(db, settings):
    one = watch(db, DAY_BEFORE)
    miss(db, one, START, NOW)
    command = [
        *("reprocess", "--from", hour_name(START), "--to", hour_name(NOW)),
        *("--reason", "an outage", "--dry-run"),
    ]
    told = CliRunner().invoke(app, [*command, "--json"])
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["gaps_open"][0]["gaps"] == 1
    drawn = CliRunner().invoke(app, [*command, "--parked"])
    assert (drawn.exit_code, "no mailbox is left" in drawn.stderr) == (2, True)
    several = CliRunner().invoke(app, [*command, "--parked", "--unproven"])
    assert (several.exit_code, "not several" in several.stderr) == (2, True)

    with db.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM lease")).scalar() == 0
    assert not (settings.home / "receipts").exists()


def test_a_window_that_ends_on_the_last_full_hour_is_taken(db, settings):
    watch(db, DAY_BEFORE)
    request = asked(db, settings)
    assert (request.window.to_us, request.window.hours) == (to_us(NOW), 9)


def test_a_second_reprocess_of_a_tenant_is_refused_while_the_first_is_at_work(db, settings):
    watch(db, DAY_BEFORE)
    said = {"from_hour": hour_name(START), "to_hour": hour_name(NOW), "reason": "an outage"}
    with Application.open(settings) as home:
        with (
            leases.named(db, "reprocess:acme", "the first") as held,
            pytest.raises(UsageError, match="another reprocess of acme is at work"),
        ):
            assert held
            asyncio.run(reprocess(home, **said))

        # Nobody holds it any more, and this home has no connection to ask with.
        receipt = asyncio.run(reprocess(home, **said))
    assert (receipt["walked"], receipt["left"], receipt["gave_up"]) == (0, 1, 0)
    assert receipt["troubles"][0]["tenant"] == "acme"
    assert Path(receipt["receipt"]).stat().st_mode & 0o777 == 0o600
    with db.read() as connection:
        wanted = connection.execute(text("SELECT round_reason FROM mailbox")).scalar()
    assert wanted == "reprocess"
