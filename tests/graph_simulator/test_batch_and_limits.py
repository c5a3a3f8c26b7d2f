"""$batch and throttling: items stand for themselves, a fifth request at once gets a real 429."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from graph_simulator.graph.limits import Window
from tests.support.simulator import IMMUTABLE, Reply, SimulatorProcess, running_simulator


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A simulator whose requests take 150 ms, so that they overlap."""
    state: Path = tmp_path_factory.mktemp("slow") / "state"
    with running_simulator(state, mailboxes=12, options=("--request-latency", "150")) as simulator:
        yield simulator


def batch(graph: SimulatorProcess, *urls: str, **more: Any) -> Reply:
    """A batch of GETs."""
    requests = [
        {"id": str(n), "method": "GET", "url": url, "headers": {"Prefer": IMMUTABLE}, **more}
        for n, url in enumerate(urls)
    ]
    return graph.graph("POST", "/$batch", {"requests": requests}, prefer="")


def statuses(reply: Reply) -> list[int]:
    """Status of each item, in the order they were asked for."""
    assert reply.status == 200, reply.body
    return [r["status"] for r in sorted(reply.body["responses"], key=lambda r: int(r["id"]))]


def test_each_item_of_a_batch_is_answered_for_itself(graph: SimulatorProcess, mailbox: str) -> None:
    item = graph.act(mailbox, "receive")["item"]
    path = f"/users/{mailbox}/messages"
    reply = batch(graph, f"{path}/{item}?$select=isRead", f"{path}/garbage", "/users?$top=1")
    assert statuses(reply) == [200, 400, 200]
    first = next(r for r in reply.body["responses"] if r["id"] == "0")
    assert first["body"]["id"] == item and first["body"]["isRead"] is False


def test_prefer_stands_with_each_item_and_not_outside(
    graph: SimulatorProcess, mailbox: str
) -> None:
    item = graph.act(mailbox, "receive")["item"]
    one = {"id": "1", "method": "GET", "url": f"/users/{mailbox}/messages/{item}?$select=isRead"}
    outer = graph.graph("POST", "/$batch", {"requests": [one]})
    assert outer.body["responses"][0]["body"]["id"] != item


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([], id="none"),
        pytest.param([{"id": "1", "method": "GET", "url": "/users"}] * 2, id="one id twice"),
        pytest.param([{"id": 1, "method": "GET", "url": "/users"}], id="an id that is a number"),
        pytest.param(
            [{"id": str(n), "method": "GET", "url": "/users"} for n in range(21)], id="21 items"
        ),
        pytest.param(
            [{"id": "1", "method": "GET", "url": "/users", "dependsOn": ["9"]}], id="a ghost"
        ),
    ],
)
def test_a_malformed_batch_is_refused(graph: SimulatorProcess, requests: list[Any]) -> None:
    assert graph.graph("POST", "/$batch", {"requests": requests}).status == 400


def test_what_depends_on_a_failed_item_fails(graph: SimulatorProcess, mailbox: str) -> None:
    requests = [
        {"id": "1", "method": "GET", "url": f"/users/{mailbox}/messages/garbage"},
        {"id": "2", "method": "GET", "url": "/users?$top=1", "dependsOn": ["1"]},
    ]
    reply = graph.graph("POST", "/$batch", {"requests": requests})
    assert {r["id"]: r["status"] for r in reply.body["responses"]} == {"1": 400, "2": 424}


def test_a_fifth_request_at_once_to_one_mailbox_is_throttled(slow: SimulatorProcess) -> None:
    path = f"/users/{slow.people[0]}/messages?$top=1"
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: slow.get(path), range(6)))
    refused = [r for r in replies if r.status == 429]
    assert len(refused) == 2
    assert {r.body["error"]["code"] for r in refused} == {"ApplicationThrottled"}
    assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
    stats = slow.control("GET", "stats")
    assert stats["highest_concurrency_by_mailbox"][slow.people[0]] == 5
    assert stats["throttled_by"]["concurrency"] == 2


def test_four_at_once_and_many_mailboxes_at_once_are_not(slow: SimulatorProcess) -> None:
    four = [f"/users/{slow.people[1]}/messages?$top=1"] * 4
    others = [f"/users/{person}/messages?$top=1" for person in slow.people[2:8]]
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(slow.get, [*four, *others]))
    assert {r.status for r in replies} == {200}


def test_a_batch_takes_four_places_of_a_mailbox_and_leaves_it_none(slow: SimulatorProcess) -> None:
    person = slow.people[9]
    urls = [f"/users/{person}/messages?$top=1"] * 20
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batch, slow, *urls)
        time.sleep(0.25)
        beside = slow.get(urls[0])
        assert statuses(first.result()) == [200] * 20
    assert beside.status == 429
    assert statuses(batch(slow, *urls)) == [200] * 20


def test_who_comes_back_before_retry_after_has_passed_is_counted(slow: SimulatorProcess) -> None:
    path = f"/users/{slow.people[10]}/mailFolders?$top=1"
    slow.control("POST", "faults", {"kind": "429", "match": {"path": slow.people[10]}})
    assert slow.get(path).status == 429
    slow.control("DELETE", "faults")
    before = slow.control("GET", "stats")["early_retries"]
    assert slow.get(path).status == 200  # at once, although told to wait two seconds
    assert slow.control("GET", "stats")["early_retries"] == before + 1


def test_a_window_frees_its_places_when_they_are_old_enough() -> None:
    window = Window(3, 20.0)
    assert [window.take(at) for at in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]
    assert window.take(5.0) == pytest.approx(15.0)
    assert window.take(20.1) == 0.0


def test_listing_subscriptions_is_limited_to_25_in_20_seconds(graph: SimulatorProcess) -> None:
    seen = [graph.get("/subscriptions").status for _ in range(26)]
    assert seen == [200] * 25 + [429]
