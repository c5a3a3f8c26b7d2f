"""People who come, go, are renamed, lose their licence; guests, shared mailboxes and rooms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.simulator import SimulatorProcess, subscribe
from tests.support.sink import open_sink

SELECT = "$select=id,mail,displayName,department,accountEnabled,userType"


@pytest.fixture
def since(graph: SimulatorProcess) -> str:
    """A link to what changes in the directory from now on."""
    body = graph.get(f"/users/delta?$deltatoken=latest&{SELECT}").body
    return str(body["@odata.deltaLink"])


def rows(graph: SimulatorProcess, link: str) -> list[dict[str, Any]]:
    """The rows behind a delta link."""
    return list(graph.get(link).body["value"])


def test_a_later_round_holds_only_what_changed(
    graph: SimulatorProcess, mailbox: str, since: str
) -> None:
    graph.act(mailbox, "rename_user", name="Ada King")
    assert rows(graph, since) == [{"id": mailbox, "displayName": "Ada King"}]
    graph.act(mailbox, "transfer", department="Research", office="Oslo")
    graph.act(mailbox, "remove_licence")
    changed = {"id": mailbox, "displayName": "Ada King", "department": "Research"}
    assert rows(graph, since) == [changed]


def test_a_renamed_person_keeps_the_old_address_as_an_alias(
    graph: SimulatorProcess, mailbox: str
) -> None:
    before = graph.get(f"/users/{mailbox}?$select=mail").body["mail"]
    graph.act(mailbox, "rename_user", address="ada.king@contoso.example")
    row = graph.get(f"/users/{before}?$select=mail,proxyAddresses").body
    assert (row["id"], row["mail"]) == (mailbox, "ada.king@contoso.example")
    assert row["proxyAddresses"] == ["SMTP:ada.king@contoso.example", f"smtp:{before}"]


def test_what_was_not_selected_is_not_told(
    graph: SimulatorProcess, mailbox: str, since: str
) -> None:
    graph.act(mailbox, "remove_licence")
    assert rows(graph, since) == []
    link = graph.get("/users/delta?$deltatoken=latest&$select=id,assignedPlans").body
    graph.act(mailbox, "restore_licence")
    [row] = rows(graph, link["@odata.deltaLink"])
    assert row["assignedPlans"][0]["capabilityStatus"] == "Enabled"


def test_who_joins_comes_whole_and_who_leaves_is_removed(
    graph: SimulatorProcess, mailbox: str, since: str
) -> None:
    graph.act(mailbox, "join", address="joiner@contoso.example", purpose="shared")
    graph.act(mailbox, "leave")
    joined, left = sorted(rows(graph, since), key=lambda row: "@removed" in row)
    assert left == {"id": mailbox, "@removed": {"reason": "changed"}}
    assert (joined["mail"], joined["accountEnabled"]) == ("joiner@contoso.example", False)
    assert set(joined) == set(SELECT.removeprefix("$select=").split(","))


def test_a_directory_token_lives_seven_days_of_graph_time(tmp_path: Any) -> None:
    from tests.support.simulator import running_simulator

    with running_simulator(tmp_path, mailboxes=1, options=("--start-back", "P9D")) as graph:
        link = graph.get("/users/delta?$deltatoken=latest").body["@odata.deltaLink"]
        graph.control("POST", "clock", {"advance": "P6D"})
        assert graph.get(link).status == 200
        graph.control("POST", "clock", {"advance": "P1DT1H"})
        assert graph.get(link).status == 410


def test_a_mailbox_without_a_licence_is_refused_with_two_codes_in_turn(
    graph: SimulatorProcess, mailbox: str
) -> None:
    graph.act(mailbox, "remove_licence")
    path = f"/users/{mailbox}/mailFolders"
    codes = [graph.get(path).body["error"]["code"] for _ in range(4)]
    assert codes == ["MailboxNotEnabledForRESTAPI", "ResourceNotFound"] * 2


def test_a_guest_is_a_user_without_a_mailbox(graph: SimulatorProcess, mailbox: str) -> None:
    graph.act(mailbox, "invite", address="visitor@fabrikam.example")
    [guest] = graph.get(
        f"/users?{SELECT},userPrincipalName&$filter=userType%20eq%20%27Guest%27"
    ).body["value"]
    assert guest["mail"] == "visitor@fabrikam.example"
    assert guest["userPrincipalName"] == "visitor_fabrikam.example#ext#@contoso.example"
    assert graph.get(f"/users/{guest['id']}/mailFolders").status == 404
    assert graph.try_act(guest["id"], "restore_licence").status == 409


def test_a_mailbox_tells_what_it_is_for(graph: SimulatorProcess, mailbox: str) -> None:
    path = f"/users/{mailbox}/mailboxSettings?$select=userPurpose"
    assert graph.get(path).body["userPurpose"] == "user"
    graph.act(mailbox, "set_purpose", purpose="room")
    assert graph.get(path).body["userPurpose"] == "room"
    assert graph.try_act(mailbox, "set_purpose", purpose="boat").status == 400


def test_a_tenant_is_made_with_shared_mailboxes_rooms_and_guests(graph: SimulatorProcess) -> None:
    wish = {"domain": "mixed.example", "mailboxes": 1, "shared": 2, "rooms": 1, "guests": 1}
    made = graph.control("POST", "tenants", wish)
    found = [(user["address"].split("@")[0], user["state"]) for user in made["users"]]
    assert found == [
        ("person-001", "live"), ("shared-001", "live"), ("shared-002", "live"),
        ("room-001", "live"), ("guest-001_fabrikam.example#ext#", "unlicensed"),
    ]  # fmt: skip


def test_a_leavers_subscription_is_listed_until_it_ends_and_out_of_reach(
    graph: SimulatorProcess, mailbox: str
) -> None:
    with open_sink() as sink:
        one = subscribe(graph, mailbox, sink.url).body
        graph.act(mailbox, "leave")
        path = f"/subscriptions/{one['id']}"
        renewal = {"expirationDateTime": one["expirationDateTime"]}
        answers = (
            graph.get(path),
            graph.graph("PATCH", path, renewal),
            graph.graph("DELETE", path),
        )
        assert [reply.status for reply in answers] == [404, 404, 404]
        listed = graph.get("/subscriptions").body["value"]
        assert one["id"] in {row["id"] for row in listed}
        again = subscribe(graph, mailbox, sink.url)
        assert "Status Code: NotFound" in again.body["error"]["message"]
