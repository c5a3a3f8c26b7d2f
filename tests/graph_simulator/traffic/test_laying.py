"""Messages keep their time of day, get a mailbox's place, and make the records they should."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from graph_simulator.traffic import PlannedAct, TrafficFileError
from graph_simulator.traffic.file import read_traffic_file
from graph_simulator.traffic.laying import Laying, last_whole_wednesday, lay
from tests.support.traffic import ZONE, message, write_file

DAY = date(2026, 11, 18)


def laid(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> Laying:
    file = read_traffic_file(write_file(tmp_path / "mail.parquet", rows))
    return lay(file, **{"mailboxes": 300, "zone": ZONE.key, "day": DAY, **options})


def acts(laying: Laying) -> list[PlannedAct]:
    return list(laying.planned())


def test_the_day_is_the_wednesday_of_the_last_whole_week_in_the_files_own_zone() -> None:
    monday_in_chicago = datetime(2026, 11, 24, 5, 59, tzinfo=UTC)
    assert last_whole_wednesday(monday_in_chicago, "America/Chicago") == DAY
    sunday_in_chicago = datetime(2026, 11, 23, 5, 59, tzinfo=UTC)
    assert last_whole_wednesday(sunday_in_chicago, "America/Chicago") == date(2026, 11, 11)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param("2001-07-04 10:00:05", id="a summer day"),
        pytest.param("2001-12-12 10:00:05", id="a winter day"),
        pytest.param("1999-01-02 10:00:05", id="a Saturday of another year"),
    ],
)
def test_a_message_keeps_its_local_time_of_day_on_the_day_everything_is_laid_on(
    tmp_path: Path, sent: str
) -> None:
    [act] = acts(laid(tmp_path, message("m1", sent)))

    local = act.at.astimezone(ZONE)
    assert (local.date(), local.hour, local.minute, local.second) == (DAY, 10, 0, 5)


def test_whole_minutes_get_seconds_from_their_id_and_always_the_same(tmp_path: Path) -> None:
    rows = [message(f"m{n}", "2001-10-03 10:00:00", clock="notes-minute") for n in range(200)]

    first, again = (acts(laid(tmp_path, *rows)) for _ in range(2))

    seconds = {act.at.astimezone(ZONE).second for act in first}
    assert len(seconds) > 40
    assert {act.at.astimezone(ZONE).minute for act in first} == {0}
    assert [act.at for act in first] == [act.at for act in again]


def test_only_seven_to_nineteen_is_played(tmp_path: Path) -> None:
    rows = [
        message(name, f"2001-10-03 {at}")
        for name, at in [
            ("early", "06:59:59"), ("first", "07:00:00"), ("last", "18:59:59"), ("late", "19:00:00")
        ]
    ]  # fmt: skip

    laying = laid(tmp_path, *rows)

    assert [act.args["internet_message_id"] for act in acts(laying)] == ["<first>", "<last>"]
    assert all(laying.begins_at <= act.at < laying.ends_at for act in acts(laying))
    assert laying.begins_at == datetime(2026, 11, 18, 13, tzinfo=UTC)
    assert laying.ends_at - laying.begins_at == timedelta(hours=12)


def test_unfolded_keeps_the_dates_and_the_nights(tmp_path: Path) -> None:
    laying = laid(tmp_path, message("m1", "2001-10-03 03:00:05"), folded=False)

    [act] = acts(laying)
    assert act.at.replace(microsecond=0) == datetime(2001, 10, 3, 8, 0, 5, tzinfo=UTC)
    assert laying.begins_at <= act.at < laying.ends_at


def test_a_send_inside_is_one_act_that_stands_for_its_own_record_and_each_recipients(
    tmp_path: Path,
) -> None:
    row = message(
        "m1",
        to=["bob@corp.example", "Cara@corp.example", "out@elsewhere.example"],
        cc=["cara@corp.example"],
    )

    [act] = acts(laid(tmp_path, row))

    # ann's Sent Items, bob, cara (once, whatever the case and the line): 3
    assert (act.do, act.mailbox, act.records) == ("send", "ann@corp.example", 3)
    assert "from" not in act.args
    assert act.args["to"].count("cara@corp.example") == 1
    assert act.args["cc"] == []


def test_mail_from_outside_arrives_once_in_every_mailbox_it_names(tmp_path: Path) -> None:
    inside = message("m0", to=["bob@corp.example"])
    outside = message(
        "m1",
        "2001-10-03 11:00:00",
        sender="x@elsewhere.example",
        to=["ann@corp.example", "bob@corp.example", "y@elsewhere.example"],
    )

    _, *received = acts(laid(tmp_path, inside, outside))

    assert [(a.do, a.mailbox, a.args["from"], a.records) for a in received] == [
        ("receive", "ann@corp.example", "x@elsewhere.example", 1),
        ("receive", "bob@corp.example", "x@elsewhere.example", 1),
    ]


def test_an_internal_sender_without_a_mailbox_is_received_from_like_an_outsider(
    tmp_path: Path,
) -> None:
    rows = [message(f"m{n}", sender="idle@corp.example") for n in range(1)]
    rows += [message(f"n{n}", sender="ann@corp.example") for n in range(3)]

    laying = laid(tmp_path, *rows, mailboxes=2)

    assert laying.mailboxes == ["bob@corp.example", "ann@corp.example"]
    assert sorted(a.do for a in acts(laying)) == ["receive", "send", "send", "send"]


def test_the_company_is_whoever_internal_senders_write_as_and_what_lies_below(
    tmp_path: Path,
) -> None:
    row = message("m1", to=["b@eu.corp.example", "c@notcorp.example", "d@corp.example"])

    laying = laid(tmp_path, row)

    assert sorted(laying.mailboxes) == ["ann@corp.example", "b@eu.corp.example", "d@corp.example"]
    assert laying.internal_domains == ["corp.example", "eu.corp.example"]


def test_what_cannot_be_played_is_counted_by_its_reason(tmp_path: Path) -> None:
    laying = laid(
        tmp_path,
        message("good"),
        message("good", "2001-10-03 10:00:06"),
        message("bad date", date_ok=False),
        message("nobody", to=[]),
        message("only junk", to=["not an address", "<x@y>", None]),
        message("odd sender", sender="corp.example"),
        message("no time") | {"sent_at": None},
        message("x") | {"message_id": None},
        message("mixed", "2001-10-03 12:00:00", to=["bob@corp.example", "broken"]),
    )

    assert laying.skipped == {
        "date_not_ok": 1,
        "message_id_repeated": 1,
        "no_message_id": 1,
        "no_recipient": 2,
        "no_sent_at": 1,
        "sender_malformed": 1,
    }
    assert laying.recipients_dropped == 4
    assert len(acts(laying)) == 2


def test_the_records_counted_are_those_of_the_acts(tmp_path: Path) -> None:
    rows = [
        message(f"m{n}", f"2001-10-{1 + n % 9:02d} 1{n % 8}:00:05", f"p{n % 5}@corp.example")
        for n in range(100)
    ]

    laying = laid(tmp_path, *rows, limit=120)

    assert laying.records == sum(act.records for act in acts(laying)) >= 120
    assert laying.records == sum(day.records for day in laying.days)
    assert len(laying.days) < laying.days_in_file


def test_acts_come_in_time_order(tmp_path: Path) -> None:
    rows = [message(f"m{n}", f"2001-10-03 {7 + n * 7 % 12:02d}:0{n % 7}:05") for n in range(2500)]

    moments = [act.at for act in acts(laid(tmp_path, *rows))]

    assert len(moments) == 2500
    assert moments == sorted(moments)


def test_a_file_with_nothing_to_play_says_what_a_row_needs(tmp_path: Path) -> None:
    row = message("m1", sender="x@elsewhere.example")

    with pytest.raises(TrafficFileError, match=r"no message .* sender_internal = true"):
        laid(tmp_path, row)
