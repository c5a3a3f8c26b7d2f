"""A replay: the mailboxes exist before the clock runs, the file's mail arrives, people react."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from graph_simulator.traffic import Player, TrafficClockError, TrafficSpec, go, start, start_back
from tests.support.traffic import journal, office_day, open_world, play_until

LEAST = timedelta(minutes=20)


def test_preparing_makes_the_mailboxes_and_leaves_the_clock_alone(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        before = world.clock.line()

        traffic = start(world, {"file": str(office_day(tmp_path / "f.parquet")), "minutes": 10})

        assert world.clock.line() == before
        assert len(world.mailboxes) == 12
        assert {m.time_zone for m in world.mailboxes.values()} == {"America/Chicago"}
        assert traffic.speed == 72


def test_going_sets_the_clock_to_seven_and_to_twelve_hours_in_the_minutes_asked_for(
    tmp_path: Path,
) -> None:
    with open_world(tmp_path) as world:
        traffic = start(world, {"file": str(office_day(tmp_path / "f.parquet")), "minutes": 7.2})

        go(world, traffic)

        assert world.clock.speed == pytest.approx(100)
        late = world.when(world.clock.instant()) - traffic.begins_at
        assert timedelta(0) <= late < timedelta(minutes=5)


def test_a_clock_past_seven_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(hours=1)) as world:
        traffic = start(world, {"file": str(office_day(tmp_path / "f.parquet")), "minutes": 10})

        with pytest.raises(TrafficClockError, match=r"this traffic begins at .* --start-back"):
            go(world, traffic)


def test_the_clock_starts_an_hour_ahead_of_the_play_so_that_mailboxes_can_be_primed(
    tmp_path: Path,
) -> None:
    spec = TrafficSpec(file=office_day(tmp_path / "f.parquet"), minutes=10)
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)

    back = start_back(spec, now)

    assert back is not None
    # 07:00 in Chicago on Wednesday 2026-11-18 is 13:00 UTC
    assert now - back == datetime(2026, 11, 18, 12, tzinfo=UTC)


def test_every_record_of_the_file_reaches_the_journal_once(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        traffic = start(world, {"file": str(office_day(tmp_path / "f.parquet")), "minutes": 10})
        go(world, traffic)
        world.clock.set_speed(0)
        player = Player(traffic)

        play_until(world, player)

        actions = Counter(row["action"] for row in journal(world) if row["kind"] == "act")
        progress = player.progress()
        made = actions["email_sent"] + actions["email_received"]
        assert made == progress["planned_records"] == progress["played_records"]
        assert progress["refused"] == {}
        assert progress["finished"] is True


def test_readers_come_twenty_minutes_later_at_the_earliest_and_stop_with_the_play(
    tmp_path: Path,
) -> None:
    with open_world(tmp_path) as world:
        file = str(office_day(tmp_path / "f.parquet"))
        traffic = start(world, {"file": file, "minutes": 10, "readers": 1.0})
        go(world, traffic)
        world.clock.set_speed(0)

        play_until(world, Player(traffic))

        arrived: dict[object, datetime] = {}
        touched = 0
        for row in journal(world):
            at = datetime.fromisoformat(str(row["at"]))
            if row["action"] == "email_received":
                arrived[row["item"]] = at
            elif row["item"] in arrived:
                touched += 1
                assert at - arrived[row["item"]] >= LEAST
                assert at <= traffic.ends_at + timedelta(seconds=1)
        assert touched > len(arrived) / 2


def test_readers_zero_leaves_everything_unread(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        file = str(office_day(tmp_path / "f.parquet"))
        traffic = start(world, {"file": file, "minutes": 10, "readers": 0})
        go(world, traffic)
        world.clock.set_speed(0)

        play_until(world, Player(traffic))

        actions = {row["action"] for row in journal(world) if row["observable"]}
        assert actions == {"email_sent", "email_received"}


def test_progress_says_how_much_of_the_file_is_played_and_names_nobody(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        file = str(office_day(tmp_path / "f.parquet"))
        traffic = start(world, {"file": file, "minutes": 10, "limit": 200})

        progress = Player(traffic).progress()

        assert progress["sampled"] is True
        assert progress["days_played"] < progress["days_in_file"] == 5
        assert 200 <= progress["planned_records"] < progress["records_in_file"]
        assert "@" not in json.dumps(progress)
