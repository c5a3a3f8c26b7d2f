"""The directory: groups, filters on users, the organization, and the roles each needs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.support.simulator import SimulatorProcess

MAIL = ["Mail.ReadBasic.All", "MailboxSettings.Read", "User.Read.All"]


@pytest.fixture
def may(graph: SimulatorProcess) -> Iterator[SimulatorProcess]:
    """The first tenant has consented to groups and the organization."""
    before = graph.control("GET", "tenants?users=0")["tenants"][0]["roles"]
    give(graph, [*MAIL, "GroupMember.Read.All", "Organization.Read.All"])
    yield graph
    give(graph, before)


def give(graph: SimulatorProcess, roles: list[str]) -> None:
    """Consent to exactly these roles, with a token that carries them."""
    graph.control("POST", "roles", {"tenant": graph.tenant["tenant_id"], "roles": roles})
    graph.fetch_token()


def make_group(graph: SimulatorProcess, members: list[str]) -> str:
    """A group's id."""
    wish = {"tenant": graph.tenant["tenant_id"], "members": members}
    return str(graph.control("POST", "groups", wish)["id"])


def test_people_of_nested_groups_are_found_once_page_by_page(may: SimulatorProcess) -> None:
    people = may.people[:7]
    inner = make_group(may, people[3:])
    outer = make_group(may, [*people[:4], inner])
    link, found, pages = f"/groups/{outer}/transitiveMembers/microsoft.graph.user?$top=3", [], 0
    link += "&$select=id,mail"
    while link:
        body = may.get(link).body
        found += body["value"]
        link, pages = body.get("@odata.nextLink"), pages + 1
    assert sorted(row["id"] for row in found) == sorted(people) and pages == 3
    assert set(found[0]) == {"id", "mail"}
    direct = may.get(f"/groups/{outer}/members?$select=id").body["value"]
    kinds = [row["@odata.type"].rsplit(".", 1)[1] for row in direct]
    assert sorted(kinds) == ["group", "user", "user", "user", "user"]
    assert may.get(f"/groups/{inner}").body["id"] == inner


def test_a_group_that_does_not_exist_is_not_found(may: SimulatorProcess) -> None:
    for tail in ("", "/members", "/transitiveMembers/microsoft.graph.user"):
        reply = may.get(f"/groups/{uuid.uuid4()}{tail}")
        assert (reply.status, reply.body["error"]["code"]) == (404, "Request_ResourceNotFound")


def test_groups_and_organization_need_their_roles(graph: SimulatorProcess) -> None:
    group = make_group(graph, graph.people[:1])
    for path in (f"/groups/{group}", f"/groups/{group}/members", "/organization"):
        reply = graph.get(path)
        assert (reply.status, reply.body["error"]["code"]) == (403, "Authorization_RequestDenied")


def test_members_change_and_strangers_are_refused(may: SimulatorProcess) -> None:
    group, tenant = make_group(may, may.people[:2]), may.tenant["tenant_id"]
    may.control("POST", "groups", {"tenant": tenant, "id": group, "members": may.people[2:3]})
    rows = may.get(f"/groups/{group}/members").body["value"]
    assert [row["id"] for row in rows] == may.people[2:3]
    wish = {"tenant": tenant, "members": ["nobody"]}
    assert may.http("POST", "/simulator/groups", wish).status == 400


def test_the_organization_names_its_verified_domains(may: SimulatorProcess) -> None:
    [row] = may.get("/organization?$select=verifiedDomains").body["value"]
    assert {"contoso.example", "contoso.onmicrosoft.com"} == {
        one["name"] for one in row["verifiedDomains"]
    }


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("mail eq 'person-002@contoso.example'", 1),
        ("mail eq 'PERSON-002@contoso.example' or userPrincipalName eq 'nobody'", 1),
        ("startswith(mail,'person-00') and accountEnabled eq true", 9),
        ("department eq 'Sales' and accountEnabled eq false", 0),
        ("department eq 'Sales'", 10),
        ("department eq 'Sales' or department eq 'Legal'", 20),
        ("department ne 'Sales'", 30),
    ],
)
def test_users_are_filtered(graph: SimulatorProcess, condition: str, found: int) -> None:
    asked = condition.replace(" ", "%20").replace("'", "%27")
    rows, link = 0, f"/users?$select=id,mail&$top=7&$filter={asked}"
    while link:
        body = graph.get(link).body
        rows, link = rows + len(body["value"]), body.get("@odata.nextLink")
    assert rows == found


@pytest.mark.parametrize("condition", ["mail", "mail eq", "shoeSize eq 'x'", "mail eq 'x' xor 1"])
def test_a_filter_that_is_not_supported_is_refused(graph: SimulatorProcess, condition: str) -> None:
    reply = graph.get(f"/users?$filter={condition.replace(' ', '%20')}")
    assert (reply.status, reply.body["error"]["code"]) == (400, "Request_UnsupportedQuery")
