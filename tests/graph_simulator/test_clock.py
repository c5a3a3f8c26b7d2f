"""The clock one can move: behind machine time, monotonic, the same for readers of its file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from graph_simulator.clock import Clock, parse_duration, parse_instant
from graph_simulator.errors import ControlRefused


def by_the_file(path: Path) -> float:
    """Graph time as a reader of the clock file computes it."""
    line = json.loads(path.read_text())
    machine = time.time()
    graph: float = line["graph_at"] + (machine - line["machine_at"]) * line["speed"]
    return min(machine, graph)


def test_graph_time_starts_in_the_past_and_runs_at_its_speed() -> None:
    clock = Clock.start(3600, 50)
    first = clock.instant()
    time.sleep(0.1)
    assert 3.0 < (clock.instant() - first) / 1_000_000 < 20.0
    assert time.time() * 1_000_000 - first > 3_590 * 1_000_000


def test_graph_time_that_meets_machine_time_becomes_machine_time() -> None:
    clock = Clock.start(0.5, 1000)
    time.sleep(0.05)
    assert abs(clock.instant() - time.time() * 1_000_000) < 50_000
    assert clock.speed == 1


def test_graph_time_never_passes_machine_time() -> None:
    clock = Clock.start(60, 1)
    with pytest.raises(ControlRefused, match="never passes machine time") as refused:
        clock.advance(3600)
    assert refused.value.status == 409
    clock.advance(30)
    assert clock.instant() < time.time() * 1_000_000


def test_each_act_has_a_later_instant_than_every_answer_before_it() -> None:
    clock = Clock.start(60, 0)  # paused: the raw clock stands still
    seen = [clock.tick(), clock.instant(), clock.tick(), clock.tick(), clock.instant()]
    assert seen[0] <= seen[1] < seen[2] < seen[3] <= seen[4]


def test_a_reader_of_the_clock_file_sees_the_same_instant(tmp_path: Path) -> None:
    file = tmp_path / "clock.json"
    clock = Clock.start(7200, 60, file)
    assert abs(by_the_file(file) - clock.raw_us() / 1e6) < 1
    clock.advance(600)
    clock.set_speed(5)
    assert abs(by_the_file(file) - clock.raw_us() / 1e6) < 1
    assert json.loads(file.read_text())["speed"] == 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("PT9H", 32400, id="hours"),
        pytest.param("P1DT30M", 88200, id="a day and minutes"),
        pytest.param("PT0.5S", 0.5, id="half a second"),
        pytest.param("P2W", 1209600, id="weeks"),
    ],
)
def test_durations_are_read_as_iso_8601(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["9h", "", "P", "PT", "P1M", "-PT1H"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISO 8601 duration"):
        parse_duration(text)


def test_instants_with_seven_digits_and_other_zones_are_read() -> None:
    assert parse_instant("2026-11-24T09:00:00.1234567Z") % 1_000_000 == 123_456
    assert parse_instant("2026-11-24T10:00:00+01:00") == parse_instant("2026-11-24T09:00:00Z")
