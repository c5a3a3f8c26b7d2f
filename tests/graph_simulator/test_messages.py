"""Messages, folders and people as Graph shows them: paging, $select, roles, errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.simulator import Reply, SimulatorProcess, running_simulator

CANARY = re.compile(r"CANARY-[0-9a-f]{8}-(\w+)")


def code(reply: Reply) -> tuple[int, str]:
    """Status and error code of a refusal in Graph's shape."""
    error = reply.body["error"]
    assert set(error) == {"code", "message", "innerError"}
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}
    return reply.status, error["code"]


def pages(graph: SimulatorProcess, path: str) -> list[list[dict[str, object]]]:
    """`value` of every page."""
    found = []
    link: str | None = path
    while link:
        reply = graph.get(link)
        assert reply.status == 200, reply.body
        found.append(reply.body["value"])
        link = reply.body.get("@odata.nextLink")
    return found


def test_only_what_is_selected_is_shown(graph: SimulatorProcess, mailbox: str) -> None:
    item = graph.act(mailbox, "receive")["item"]
    row = graph.get(f"/users/{mailbox}/messages/{item}?$select=isRead,from").body
    assert set(row) == {"@odata.context", "@odata.etag", "id", "isRead", "from"}
    assert row["id"] == item


def test_an_unknown_property_is_refused(graph: SimulatorProcess, mailbox: str) -> None:
    reply = graph.get(f"/users/{mailbox}/messages?$select=isRead,colour")
    assert code(reply) == (400, "RequestBroker--ParseUri")


def test_read_basic_sees_the_subject_and_never_body_preview_or_attachments(
    graph: SimulatorProcess, mailbox: str
) -> None:
    item = graph.act(mailbox, "receive", has_attachments=True)["item"]
    path = f"/users/{mailbox}/messages/{item}"
    seen = set(CANARY.findall(str(graph.get(path).body)))
    asked = graph.get(f"{path}?$select=subject,body,bodyPreview,uniqueBody")
    seen |= set(CANARY.findall(str(asked.body)))
    assert seen == {"subject"}
    assert code(graph.get(f"{path}/attachments")) == (403, "ErrorAccessDenied")


def test_mail_read_sees_everything_each_with_its_canary(tmp_path: Path) -> None:
    with running_simulator(tmp_path / "state", mailboxes=0) as graph:
        wish = {"domain": "open.example", "mailboxes": 1, "roles": ["Mail.Read"]}
        graph.control("POST", "tenants", wish)
        graph.sign_in()
        person = graph.people[0]
        item = graph.act(person, "receive", has_attachments=True)["item"]
        path = f"/users/{person}/messages/{item}"
        text = str(graph.get(path).body) + str(graph.get(f"{path}/attachments").body)
        assert set(CANARY.findall(text)) == {"subject", "body", "bodyPreview", "attachment"}
        assert len({found.group()[:15] for found in CANARY.finditer(text)}) == 1


def test_a_list_comes_in_pages_in_order_of_arrival(graph: SimulatorProcess, mailbox: str) -> None:
    found = pages(graph, f"/users/{mailbox}/messages?$select=receivedDateTime&$top=7")
    dates = [str(row["receivedDateTime"]) for page in found for row in page]
    assert [len(page) for page in found[:-1]] == [7] * (len(found) - 1)
    assert dates == sorted(dates, reverse=True) and len(dates) == 20


def test_a_window_of_dates_can_be_asked_for(graph: SimulatorProcess, mailbox: str) -> None:
    dates = [
        row["receivedDateTime"]
        for page in pages(graph, f"/users/{mailbox}/messages?$select=receivedDateTime")
        for row in page
    ]
    start, end = dates[12], dates[3]
    window = f"receivedDateTime ge {start} and receivedDateTime lt {end}".replace(" ", "%20")
    inside = pages(graph, f"/users/{mailbox}/messages?$filter={window}&$select=receivedDateTime")
    assert [r["receivedDateTime"] for page in inside for r in page] == [
        d for d in dates if str(start) <= str(d) < str(end)
    ]
    refused = graph.get(f"/users/{mailbox}/messages?$filter=subject%20eq%20'x'")
    assert code(refused) == (400, "ErrorInvalidUrlQueryFilter")


def test_folders_come_ten_a_page_and_neither_nested_nor_hidden(
    graph: SimulatorProcess, mailbox: str
) -> None:
    found = pages(graph, f"/users/{mailbox}/mailFolders")
    names = [str(row["displayName"]) for page in found for row in page]
    assert len(found[0]) == 10 and len(found) == 2
    assert "Inbox" in names and "Alpha" not in names and "Sync Issues" not in names
    hidden = pages(graph, f"/users/{mailbox}/mailFolders?includeHiddenFolders=true&$top=50")
    assert "Sync Issues" in [row["displayName"] for row in hidden[0]]
    projects = next(r for page in found for r in page if r["displayName"] == "Projects")
    below = pages(graph, f"/users/{mailbox}/mailFolders/{projects['id']}/childFolders")
    assert [row["displayName"] for row in below[0]] == ["Alpha", "Beta"]


@pytest.mark.parametrize(
    "name", ["inbox", "SentItems", "deleteditems", "drafts", "recoverableitemsdeletions"]
)
def test_a_well_known_name_stands_for_an_id(graph: SimulatorProcess, name: str) -> None:
    person = graph.people[0]
    folder = graph.get(f"/users/{person}/mailFolders/{name}").body
    by_id = graph.get(f"/users/{person}/mailFolders/{folder['id']}").body
    quoted = graph.get(f"/users('{person}')/mailFolders('{name}')").body
    assert folder["id"] == by_id["id"] == quoted["id"]


def test_a_default_id_dies_with_a_move_and_an_immutable_one_does_not(
    graph: SimulatorProcess, mailbox: str
) -> None:
    immutable = graph.act(mailbox, "receive")["item"]
    path = f"/users/{mailbox}/messages"
    default = graph.get(f"{path}/{immutable}?$select=isRead", prefer="").body["id"]
    assert default != immutable
    graph.act(mailbox, "move", item=immutable, to="archive")
    assert code(graph.get(f"{path}/{default}")) == (404, "ErrorItemNotFound")
    assert graph.get(f"{path}/{immutable}").status == 200
    assert graph.get(f"{path}/{immutable}?$select=isRead", prefer="").body["id"] != default


def test_ids_that_are_none_or_anothers_are_refused(graph: SimulatorProcess, mailbox: str) -> None:
    other = graph.act(graph.people[0], "receive")["item"]
    path = f"/users/{mailbox}/messages"
    assert code(graph.get(f"{path}/{other}")) == (404, "ErrorItemNotFound")
    assert code(graph.get(f"{path}/garbage")) == (400, "ErrorInvalidIdMalformed")
    assert code(graph.get(f"{path}/x%3F%24select%3Dbody")) == (400, "ErrorInvalidIdMalformed")


def test_people_are_listed_in_pages_and_followed_by_delta(graph: SimulatorProcess) -> None:
    assert len(pages(graph, "/users?$top=15&$select=id,mail")) == 3
    link = graph.get("/users/delta?$deltatoken=latest&$select=id,mail").body["@odata.deltaLink"]
    gone = graph.people.pop()
    graph.act(gone, "leave")
    graph.act(graph.people[0], "rename_user", name="Ada Lovelace")
    rows = graph.get(link).body["value"]
    assert {"id": gone, "@removed": {"reason": "changed"}} in rows
    assert graph.people[0] not in {r["id"] for r in rows}, "its address did not change"
    assert code(graph.get(f"/users/{gone}")) == (404, "Request_ResourceNotFound")
    assert code(graph.get(f"/users/{gone}/messages")) == (404, "ErrorInvalidUser")


def test_a_mailbox_without_a_licence_is_answered_with_two_alternating_codes(
    graph: SimulatorProcess, mailbox: str
) -> None:
    graph.act(mailbox, "remove_licence")
    codes = {code(graph.get(f"/users/{mailbox}/messages"))[1] for _ in range(30)}
    assert codes == {"ResourceNotFound", "MailboxNotEnabledForRESTAPI"}


def test_without_a_token_or_with_a_forged_one_nothing_is_answered(graph: SimulatorProcess) -> None:
    for header in ("", "Bearer ", "Bearer a.b.c", f"Bearer {graph.token[:-3]}abc"):
        reply = graph.http("GET", "/v1.0/users", headers={"Authorization": header})
        assert code(reply) == (401, "InvalidAuthenticationToken")


def test_withdrawn_consent_forbids_what_the_token_still_claims(tmp_path: Path) -> None:
    with running_simulator(tmp_path / "state", mailboxes=1) as graph:
        person = graph.people[0]
        graph.act(person, "withdraw_consent")
        assert code(graph.get(f"/users/{person}/messages")) == (403, "ErrorAccessDenied")
        assert code(graph.get("/users")) == (403, "Authorization_RequestDenied")
        graph.act(person, "grant_consent")
        assert graph.get("/users").status == 200


def test_settings_and_rules_are_shown(graph: SimulatorProcess, mailbox: str) -> None:
    wanted = "timeZone,workingHours,userPurpose"
    settings = graph.get(f"/users/{mailbox}/mailboxSettings?$select={wanted}").body
    assert set(settings) == {"@odata.context", *wanted.split(",")}
    made = graph.act(
        mailbox, "create_rule", name="Out", actions={"forwardTo": []}, conditions={"sentToMe": True}
    )
    opaque = graph.act(mailbox, "create_rule", name="Odd", opaque=True)
    rules = graph.get(f"/users/{mailbox}/mailFolders/inbox/messageRules").body["value"]
    assert [rule["id"] for rule in rules] == [made["item"], opaque["item"]]
    assert "actions" in rules[0] and "actions" not in rules[1] and rules[1]["isReadOnly"]


def test_the_date_header_is_graph_time_and_not_before_the_state_it_shows(
    graph: SimulatorProcess, mailbox: str
) -> None:
    from email.utils import parsedate_to_datetime

    made = graph.act(mailbox, "receive")
    reply = graph.get(f"/users/{mailbox}/messages/{made['item']}?$select=createdDateTime")
    shown = parsedate_to_datetime(reply.headers["date"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert shown >= reply.body["createdDateTime"] == made["at"][:19] + "Z"
    assert shown < graph.control("GET", "clock")["machine_now"]


def test_every_answer_that_shows_a_state_is_journalled_the_same_state_again_too(
    graph: SimulatorProcess, mailbox: str
) -> None:
    item = graph.act(mailbox, "receive")["item"]
    path = f"/users/{mailbox}/messages/{item}?$select=isRead"
    for _ in range(2):
        graph.get(path)
    graph.act(mailbox, "read", item=item)
    graph.get(path)
    graph.act(mailbox, "purge", item=item, hard=True)
    assert [graph.get(path).status for _ in range(2)] == [404, 404]
    mine = [r for r in graph.journal() if r["item"] == item]
    kinds = ["act", "served", "served", "act", "served", "act", "served", "served"]
    assert [r["kind"] for r in mine] == kinds
    states = [r["state"] for r in mine]
    assert states[0] == states[1] == states[2] != states[3] == states[4]
    assert set(states[5:]) == {"absent"}


def test_the_request_log_tells_what_was_asked(graph: SimulatorProcess, mailbox: str) -> None:
    since = graph.control("GET", "requests?last=0")["number"]
    graph.get(f"/users/{mailbox}/messages?$select=isRead&$top=5")
    [row] = graph.control("GET", f"requests?after={since}")["requests"]
    assert (row["method"], row["path"]) == ("GET", f"/users/{mailbox}/messages")
    assert row["query"] == {"$select": "isRead", "$top": "5"}
    assert row["status"] == 200 and "ImmutableId" in row["prefer"]


def test_unknown_paths_and_writes_are_refused(graph: SimulatorProcess, mailbox: str) -> None:
    assert graph.get("/me/messages").status == 400
    assert graph.get(f"/users/{mailbox}/events").status == 400
    assert graph.graph("POST", f"/users/{mailbox}/messages", {}).status == 405
    assert code(graph.get(f"/users/{mailbox}/messages/delta"))[0] == 400
