"""Delta rounds: whoever merges them knows the folder, and every trap of Graph's is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.simulator import SimulatorProcess, running_simulator

SELECT = "isRead,parentFolderId,flag"
FOLDERS = ("inbox", "archive", "deleteditems")


class Follower:
    """Merges the rounds of one folder as a careful client does."""

    def __init__(
        self, graph: SimulatorProcess, mailbox: str, folder: str, select: str = SELECT
    ) -> None:
        self._graph = graph
        self._start = f"/users/{mailbox}/mailFolders/{folder}/messages/delta?$select={select}"
        self.link = self._start
        self.known: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []

    def page(self, size: int = 3) -> bool:
        """Follow one link; True when the round is complete."""
        reply = self._graph.get(self.link, prefer=f'IdType="ImmutableId", odata.maxpagesize={size}')
        assert reply.status == 200, reply.body
        for row in reply.body["value"]:
            self.rows.append(row)
            if "@removed" in row:
                self.known.pop(row["id"], None)
            else:
                self.known.setdefault(row["id"], {}).update(row)
        self.link = reply.body.get("@odata.nextLink") or reply.body["@odata.deltaLink"]
        return "@odata.deltaLink" in reply.body

    def round(self, size: int = 3) -> list[dict[str, Any]]:
        """A whole round; its rows."""
        self.rows = []
        while not self.page(size):
            pass
        return self.rows


def in_folder(graph: SimulatorProcess, mailbox: str, folder: str) -> dict[str, bool]:
    """id -> isRead of what is in a folder, by plain listing."""
    path = f"/users/{mailbox}/mailFolders/{folder}/messages?$select=isRead&$top=1000"
    return {row["id"]: row["isRead"] for row in graph.get(path).body["value"]}


def test_the_first_round_lists_the_folder_in_pages(graph: SimulatorProcess, mailbox: str) -> None:
    for _ in range(7):
        graph.act(mailbox, "receive")
    follower = Follower(graph, mailbox, "inbox")
    rows = follower.round(size=4)
    assert len(rows) == len({row["id"] for row in rows}) > 7
    assert set(rows[0]) == {
        "@odata.type", "@odata.etag", "id", "isRead", "parentFolderId", "flag"
    }  # fmt: skip
    assert follower.round() == []


def test_rows_carry_no_mark_of_created_or_updated_and_leavers_only_an_id(
    graph: SimulatorProcess, mailbox: str
) -> None:
    item = graph.act(mailbox, "receive")["item"]
    follower = Follower(graph, mailbox, "inbox")
    follower.round()
    graph.act(mailbox, "flag", item=item)
    new = graph.act(mailbox, "receive")["item"]
    changed, created = follower.round()
    assert (changed["id"], created["id"]) == (item, new) and set(changed) == set(created)
    graph.act(mailbox, "move", item=item, to="archive")
    graph.act(mailbox, "purge", item=new, hard=True)
    gone = {"@odata.type": "#microsoft.graph.message", "@removed": {"reason": "deleted"}}
    assert follower.round() == [{**gone, "id": item}, {**gone, "id": new}]


def test_a_read_toggle_is_invisible_unless_is_read_is_selected(
    graph: SimulatorProcess, mailbox: str
) -> None:
    item = graph.act(mailbox, "receive")["item"]
    blind = Follower(graph, mailbox, "inbox", select="parentFolderId,flag")
    seeing = Follower(graph, mailbox, "inbox")
    blind.round()
    seeing.round()
    graph.act(mailbox, "read", item=item)
    assert (len(blind.round()), len(seeing.round())) == (0, 1)


def test_top_ends_the_round_early_and_the_rest_never_comes(
    graph: SimulatorProcess, mailbox: str
) -> None:
    path = f"/users/{mailbox}/mailFolders/inbox/messages/delta?$select=isRead&$top=2"
    reply = graph.get(path)
    assert len(reply.body["value"]) == 2 and "@odata.deltaLink" in reply.body
    assert graph.get(reply.body["@odata.deltaLink"]).body["value"] == []


def test_the_selection_of_the_first_request_holds_for_ever(
    graph: SimulatorProcess, mailbox: str
) -> None:
    follower = Follower(graph, mailbox, "inbox", select="isRead")
    follower.round()
    graph.act(mailbox, "receive")
    follower.link += "&$select=subject,from"
    [row] = follower.round()
    assert set(row) == {"@odata.type", "@odata.etag", "id", "isRead"}


@pytest.mark.parametrize("token", ["$deltatoken=latest", "$deltatoken=abc", "$skiptoken=AAAA"])
def test_what_is_no_token_is_refused(graph: SimulatorProcess, token: str) -> None:
    reply = graph.get(f"/users/{graph.people[0]}/mailFolders/inbox/messages/delta?{token}")
    assert (reply.status, reply.body["error"]["code"]) == (400, "SyncStateInvalid")


def test_a_token_of_another_folder_is_refused(graph: SimulatorProcess, mailbox: str) -> None:
    follower = Follower(graph, mailbox, "inbox")
    follower.round()
    reply = graph.get(follower.link.replace("/inbox/", "/archive/"))
    assert (reply.status, reply.body["error"]["code"]) == (400, "SyncStateInvalid")


def test_the_folder_tree_is_followed_by_delta(graph: SimulatorProcess, mailbox: str) -> None:
    link = f"/users/{mailbox}/mailFolders/delta"
    names: list[str] = []
    while True:
        body = graph.get(link).body
        names += [row["displayName"] for row in body["value"]]
        if "@odata.deltaLink" in body:
            break
        link = body["@odata.nextLink"]
    assert {"Inbox", "Alpha", "Newsletters"} <= set(names) and "Deletions" not in names
    new = graph.act(mailbox, "create_folder", name="New", parent="inbox")["item"]
    graph.act(mailbox, "rename_folder", folder="Alpha", name="Omega")
    graph.act(mailbox, "delete_folder", folder="Beta")
    graph.act(mailbox, "receive")
    rows = graph.get(body["@odata.deltaLink"]).body["value"]
    assert {r["displayName"] for r in rows if "displayName" in r} >= {"New", "Omega", "Inbox"}
    assert new in [r["id"] for r in rows] and sum("@removed" in r for r in rows) == 1


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "read", "unread", "flag", "move", "purge", "page"]),
        st.integers(0, 9),
        st.sampled_from(FOLDERS),
    ),
    max_size=25,
)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.slow
@given(script=ACTS, size=st.integers(1, 4))
def test_whoever_merges_the_rounds_knows_what_is_in_the_folder(
    graph: SimulatorProcess, script: list[tuple[str, int, str]], size: int
) -> None:
    mailbox = graph.people[0]
    followers = {name: Follower(graph, mailbox, name) for name in FOLDERS}
    items = list(in_folder(graph, mailbox, "inbox"))[:10] or [graph.act(mailbox, "receive")["item"]]
    for do, pick, folder in script:
        if do == "page":  # acts go on between the pages of a round
            followers[folder].page(size)
        elif do == "receive":
            items.append(graph.act(mailbox, "receive")["item"])
        else:
            args = {"to": folder} if do == "move" else {"hard": True} if do == "purge" else {}
            graph.try_act(mailbox, do, item=items[pick % len(items)], **args)
    for name, follower in followers.items():
        follower.round(size)
        follower.round(size)  # what changed while the first one paged
        assert {i: row["isRead"] for i, row in follower.known.items()} == in_folder(
            graph, mailbox, name
        )


@pytest.mark.slow
def test_an_old_token_is_lost_after_thirty_days_of_graph_time(tmp_path: Path) -> None:
    back = ("--start-back", "P60D")
    with running_simulator(tmp_path / "state", mailboxes=1, options=back) as graph:
        follower = Follower(graph, graph.people[0], "inbox")
        follower.round()
        graph.control("POST", "clock", {"advance": "P29D"})
        assert follower.round() == []
        graph.control("POST", "clock", {"advance": "P30DT1M"})
        reply = graph.get(follower.link)
        assert (reply.status, reply.body["error"]["code"]) == (410, "SyncStateNotFound")
