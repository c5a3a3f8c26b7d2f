"""Faults: each does what its name says, at its rate, to whom it matches, until it ends."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from graph_simulator.faults import KINDS
from tests.graph_simulator.test_delta import Follower
from tests.support.simulator import SimulatorProcess, subscribe
from tests.support.sink import open_sink


@pytest.fixture(autouse=True)
def calm(graph: SimulatorProcess) -> Any:
    """No fault outlives its test."""
    yield
    graph.control("DELETE", "faults")


def fault(graph: SimulatorProcess, kind: str, **more: Any) -> dict[str, Any]:
    """Switch a fault on."""
    row: dict[str, Any] = graph.control("POST", "faults", {"kind": kind, **more})
    return row


def error(reply: Any) -> tuple[int, str]:
    """Status and code."""
    return reply.status, reply.body["error"]["code"]


def drafts(graph: SimulatorProcess, mailbox: str, count: int) -> list[str]:
    """Acts that make exactly one notification each; the items' ids."""
    return [graph.act(mailbox, "draft", to=["x@fabrikam.example"])["item"] for _ in range(count)]


# -- the faults themselves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        pytest.param({"kind": "earthquake"}, "known: 404_after", id="an unknown kind"),
        pytest.param({"kind": "drop", "rate": 2}, "between 0 and 1", id="a rate above 1"),
        pytest.param({"kind": "drop", "rate": "often"}, "numbers", id="a rate in words"),
        pytest.param({"kind": "drop", "match": {"colour": "x"}}, "match", id="an unknown match"),
        pytest.param({"kind": "drop", "seconds": 3}, "does not know", id="a foreign parameter"),
        pytest.param({"kind": "delay", "seconds": 200}, "3 minutes", id="more delay than Graph's"),
        pytest.param({"kind": "drop", "until": "later"}, "durations", id="no instant"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_in_words(
    graph: SimulatorProcess, wish: dict[str, Any], word: str
) -> None:
    reply = graph.http("POST", "/simulator/faults", wish)
    assert reply.status == 400 and word in reply.body["error"]


def test_every_kind_can_be_switched_on_and_is_listed(graph: SimulatorProcess) -> None:
    instant = {"remove_subscription", "reauthorize"}  # these strike once, at once
    for kind in KINDS:
        fault(graph, kind, rate=0)
    listed = {row["kind"] for row in graph.control("GET", "faults")["faults"]}
    assert listed == set(KINDS) - instant
    assert graph.control("DELETE", "faults") == {"cleared": len(listed)}


def test_a_fault_strikes_whom_it_matches_until_it_ends(
    graph: SimulatorProcess, mailbox: str
) -> None:
    path = f"/users/{mailbox}/messages?$top=1"
    fault(graph, "429", match={"mailbox": mailbox, "method": "GET"}, until="PT5M", retry_after=7)
    refused = graph.get(path)
    assert error(refused) == (429, "TooManyRequests") and refused.headers["retry-after"] == "7"
    assert graph.get(f"/users/{graph.people[0]}/messages?$top=1").status == 200
    graph.control("POST", "clock", {"advance": "PT6M"})
    assert graph.get(path).status == 200


# -- on the way out: notifications ---------------------------------------------------------------


def told(graph: SimulatorProcess, mailbox: str, count: int, **wish: Any) -> list[dict[str, Any]]:
    """The notifications of `count` acts while a fault is on."""
    with open_sink() as sink:
        assert subscribe(graph, mailbox, sink.url).status == 201
        if wish:
            fault(graph, match={"mailbox": mailbox}, **wish)
        drafts(graph, mailbox, count)
        graph.control("DELETE", "faults")
        graph.wait_until_quiet()
        return sink.items


def test_dropped_notifications_never_come(graph: SimulatorProcess, mailbox: str) -> None:
    assert 5 < len(told(graph, mailbox, 30, kind="drop", rate=0.5)) < 25


def test_doubled_notifications_come_twice(graph: SimulatorProcess, mailbox: str) -> None:
    seen = Counter(n["resourceData"]["id"] for n in told(graph, mailbox, 10, kind="double"))
    assert set(seen.values()) == {2} and len(seen) == 10


def test_reordered_notifications_overtake_each_other(graph: SimulatorProcess, mailbox: str) -> None:
    seen = told(graph, mailbox, 20, kind="reorder", rate=0.5, seconds=0.5)
    ids = [n["resourceData"]["id"] for n in seen]
    assert len(ids) == 20 and ids != sorted(ids)


def test_delayed_notifications_wait_for_graph_time(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        subscribe(graph, mailbox, sink.url)
        fault(graph, "delay", seconds=120, match={"mailbox": mailbox})
        drafts(graph, mailbox, 3)
        time.sleep(0.3)
        assert sink.posts == []
        graph.control("POST", "clock", {"advance": "PT2M"})
        assert len(sink.wait_for(3)) == 3


def test_missed_notifications_are_told_to_the_lifecycle_url(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink, open_sink() as lifecycle:
        subscribe(graph, mailbox, sink.url, lifecycleNotificationUrl=lifecycle.url)
        fault(graph, "missed", match={"mailbox": mailbox})
        drafts(graph, mailbox, 1)
        [one] = lifecycle.wait_for(1)
        assert sink.posts == [] and one["lifecycleEvent"] == "missed"
        assert "changeType" not in one and "resource" not in one
        assert one["clientState"] == "state of mine"


def test_a_removed_subscription_is_gone_and_told(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        made = subscribe(graph, mailbox, sink.url, lifecycleNotificationUrl=sink.url).body
        row = fault(graph, "remove_subscription", match={"mailbox": mailbox})
        [one] = sink.wait_for(1)
    assert row["struck"] == 1 and one["lifecycleEvent"] == "subscriptionRemoved"
    assert graph.get(f"/subscriptions/{made['id']}").status == 404


def test_an_unauthorized_subscription_delivers_again_after_a_renewal(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        made = subscribe(graph, mailbox, sink.url, lifecycleNotificationUrl=sink.url).body
        fault(graph, "reauthorize", match={"mailbox": mailbox})
        [one] = sink.wait_for(1)
        drafts(graph, mailbox, 1)
        time.sleep(0.2)
        assert one["lifecycleEvent"] == "reauthorizationRequired" and len(sink.items) == 1
        path = f"/subscriptions/{made['id']}"
        again = {"expirationDateTime": made["expirationDateTime"]}
        assert graph.graph("PATCH", path, again).status == 200
        assert sink.wait_for(2)[1]["changeType"] == "created"


def test_a_dead_201_never_delivers(graph: SimulatorProcess, mailbox: str) -> None:
    fault(graph, "dead_201", match={"mailbox": mailbox})
    assert told(graph, mailbox, 3) == []


def test_a_notification_can_precede_the_201(graph: SimulatorProcess, mailbox: str) -> None:
    fault(graph, "early_notification", seconds=0.3, match={"mailbox": mailbox})
    with open_sink() as sink:
        made = subscribe(graph, mailbox, sink.url)
        answered_at = time.monotonic()
        assert made.status == 201
        assert sink.items[0]["subscriptionId"] == made.body["id"]
        assert sink.arrived_at[0] < answered_at - 0.2


def test_a_notification_can_name_what_is_no_id(graph: SimulatorProcess, mailbox: str) -> None:
    ids = {n["resourceData"]["id"] for n in told(graph, mailbox, 10, kind="bad_item_id")}
    assert ids == {"x?$select=body", "../../users/other"}


# -- on the way in: requests ----------------------------------------------------------------------


def test_broken_requests_fail_in_many_ways(graph: SimulatorProcess, mailbox: str) -> None:
    fault(graph, "5xx", match={"mailbox": mailbox})
    replies = [graph.get(f"/users/{mailbox}/messages?$top=1") for _ in range(10)]
    assert {r.status for r in replies} == {500, 502, 503, 504}
    assert any(r.body is None for r in replies)


def test_a_delta_token_can_be_gone_and_a_full_mailbox_has_no_delta(
    graph: SimulatorProcess, mailbox: str
) -> None:
    follower = Follower(graph, mailbox, "inbox")
    follower.round()
    fault(graph, "410", match={"mailbox": mailbox})
    assert error(graph.get(follower.link)) == (410, "SyncStateNotFound")
    assert Follower(graph, mailbox, "inbox").page(size=100)  # a first request is no continuation
    fault(graph, "quota", match={"mailbox": mailbox})
    path = f"/users/{mailbox}/mailFolders/inbox/messages"
    assert error(graph.get(f"{path}/delta")) == (403, "ErrorQuotaExceeded")
    assert graph.get(path).status == 200


def test_a_read_toggle_can_come_as_three_fields(graph: SimulatorProcess, mailbox: str) -> None:
    item = graph.act(mailbox, "receive")["item"]
    follower = Follower(graph, mailbox, "inbox")
    follower.round()
    fault(graph, "partial_rows", match={"mailbox": mailbox})
    graph.act(mailbox, "read", item=item)
    [row] = follower.round()
    assert {name for name in row if not name.startswith("@")} == {"id", "isRead", "parentFolderId"}


def test_pages_can_be_empty_and_rows_can_come_twice(graph: SimulatorProcess, mailbox: str) -> None:
    fault(graph, "empty_pages", match={"mailbox": mailbox})
    fault(graph, "repeat_rows", match={"mailbox": mailbox})
    follower = Follower(graph, mailbox, "inbox")
    follower.page()
    assert follower.rows == [] and "$skiptoken" in follower.link
    rows = follower.round()
    assert set(Counter(r["id"] for r in rows).values()) == {2}


def test_what_left_and_came_back_can_be_lost(graph: SimulatorProcess, mailbox: str) -> None:
    item = graph.act(mailbox, "receive")["item"]
    follower = Follower(graph, mailbox, "inbox")
    follower.round()
    fault(graph, "aba_loss", match={"mailbox": mailbox})
    graph.act(mailbox, "move", item=item, to="archive")
    graph.act(mailbox, "move", item=item, to="inbox")
    assert ["@removed" in row for row in follower.round()] == [True]
    assert follower.round() == []


def test_a_next_link_can_point_at_another_host(graph: SimulatorProcess, mailbox: str) -> None:
    fault(graph, "foreign_next_link")
    link = graph.get(f"/users/{mailbox}/messages?$top=1").body["@odata.nextLink"]
    assert link.startswith("https://graph.microsoft.example.net/v1.0/users/")


def test_date_can_be_off(graph: SimulatorProcess, mailbox: str) -> None:
    from email.utils import parsedate_to_datetime

    def shown() -> float:
        reply = graph.get(f"/users/{mailbox}/messages?$top=1")
        return parsedate_to_datetime(reply.headers["date"]).timestamp()

    right = shown()
    fault(graph, "clock_skew", seconds=90)
    assert 89 <= shown() - right <= 92


def test_a_new_item_can_be_missing_for_a_while(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        subscribe(graph, mailbox, sink.url)
        fault(graph, "404_after_notification", seconds=0.6, match={"mailbox": mailbox})
        item = graph.act(mailbox, "receive")["item"]
        path = f"/users/{mailbox}/messages/{item}?$select=isRead"
        assert error(graph.get(path)) == (404, "ErrorItemNotFound")
        time.sleep(0.7)
        assert graph.get(path).status == 200


@pytest.mark.slow
def test_what_just_changed_can_lag_behind_but_never_run_backwards(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        subscribe(graph, mailbox, sink.url)
        fault(graph, "lag", seconds=1.2, match={"mailbox": mailbox})
        item = graph.act(mailbox, "receive")["item"]
        path = f"/users/{mailbox}/messages/{item}?$select=isRead,parentFolderId"
        time.sleep(0.1)
        follower = Follower(graph, mailbox, "inbox")
        assert item not in [row["id"] for row in follower.round()]
        assert graph.get(path).status == 404  # not replicated yet
        time.sleep(1.3)
        assert graph.get(path).body["isRead"] is False
        graph.act(mailbox, "read", item=item)
        assert graph.get(path).body["isRead"] is False  # the state last shown
        assert [row for row in follower.round() if row["isRead"]] == []
        time.sleep(1.3)
        assert graph.get(path).body["isRead"] is True
        assert [row["id"] for row in follower.round() if row["isRead"]] == [item]


def test_tokens_can_be_revoked(graph: SimulatorProcess) -> None:
    graph.control("POST", "tokens/revoke")
    assert error(graph.get("/users?$top=1")) == (401, "InvalidAuthenticationToken")
    graph.fetch_token()
    assert graph.get("/users?$top=1").status == 200
