"""Whole days are played: few enough to be played, spread over the best-covered stretch."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

from graph_simulator.traffic.days import Day, days_to_play


def days(*records: int) -> list[Day]:
    return [Day(date(2001, 1, 1) + timedelta(days=nth), n) for nth, n in enumerate(records)]


def test_all_days_are_played_when_they_hold_no_more_than_the_limit() -> None:
    assert days_to_play(days(10, 20, 30), limit=60) == days(10, 20, 30)


def test_all_days_are_played_when_nobody_asks_for_a_limit() -> None:
    assert days_to_play(days(10**9, 1), limit=None) == days(10**9, 1)


def test_the_days_come_from_the_densest_stretch() -> None:
    chosen = days_to_play(days(*[1] * 50, *[100] * 10, *[1] * 50), limit=400)

    assert [day.records for day in chosen] == [100] * 4


def test_the_days_are_spread_evenly_over_the_stretch() -> None:
    # 20 days of 100: the stretch is twice the limit, ten days; five of them hold the 500
    chosen = days_to_play(days(*[100] * 20), limit=500)

    assert [b.day - a.day for a, b in itertools.pairwise(chosen)] == [timedelta(days=2)] * 4


def test_no_more_days_are_taken_than_reach_the_limit() -> None:
    chosen = days_to_play(days(*[100] * 100), limit=950)

    assert sum(day.records for day in chosen) == 1000


def test_a_file_with_one_huge_day_plays_that_day() -> None:
    assert days_to_play(days(5000), limit=100) == days(5000)
