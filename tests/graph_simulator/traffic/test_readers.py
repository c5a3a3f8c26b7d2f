"""What people do with a message makes sense, in its order and in its delays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest

from graph_simulator.traffic import PlannedAct
from graph_simulator.traffic.model import Arrival
from graph_simulator.traffic.readers import Hours, Pace, habits_of, what_follows

TEN = datetime(2026, 11, 18, 10, tzinfo=UTC)
PLACES = {"delete": "deleted", "restore": "kept", "purge": "gone", "move": "kept"}


def many(pace: Pace, hours: Hours | None = None, messages: int = 400) -> list[list[PlannedAct]]:
    told = []
    for nth in range(messages):
        mailbox = f"p{nth % 20}@contoso.example"
        habits = habits_of(1, mailbox, *([hours] if hours else []))
        arrival = Arrival(mailbox, f"item-{nth}")
        told.append(what_follows(Random(nth), habits, arrival, TEN, pace))
    return told


def test_nothing_is_read_twice_restored_undeleted_or_touched_when_gone() -> None:
    for acts in many(Pace()):
        read, flagged, place = False, False, "kept"
        for act in acts:
            assert place != "gone"
            if act.do in ("read", "unread"):
                assert read == (act.do == "unread")
                read = act.do == "read"
            elif act.do == "flag":
                assert not flagged
                flagged = True
            elif act.do in ("complete", "unflag"):
                assert flagged
            elif act.do in ("restore", "purge"):
                assert place == "deleted"
            place = PLACES.get(act.do, place)


def test_two_acts_on_one_message_lie_the_pause_apart() -> None:
    pace = Pace(least=timedelta(minutes=5), pause=timedelta(minutes=20))

    for acts in filter(None, many(pace)):
        assert acts[0].at - TEN >= pace.least
        assert all(later.at - act.at >= pace.pause for act, later in pairwise(acts))


def test_a_fast_clock_keeps_acts_apart_in_machine_time() -> None:
    pace = Pace(least=timedelta(minutes=20), pause=timedelta(minutes=1))

    assert pace.at_speed(1) == pace
    # 15 machine seconds at 360x are 90 Graph minutes
    fast = pace.at_speed(360)
    assert (fast.least, fast.pause) == (timedelta(minutes=90), timedelta(minutes=90))


def test_delays_are_human_most_within_hours_some_much_longer() -> None:
    first_looks = sorted(acts[0].at - TEN for acts in many(Pace()) if acts)

    assert timedelta(minutes=10) < first_looks[len(first_looks) // 2] < timedelta(hours=2)
    assert first_looks[-1] > 4 * first_looks[len(first_looks) // 2]


def test_a_share_of_the_messages_is_never_touched() -> None:
    touched = sum(bool(acts) for acts in many(Pace(share=0.25)))

    assert 60 < touched < 140


def test_nobody_reads_out_of_hours() -> None:
    hours = Hours("Asia/Tokyo", 8, 17, weekends=False)  # ten in UTC is seven in the evening there

    for acts in many(Pace(), hours):
        for act in acts:
            local = act.at.astimezone(ZoneInfo("Asia/Tokyo"))
            assert hours.works(local), local


def test_nothing_is_planned_after_the_end() -> None:
    end = TEN + timedelta(hours=1)

    assert all(act.at < end for acts in many(Pace(until=end)) for act in acts)


def test_people_differ_but_stay_themselves() -> None:
    ways = {habits_of(1, f"p{n}@contoso.example") for n in range(20)}

    assert len(ways) == 20
    habits_of.cache_clear()
    assert {habits_of(1, f"p{n}@contoso.example") for n in range(20)} == ways


@pytest.mark.parametrize(
    ("at", "back_at_work"),
    [
        pytest.param("2026-11-18 12:00", "2026-11-18", id="in hours: at once"),
        pytest.param("2026-11-18 20:00", "2026-11-19", id="in the evening: tomorrow"),
        pytest.param("2026-11-19 03:00", "2026-11-19", id="at night: this morning"),
        pytest.param("2026-11-20 20:00", "2026-11-23", id="on Friday evening: on Monday"),
    ],
)
def test_work_goes_on_at_the_next_start_of_work(at: str, back_at_work: str) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)

    found = Hours("UTC", 8, 17, weekends=False).next_working(moment, Random(1))

    assert found.date().isoformat() == back_at_work
    assert found == moment or 8 <= found.hour <= 9
