"""Folders and rules: their rows in the journal, counts, search folders, the dumpster."""

from __future__ import annotations

from typing import Any

from tests.support.simulator import IMMUTABLE, SimulatorProcess

SEARCH = "#microsoft.graph.mailSearchFolder"


def since(graph: SimulatorProcess, number: int) -> list[dict[str, Any]]:
    """Acts written after a journal number."""
    return [row for row in graph.journal(number) if row["kind"] == "act"]


def test_acts_on_folders_and_rules_name_what_they_were_about(
    graph: SimulatorProcess, mailbox: str
) -> None:
    folder = graph.act(mailbox, "create_folder", name="Plans")
    graph.act(mailbox, "rename_folder", folder=folder["item"], name="Old plans")
    graph.act(mailbox, "delete_folder", folder=folder["item"])
    rule = graph.act(mailbox, "create_rule", name="Sort")
    graph.act(mailbox, "delete_rule", rule=rule["item"])
    rows = since(graph, folder["number"] - 1)
    assert [(row["action"], row["object"]) for row in rows] == [
        ("folder_created", folder["item"]),
        ("folder_renamed", folder["item"]),
        ("folder_deleted", folder["item"]),
        ("rule_created", rule["item"]),
        ("rule_deleted", rule["item"]),
    ]
    assert all(row["observable"] and row["item"] is None for row in rows)


def test_folders_below_a_deleted_one_have_rows_of_their_own(
    graph: SimulatorProcess, mailbox: str
) -> None:
    outer = graph.act(mailbox, "create_folder", name="Outer")
    inner = graph.act(mailbox, "create_folder", name="Inner", parent=outer["item"])
    graph.act(mailbox, "delete_folder", folder=outer["item"])
    rows = since(graph, inner["number"])
    assert [(row["action"], row["object"]) for row in rows] == [
        ("folder_deleted", inner["item"]),
        ("folder_deleted", outer["item"]),
    ]


def test_counts_of_a_folder_are_true_until_a_fault_makes_them_wrong(
    graph: SimulatorProcess, mailbox: str
) -> None:
    graph.act(mailbox, "receive")
    path = f"/users/{mailbox}/mailFolders/inbox"
    told = graph.get(f"{path}?$select=totalItemCount").body["totalItemCount"]
    listed = graph.get(f"{path}/messages?$count=true&$select=id").body["@odata.count"]
    assert told == listed > 0
    wish = {"kind": "wrong_counts", "off": 5, "match": {"mailbox": mailbox}}
    graph.control("POST", "faults", wish)
    wrong = graph.get(path).body["totalItemCount"]
    graph.control("DELETE", "faults?kind=wrong_counts")
    assert wrong == told + 5


def test_a_search_folder_shows_what_lies_elsewhere(graph: SimulatorProcess, mailbox: str) -> None:
    mail = graph.act(mailbox, "receive")["item"]
    made = graph.act(mailbox, "create_folder", name="Unread", search=True)
    assert not since(graph, made["number"] - 1)[0]["observable"]
    path = f"/users/{mailbox}/mailFolders/{made['item']}"
    row = graph.get(f"{path}?$select=displayName,totalItemCount").body
    assert row["@odata.type"] == SEARCH and row["totalItemCount"] > 0
    shown = graph.get(f"{path}/messages?$top=1000&$select=parentFolderId").body["value"]
    assert len(shown) == row["totalItemCount"] and mail in {one["id"] for one in shown}
    assert made["item"] not in {one["parentFolderId"] for one in shown}
    assert graph.try_act(mailbox, "move", item=mail, to=made["item"]).status == 409
    graph.act(mailbox, "read", item=mail)
    assert graph.get(path).body["totalItemCount"] == row["totalItemCount"] - 1


def test_the_dumpster_has_its_folders(graph: SimulatorProcess, mailbox: str) -> None:
    path = f"/users/{mailbox}/mailFolders"
    root = graph.get(f"{path}/recoverableitemsroot").body["id"]
    for name in ("deletions", "versions", "purges"):
        row = graph.get(f"{path}/recoverableitems{name}").body
        assert row["isHidden"] and row["parentFolderId"] == root


def test_the_journal_tells_when_a_folder_or_the_rules_were_shown(
    graph: SimulatorProcess, mailbox: str
) -> None:
    tree = f"/users/{mailbox}/mailFolders/delta?$select=displayName,parentFolderId"
    rules = f"/users/{mailbox}/mailFolders/inbox/messageRules"
    graph.act(mailbox, "create_rule", name="Sort")
    made = graph.act(mailbox, "create_folder", name="Shown")
    link = graph.get(tree, f"{IMMUTABLE}, odata.maxpagesize=200").body["@odata.deltaLink"]
    graph.act(mailbox, "delete_folder", folder=made["item"])
    graph.get(link.split("/v1.0", 1)[-1], f"{IMMUTABLE}, odata.maxpagesize=200")
    graph.get(rules)
    rows = graph.journal(made["number"] - 1)
    told = [(r["kind"], r["action"], r["field"]) for r in rows if r["object"] == made["item"]]
    shown = ("served", "served", "folder")
    existence = "existence"
    assert told == [
        ("act", "folder_created", existence),
        shown,
        ("act", "folder_deleted", existence),
        shown,
    ]
    states = [row["state"] for row in rows if row["object"] == made["item"]]
    assert states[0] == states[1] != states[2] == states[3] == "absent"
    assert (rows[-1]["field"], rows[-1]["object"]) == ("rules", None)
