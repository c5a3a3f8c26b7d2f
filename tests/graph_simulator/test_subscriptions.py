"""Subscriptions: the real handshake, Graph's limits and refusals, secrets withheld."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.simulator import SimulatorProcess, in_hours, subscribe
from tests.support.sink import open_sink


def test_a_subscription_is_made_after_both_urls_echoed_a_token(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        reply = subscribe(graph, mailbox, sink.url, lifecycleNotificationUrl=sink.url)
        assert reply.status == 201, reply.body
    assert len(sink.tokens) == 2 and all(mark in sink.tokens[0] for mark in "+% ")
    assert all(query["kept"] == ["a b"] for query in sink.queries)
    made = reply.body
    assert made["clientState"] == "state of mine" and made["notificationUrl"] == sink.url
    assert graph.get(f"/subscriptions/{made['id']}").body["clientState"] is None
    listed = graph.get("/subscriptions").body["value"]
    assert [s["clientState"] for s in listed if s["id"] == made["id"]] == [None]


@pytest.mark.parametrize("echo", ["encoded", "quoted", "html", "forbidden"])
def test_a_wrong_answer_to_the_handshake_leaves_no_subscription(
    graph: SimulatorProcess, mailbox: str, echo: str
) -> None:
    with open_sink(echo=echo) as sink:
        reply = subscribe(graph, mailbox, sink.url)
    assert (reply.status, reply.body["error"]["code"]) == (400, "ValidationError")
    rows = graph.control("GET", "subscriptions")["subscriptions"]
    assert mailbox not in {row["mailbox"] for row in rows}


@pytest.mark.slow
def test_a_handshake_without_an_answer_times_out_after_ten_seconds(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink(echo="silence") as sink:
        reply = subscribe(graph, mailbox, sink.url)
    assert reply.body["error"]["message"] == "Subscription validation request timed out."


@pytest.mark.parametrize(
    ("changed", "status", "word"),
    [
        pytest.param({"resource": "users/{}/mailFolders"}, 400, "Resource", id="folders"),
        pytest.param(
            {"resource": "users/{}/mailFolders/inbox/messageRules"}, 400, "Resource", id="rules"
        ),
        pytest.param({"resource": "users/nobody/messages"}, 400, "NotFound", id="nobody"),
        pytest.param({"notificationUrl": "http://example.net/n"}, 400, "https", id="plain http"),
        pytest.param({"changeType": "moved"}, 400, "changeType", id="an unknown change"),
        pytest.param({"clientState": "x" * 129}, 400, "128", id="a long clientState"),
        pytest.param({"includeResourceData": True}, 400, "resource data", id="no certificate"),
        pytest.param({"vapidPublicKey": "x"}, 400, "vapidPublicKey", id="an unknown property"),
        pytest.param({"expirationDateTime": "soon"}, 400, "no date", id="no date"),
    ],
)
def test_a_subscription_graph_would_refuse_is_refused(
    graph: SimulatorProcess, changed: dict[str, Any], status: int, word: str
) -> None:
    person = graph.people[0]
    given = {k: v.format(person) if isinstance(v, str) else v for k, v in changed.items()}
    with open_sink() as sink:
        reply = subscribe(graph, person, given.pop("notificationUrl", sink.url), **given)
    assert reply.status == status and word in reply.body["error"]["message"]


def test_the_same_subscription_twice_is_refused_and_the_first_is_named(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        first = subscribe(graph, mailbox, sink.url).body["id"]
        again = subscribe(graph, mailbox, sink.url, changeType="deleted, created,updated")
        other = subscribe(graph, mailbox, sink.url, changeType="created")
    assert again.status == 409 and first in again.body["error"]["message"]
    assert other.status == 201


def test_over_seven_days_is_refused_in_graphs_words(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        late = in_hours(graph, 168.1)
        reply = subscribe(graph, mailbox, sink.url, expirationDateTime=late)
    assert reply.body["error"]["code"] == "ExtensionError"
    assert "can only be 10080 minutes in the future" in reply.body["error"]["message"]


def test_a_tenants_own_longest_lifetime_is_told_in_the_refusal(
    graph: SimulatorProcess, mailbox: str
) -> None:
    tenant = graph.tenant["tenant_id"]
    graph.control("POST", "lifetime", {"tenant": tenant, "minutes": 4230})
    with open_sink() as sink:
        late = subscribe(graph, mailbox, sink.url, expirationDateTime=in_hours(graph, 71))
        fits = subscribe(graph, mailbox, sink.url, expirationDateTime=in_hours(graph, 70))
    graph.control("POST", "lifetime", {"tenant": tenant, "minutes": 10080})
    assert "can only be 4230 minutes in the future" in late.body["error"]["message"]
    assert fits.status == 201


def test_under_45_minutes_is_raised_silently(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        soon = in_hours(graph, 0.01)
        reply = subscribe(graph, mailbox, sink.url, expirationDateTime=soon)
    granted = datetime.fromisoformat(reply.body["expirationDateTime"])
    assert timedelta(minutes=44) < granted - datetime.fromisoformat(soon) < timedelta(minutes=46)


def test_a_subscription_is_renewed_and_ended(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        path = f"/subscriptions/{subscribe(graph, mailbox, sink.url).body['id']}"
    later = in_hours(graph, 100)
    renewed = graph.graph("PATCH", path, {"expirationDateTime": later})
    assert renewed.status == 200
    assert renewed.body["expirationDateTime"][:19] == later[:19]
    fixed = graph.graph("PATCH", path, {"lifecycleNotificationUrl": sink.url})
    assert fixed.status == 400
    assert graph.graph("DELETE", path).status == 204
    assert graph.graph("DELETE", path).status == 404
    assert graph.get(path).status == 404


def test_a_subscription_ends_in_graph_time(graph: SimulatorProcess, mailbox: str) -> None:
    with open_sink() as sink:
        made = subscribe(graph, mailbox, sink.url, expirationDateTime=in_hours(graph, 1)).body
        graph.control("POST", "clock", {"advance": "PT61M"})
        assert graph.get(f"/subscriptions/{made['id']}").status == 404
        graph.act(mailbox, "receive")
        graph.wait_until_quiet()
        assert sink.posts == []
        assert subscribe(graph, mailbox, sink.url).status == 201
