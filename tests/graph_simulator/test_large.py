"""A mailbox with 800,000 messages that exist only where somebody looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph_simulator.test_delta import Follower
from tests.support.simulator import SimulatorProcess, running_simulator, start_simulator

MANY = 800_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A simulator whose one tenant has one person, the large mailbox."""
    with running_simulator(tmp_path_factory.mktemp("large"), mailboxes=0) as graph:
        graph.control("POST", "tenants", {"domain": "big.example", "large": MANY, "history": 0})
        graph.sign_in()
        yield graph


def count(graph: SimulatorProcess, folder: str) -> int:
    """A folder's totalItemCount."""
    return int(graph.get(f"/users/{graph.people[0]}/mailFolders/{folder}").body["totalItemCount"])


def test_it_costs_nothing_until_it_is_looked_at_and_little_then(large: SimulatorProcess) -> None:
    began = time.monotonic()
    assert sum(count(large, name) for name in ("inbox", "archive", "sentitems")) == MANY
    path = f"/users/{large.people[0]}/mailFolders/inbox/messages/delta?$select=isRead"
    page = large.graph("GET", path, prefer="odata.maxpagesize=1000").body
    next_page = large.graph("GET", page["@odata.nextLink"], prefer="odata.maxpagesize=1000").body
    ids = {row["id"] for row in page["value"] + next_page["value"]}
    assert len(ids) == 2000 and time.monotonic() - began < 3


def test_pages_are_in_order_and_the_same_each_time(large: SimulatorProcess) -> None:
    path = f"/users/{large.people[0]}/mailFolders/archive/messages"
    first = large.get(f"{path}?$top=3&$select=receivedDateTime,from").body["value"]
    assert first == large.get(f"{path}?$top=3&$select=receivedDateTime,from").body["value"]
    dates = [row["receivedDateTime"] for row in first]
    last = large.get(f"{path}?$top=3&$skip={MANY * 3 // 10 - 1}&$count=true&$select=isRead").body
    assert len(last["value"]) == 1 and last["@odata.count"] == MANY * 3 // 10
    assert dates == sorted(dates, reverse=True) and len(set(dates)) == 3


@pytest.mark.slow
def test_its_messages_are_read_moved_and_purged_like_any_other(tmp_path: Path) -> None:
    with running_simulator(tmp_path, mailboxes=0) as graph:
        graph.control("POST", "tenants", {"domain": "big.example", "large": 60, "history": 0})
        graph.sign_in()
        person = graph.people[0]
        follower = Follower(graph, person, "inbox")
        follower.round()
        one, two, three = (
            row["id"] for row in graph.get(
                f"/users/{person}/mailFolders/inbox/messages?$top=3&$select=isRead"
            ).body["value"]
        )  # fmt: skip
        graph.act(person, "unread", item=one)
        graph.act(person, "move", item=two, to="archive")
        graph.act(person, "purge", item=three, hard=True)
        graph.act(person, "receive")
        changed = {row["id"]: row for row in follower.round()}
        assert "@removed" in changed[two] and "@removed" in changed[three]
        assert changed[one]["isRead"] is False and len(changed) == 4
        assert (count(graph, "inbox"), count(graph, "archive")) == (29, 19)
        unread = graph.get(f"/users/{person}/mailFolders/inbox").body["unreadItemCount"]
        assert unread == 2
        graph.stop()
        again = start_simulator(tmp_path, mailboxes=0, port=graph.port)
        try:
            assert (count(again, "inbox"), count(again, "archive")) == (29, 19)
            moved = again.get(f"/users/{person}/messages/{two}").body["parentFolderId"]
            archive = again.get(f"/users/{person}/mailFolders/archive").body["id"]
            assert moved == archive
            assert again.get(f"/users/{person}/messages/{three}").status == 404
        finally:
            again.stop()
