"""The seeded office: the same mail for the same seed, at hours when people are awake."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from graph_simulator.traffic import PlannedAct, Player, TrafficSpec, go, start
from graph_simulator.traffic.office import OfficeTraffic
from graph_simulator.traffic.people import Seat, found_office
from graph_simulator.traffic.readers import Hours
from tests.support.traffic import journal, open_world, play_until

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def office(
    seed: int = 0, zone: str = "Europe/Berlin", people: int = 30, floor: float | None = None
) -> OfficeTraffic:
    seats = [
        Seat(f"p{n}@contoso.example", f"id-{n}", f"Department {n % 3}", Hours(zone, 8, 17, False))
        for n in range(people)
    ]
    spec = TrafficSpec(generator=True, seed=seed, floor=floor)
    return OfficeTraffic(found_office(seats, seed), spec, MONDAY)


def planned(traffic: OfficeTraffic, days: float = 1) -> list[PlannedAct]:
    end = traffic.begins_at + timedelta(days=days)
    return list(takewhile(lambda act: act.at < end, traffic.plan()))


def test_one_seed_gives_one_plan() -> None:
    assert planned(office(seed=7)) == planned(office(seed=7))


def test_another_seed_gives_another_plan() -> None:
    assert planned(office(seed=7)) != planned(office(seed=8))


def test_the_plan_is_in_time_order_and_begins_at_its_beginning() -> None:
    moments = [act.at for act in planned(office(), days=2)]

    assert moments == sorted(moments)
    assert moments[0] >= MONDAY


def test_the_plan_is_made_as_it_is_asked_for() -> None:
    assert len(list(islice(office().plan(), 10))) == 10


def test_people_write_in_their_own_working_hours() -> None:
    sent = [a for a in planned(office(zone="Asia/Tokyo")) if a.do in ("send", "draft")]

    hours = Counter(a.at.astimezone(ZoneInfo("Asia/Tokyo")).hour for a in sent)
    assert sum(n for hour, n in hours.items() if 8 <= hour < 17) > 0.85 * len(sent) > 50


def test_weekends_are_quiet() -> None:
    days = Counter(act.at.date() for act in planned(office(), days=7) if act.do == "send")

    saturday = MONDAY.date() + timedelta(days=5)
    assert days[saturday] < days[MONDAY.date()] / 5


def test_a_floor_keeps_the_night_alive() -> None:
    midnight = list(planned(office(floor=240.0), days=3 / 24))

    assert 600 < len(midnight) < 900  # 3 hours of 240 messages, and newsletters


def test_mail_comes_from_colleagues_partners_newsletters_and_machines() -> None:
    acts = planned(office())

    senders = {str(a.args.get("from", "@inside")).split("@")[1] for a in acts}
    assert {"inside", "news.example", "harbour-freight.example"} <= senders
    assert senders & {"status.example", "service-desk.example", "post.example"}
    assert {a.do for a in acts} == {"send", "receive", "draft"}


def test_threads_are_answered_by_those_who_are_in_them() -> None:
    threads: dict[str, set[str]] = {}
    answered = 0
    for act in planned(office()):
        if act.do == "receive":
            continue
        people = {act.mailbox, *act.args["to"], *act.args["cc"]}
        seen = threads.setdefault(act.args["conversation"], people)
        answered += seen is not people and act.mailbox in seen
    assert answered > 50


def test_the_records_promised_are_the_records_made(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(days=3)) as world:
        traffic = start(world, {"generator": True, "mailboxes": 20, "seed": 3, "floor": 120})
        player = Player(traffic)
        go(world, traffic)

        play_until(world, player, traffic.begins_at + timedelta(hours=6))

        made = Counter(row["action"] for row in journal(world))
        records = made["email_received"] + made["email_sent"]
        assert player.progress()["played_records"] == records > 200
        assert player.progress()["refused"] == {}


def test_people_do_everything_one_can_do_with_a_message(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(days=4)) as world:
        traffic = start(world, {"generator": True, "mailboxes": 40, "floor": 200})
        player = Player(traffic)
        go(world, traffic)

        play_until(world, player, traffic.begins_at + timedelta(hours=14))

        assert set(player.progress()["played"]) == {
            "categorize", "complete", "delete", "draft", "flag", "move", "purge", "read",
            "receive", "restore", "send", "set_importance", "unflag", "unread",
        }  # fmt: skip


def test_an_office_begins_where_the_clock_is_when_it_goes(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(days=3)) as world:
        traffic = start(world, {"generator": True, "mailboxes": 5})
        world.clock.advance(3600)

        go(world, traffic)

        player = Player(traffic)
        assert player.next_at is not None
        assert player.next_at >= world.when(world.clock.instant())


def test_the_generator_ends_after_the_minutes_asked_for(tmp_path: Path) -> None:
    with open_world(tmp_path, back=timedelta(days=3)) as world:
        world.clock.set_speed(60)
        spec = {"generator": True, "mailboxes": 10, "minutes": 2, "floor": 300}
        traffic = start(world, spec)
        go(world, traffic)
        world.clock.set_speed(0)
        player = Player(traffic)

        play_until(world, player)

        # two minutes at 60x are two Graph hours
        assert player.progress()["finished"] is True
        last = datetime.fromisoformat(player.progress()["last_act_at"])
        assert timedelta(hours=1) < last - traffic.begins_at < timedelta(hours=2, seconds=5)


@pytest.mark.parametrize("people", [pytest.param(1, id="one person"), pytest.param(2, id="two")])
def test_the_smallest_office_still_has_mail(people: int) -> None:
    assert len(planned(office(people=people), days=3)) > 5
