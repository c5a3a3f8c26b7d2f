"""Notifications: what produces what, in which shape, and what happens when nobody answers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.simulator import SimulatorProcess, subscribe
from tests.support.sink import Sink, open_sink


def changes_of(sink: Sink, item: str) -> list[str]:
    """Change types that arrived for an item, sorted."""
    return sorted(n["changeType"] for n in sink.items if n["resourceData"]["id"] == item)


def watched(graph: SimulatorProcess, mailbox: str, sink: Sink, **changed: Any) -> str:
    """Subscribe; the subscription's id."""
    reply = subscribe(graph, mailbox, sink.url, **changed)
    assert reply.status == 201, reply.body
    return str(reply.body["id"])


def test_a_notification_has_exactly_graphs_members(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        subscription = watched(graph, mailbox, sink)
        items = [graph.act(mailbox, "receive")["item"] for _ in range(6)]
        sink.wait_for(6)
    for one in sink.items:
        assert set(one) - {"id"} == {
            "subscriptionId", "subscriptionExpirationDateTime", "clientState", "changeType",
            "tenantId", "resource", "resourceData",
        }  # fmt: skip
        assert set(one["resourceData"]) == {"@odata.type", "@odata.id", "@odata.etag", "id"}
        assert one["subscriptionId"] == subscription and one["clientState"] == "state of mine"
        assert one["tenantId"] == graph.tenant["tenant_id"]
        assert one["resourceData"]["id"] in items
    spellings = {one["resource"][:6] for one in sink.items}
    assert spellings == {"Users/", "Users(", "users/"}


def test_acts_produce_the_notifications_graph_sends(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        watched(graph, mailbox, sink)
        item = graph.act(mailbox, "receive")["item"]
        graph.act(mailbox, "read", item=item)
        graph.act(mailbox, "flag", item=item)
        sent = graph.act(mailbox, "send", to=["x@fabrikam.example"])["item"]
        graph.act(mailbox, "purge", item=item, hard=True)
        graph.wait_until_quiet()
    seen = changes_of(sink, item)
    assert seen.count("created") == 1 and seen.count("deleted") == 1
    assert seen.count("updated") in (2, 3)  # an arrival often has one of its own
    assert changes_of(sink, sent) == ["created"]
    transient = {n["resourceData"]["id"] for n in sink.items} - {item, sent}
    assert len(transient) == 1
    gone = transient.pop()
    assert changes_of(sink, gone) == ["created", "deleted"]
    assert graph.get(f"/users/{mailbox}/messages/{gone}").status == 404


def test_a_move_is_created_and_usually_deleted_and_never_updated(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        items = [graph.act(mailbox, "receive")["item"] for _ in range(30)]
        watched(graph, mailbox, sink)
        for item in items:
            graph.act(mailbox, "move", item=item, to="archive")
        graph.wait_until_quiet()
    kinds = [n["changeType"] for n in sink.items]
    assert kinds.count("created") == 30 and kinds.count("updated") == 0
    assert 15 <= kinds.count("deleted") < 30


def test_with_default_ids_a_move_is_told_with_two_ids(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        items = [graph.act(mailbox, "receive")["item"] for _ in range(10)]
        watched(graph, mailbox, sink, prefer="")
        for item in items:
            graph.act(mailbox, "delete", item=item)
        graph.wait_until_quiet()
    created = {n["resourceData"]["id"] for n in sink.items if n["changeType"] == "created"}
    deleted = {n["resourceData"]["id"] for n in sink.items if n["changeType"] == "deleted"}
    assert len(created) == 10 and deleted and not created & deleted
    assert not set(items) & created


def test_a_folders_subscription_sees_what_enters_and_leaves_it(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        watched(graph, mailbox, sink, resource=f"users/{mailbox}/mailFolders('archive')/messages")
        item = graph.act(mailbox, "receive")["item"]
        graph.act(mailbox, "move", item=item, to="archive")
        graph.wait_until_quiet()
        assert changes_of(sink, item) == ["created"]


def test_what_is_due_together_goes_in_one_post(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        watched(graph, mailbox, sink)
        graph.control("POST", "faults", {"kind": "delay", "seconds": 30})
        graph.control("POST", "clock", {"speed": 0})
        for _ in range(60):
            graph.act(mailbox, "draft", to=["x@fabrikam.example"])
        graph.control("DELETE", "faults")
        graph.control("POST", "clock", {"advance": "PT1M"})
        graph.control("POST", "clock", {"speed": 1})
        sink.wait_for(60)
    assert max(len(post) for post in sink.posts) <= 50 and len(sink.posts) < 20


@pytest.mark.slow
def test_what_was_not_answered_2xx_comes_again_after_a_pause(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink(statuses=[503, 500]) as sink:
        watched(graph, mailbox, sink)
        item = graph.act(mailbox, "draft", to=["x@fabrikam.example"])["item"]
        sink.wait_for(3)
        graph.wait_until_quiet()
    assert [changes_of(sink, item)] == [["created"] * 3]
    first, second, third = sink.arrived_at
    assert 0.8 < second - first < 1.9 < third - second < 3.5
    assert graph.control("GET", "stats")["retries"] >= 2


@pytest.mark.slow
def test_an_answer_after_three_seconds_counts_as_none(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink(delay_s=3.4) as sink:
        watched(graph, mailbox, sink)
        graph.act(mailbox, "draft", to=["x@fabrikam.example"])
        sink.wait_for(1)
        time.sleep(3.2)
        sink.delay_s = 0.0
        sink.wait_for(2)
    assert graph.control("GET", "stats")["answers_over_3s"] >= 1


@pytest.mark.slow
def test_after_four_hours_of_graph_time_a_notification_is_given_up(tmp_path: Any) -> None:
    from tests.support.simulator import running_simulator

    back = ("--start-back", "PT9H")
    with running_simulator(tmp_path / "state", mailboxes=1, options=back) as graph:
        with open_sink() as sink:
            watched(graph, graph.people[0], sink)
        graph.act(graph.people[0], "draft", to=["x@fabrikam.example"])  # nobody listens any more
        time.sleep(0.3)
        assert graph.control("GET", "stats")["pending_deliveries"] == 1
        graph.control("POST", "clock", {"advance": "PT3H59M"})
        assert graph.control("GET", "stats")["drops"] == 0
        graph.control("POST", "clock", {"advance": "PT2M"})
        stats = graph.wait_until_quiet(40)
        assert stats["drops"] == 1


def test_nothing_waits_for_a_subscription_that_has_ended(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink(statuses=[503] * 50) as sink:
        one = watched(graph, mailbox, sink)
        graph.act(mailbox, "draft", to=["x@fabrikam.example"])
        sink.wait_for(1)
        assert not graph.control("GET", "stats")["quiet"]
        assert graph.graph("DELETE", f"/subscriptions/{one}").status == 204
        graph.wait_until_quiet(3)


def test_a_closed_port_is_no_subscription(graph: SimulatorProcess, mailbox: str) -> None:
    reply = subscribe(graph, mailbox, f"http://127.0.0.1:{free_port()}/n")
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidRequest")
