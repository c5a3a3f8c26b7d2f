"""Slow endpoints are held back, very slow ones lose notifications, good ones neither."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from graph_simulator.clock import Clock
from graph_simulator.delivery.manners import Manners
from tests.support.simulator import running_simulator, subscribe
from tests.support.sink import open_sink


def judged(*answers: tuple[int, float], advance_min: float = 0) -> str:
    """The state after answers of so many notifications that took so many seconds."""
    clock = Clock.start(86400, 1.0)
    manners = Manners(clock)
    for count, seconds in answers:
        manners.note(count, seconds)
    clock.advance(advance_min * 60)
    return manners.state


def test_an_endpoint_is_judged_by_the_share_of_its_slow_answers() -> None:
    assert judged((95, 0.1), (5, 4.0)) == "normal"
    assert judged((85, 0.1), (15, 4.0)) == "slow"
    assert judged((80, 0.1), (20, 10.0)) == "drop"
    assert judged((50, 4.0)) == "normal"  # too few to judge


def test_a_state_ends_after_ten_minutes_of_graph_time() -> None:
    assert judged((80, 0.1), (20, 10.0), advance_min=9.9) == "drop"
    assert judged((80, 0.1), (20, 10.0), advance_min=10.1) == "normal"


@pytest.mark.slow
def test_a_slow_endpoint_gets_new_notifications_ten_minutes_later(tmp_path: Path) -> None:
    options = ("--start-back", "PT1H", "--endpoint-states")
    with (
        running_simulator(tmp_path / "state", mailboxes=1, options=options) as graph,
        open_sink(delay_s=3.3) as sink,
    ):
        person = graph.people[0]
        assert subscribe(graph, person, sink.url).status == 201
        for _ in range(120):
            graph.act(person, "draft", to=["x@fabrikam.example"])
        until = time.monotonic() + 30
        while graph.control("GET", "stats")["endpoint_states"] != {"slow": 1}:
            assert time.monotonic() < until
            time.sleep(0.1)
        sink.delay_s = 0
        graph.wait_until_quiet(30)
        late = graph.act(person, "draft", to=["x@fabrikam.example"])["item"]
        time.sleep(0.5)
        assert late not in {n["resourceData"]["id"] for n in sink.items}
        graph.control("POST", "clock", {"advance": "PT10M"})
        graph.wait_until_quiet()
        assert late in {n["resourceData"]["id"] for n in sink.items}
