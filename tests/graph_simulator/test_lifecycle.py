"""Subscriptions near their end, without consent, or refused by what lies behind Graph."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulator import SimulatorProcess, in_hours, running_simulator, subscribe
from tests.support.sink import open_sink


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[SimulatorProcess]:
    """A simulator whose clock and consent no other test minds."""
    with running_simulator(tmp_path, mailboxes=1, options=("--start-back", "P2D")) as graph:
        yield graph


def renew(graph: SimulatorProcess, one: dict[str, Any], hours: float) -> int:
    """PATCH a subscription's expiry; returns the status."""
    wish = {"expirationDateTime": in_hours(graph, hours)}
    return graph.graph("PATCH", f"/subscriptions/{one['id']}", wish).status


def test_a_subscription_near_its_end_asks_to_be_renewed_every_quarter_hour(
    alone: SimulatorProcess,
) -> None:
    with open_sink() as sink:
        one = subscribe(
            alone, alone.people[0], sink.url, expirationDateTime=in_hours(alone, 10),
            lifecycleNotificationUrl=sink.url,
        ).body  # fmt: skip
        alone.control("POST", "clock", {"advance": "PT8H50M"})
        time.sleep(0.1)
        assert sink.items == []
        alone.control("POST", "clock", {"advance": "PT15M"})
        assert sink.wait_for(1)[0]["lifecycleEvent"] == "reauthorizationRequired"
        alone.control("POST", "clock", {"advance": "PT16M"})
        sink.wait_for(2)
        alone.act(alone.people[0], "draft")
        assert sink.wait_for(3)[2]["changeType"] == "created", "deliveries go on"
        assert renew(alone, one, 10) == 200
        alone.control("POST", "clock", {"advance": "PT1H"})
        time.sleep(0.1)
        assert len(sink.items) == 3


def test_withdrawn_consent_pauses_deliveries_until_a_renewal(alone: SimulatorProcess) -> None:
    person = alone.people[0]
    with open_sink() as sink:
        one = subscribe(alone, person, sink.url, lifecycleNotificationUrl=sink.url).body
        alone.act(person, "withdraw_consent")
        assert sink.wait_for(1)[0]["lifecycleEvent"] == "reauthorizationRequired"
        assert renew(alone, one, 10) == 403
        alone.act(person, "grant_consent")
        alone.act(person, "draft")
        time.sleep(0.2)
        assert len(sink.items) == 1
        [row] = alone.control("GET", "subscriptions")["subscriptions"]
        assert row["paused"] and row["mailbox"] == person
        assert renew(alone, one, 10) == 200
        assert sink.wait_for(2)[1]["changeType"] == "created"


def test_a_handshake_can_time_out_without_asking_anybody(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        graph.control("POST", "faults", {"kind": "validation_timeout", "match": {"url": sink.url}})
        reply = subscribe(graph, mailbox, sink.url)
        graph.control("DELETE", "faults?kind=validation_timeout")
    assert reply.status == 400 and "timed out" in reply.body["error"]["message"]
    assert sink.tokens == []


def test_creating_is_refused_with_what_exchange_said_inside(
    graph: SimulatorProcess, mailbox: str
) -> None:
    wish = {"kind": "extension_error", "status": 401, "match": {"mailbox": mailbox}}
    graph.control("POST", "faults", wish)
    with open_sink() as sink:
        reply = subscribe(graph, mailbox, sink.url)
    graph.control("DELETE", "faults?kind=extension_error")
    assert (reply.status, reply.body["error"]["code"]) == (400, "ExtensionError")
    assert "Status Code: Unauthorized" in reply.body["error"]["message"]
    bad = {"kind": "extension_error", "status": 7}
    assert graph.http("POST", "/simulator/faults", bad).status == 400


def test_a_mailbox_is_forbidden_until_its_scope_has_propagated(
    alone: SimulatorProcess,
) -> None:
    person = alone.people[0]
    match = {"mailbox": person}
    wish = {"kind": "propagation", "until": "PT2H", "match": match}
    alone.control("POST", "faults", wish)
    refused = alone.get(f"/users/{person}/mailFolders")
    assert (refused.status, refused.body["error"]["code"]) == (403, "ErrorAccessDenied")
    assert alone.get(f"/users/{person}").status == 200, "the directory is no mailbox"
    with open_sink() as sink:
        assert "Forbidden" in subscribe(alone, person, sink.url).body["error"]["message"]
    alone.control("POST", "clock", {"advance": "PT2H1M"})
    assert alone.get(f"/users/{person}/mailFolders").status == 200
