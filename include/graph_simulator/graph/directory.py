"""Groups and the organization itself, as the directory shows them."""

from __future__ import annotations

from itertools import islice
from typing import Any

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.messages import next_link
from graph_simulator.graph.service import Service
from graph_simulator.graph.tokens import pack, unpack
from graph_simulator.graph.users import picked, user_here
from graph_simulator.world.directory import users_within
from graph_simulator.world.model import Group, Mailbox

__all__ = ["get_group", "get_organization", "list_members", "list_users_within"]

_GROUP = ("id", "displayName", "description", "mail", "mailEnabled", "securityEnabled")
_ORGANIZATION = ("id", "displayName", "tenantType", "verifiedDomains")


def _find(service: Service, call: Call) -> Group:
    call.caller.need_groups()
    group = service.world.groups.get(call.parts[1].lower())
    if group is None or group.tenant != call.caller.tenant.number:
        raise GraphError(
            404,
            "Request_ResourceNotFound",
            f"Resource '{call.parts[1][:80]}' does not exist or one of its queried "
            "reference-property objects are not present.",
        )
    return group


def _group_row(group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "displayName": f"Group {group.id[:4]}",
        "description": None,
        "mail": None,
        "mailEnabled": False,
        "securityEnabled": True,
    }


def get_group(service: Service, call: Call) -> Answer:
    """GET groups/{id}."""
    row = picked(_group_row(_find(service, call)), call.query.get("$select"), _GROUP, "group")
    return Answer(200, {"@odata.context": f"{call.base}/$metadata#groups/$entity", **row})


def _page(
    service: Service, call: Call, members: list[Mailbox | Group], context: str, *, typed: bool
) -> Answer:
    for name in call.query:
        if name not in ("$select", "$top", "$count", "$skiptoken"):
            raise GraphError(
                400, "Request_UnsupportedQuery", f"The simulator does not know {name[:20]} here."
            )
    size = call.number("$top", 1, 999) or 100
    start = unpack(call.query["$skiptoken"], "g")[1] if "$skiptoken" in call.query else 0
    select = call.query.get("$select")
    rows: list[dict[str, Any]] = []
    for member in islice(members, start, start + size):
        if isinstance(member, Group):
            kind, row = "group", picked(_group_row(member), None, _GROUP, "group")
        else:
            kind, row = "user", user_here(member, select)
        rows.append({"@odata.type": f"#microsoft.graph.{kind}", **row} if typed else row)
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#{context}"}
    if call.query.get("$count", "").lower() == "true":
        body["@odata.count"] = len(members)
    if start + size < len(members):
        token = pack(["g", start + size])
        body["@odata.nextLink"] = service.link(next_link(call, skiptoken=token), call)
    body["value"] = rows
    return Answer(200, body)


def list_members(service: Service, call: Call) -> Answer:
    """GET groups/{id}/members: people and groups directly inside."""
    world, group = service.world, _find(service, call)
    found = [world.groups.get(member) or world.people[member] for member in group.members]
    here = [one for one in found if isinstance(one, Group) or one.state != "left"]
    return _page(service, call, here, "directoryObjects", typed=True)


def list_users_within(service: Service, call: Call) -> Answer:
    """GET groups/{id}/transitiveMembers/microsoft.graph.user (or members/…): people only."""
    world, group = service.world, _find(service, call)
    people = users_within(world, group)
    if call.parts[2].lower() == "members":
        direct = set(group.members)
        people = [one for one in people if one.aad_id in direct]
    return _page(service, call, [*people], "users", typed=False)


def get_organization(service: Service, call: Call) -> Answer:
    """GET organization: the tenant's name and its verified domains."""
    call.caller.need_organization()
    tenant = call.caller.tenant
    first = tenant.domain.split(".")[0]
    names = [tenant.domain, f"{first}.onmicrosoft.com"]
    row = {
        "id": tenant.id,
        "displayName": first.title(),
        "tenantType": "AAD",
        "verifiedDomains": [
            {
                "capabilities": "Email, OfficeCommunicationsOnline",
                "isDefault": name == tenant.domain,
                "isInitial": name != tenant.domain,
                "name": name,
                "type": "Managed",
            }
            for name in names
        ],
    }
    chosen = picked(row, call.query.get("$select"), _ORGANIZATION, "organization")
    context = f"{call.base}/$metadata#organization"
    return Answer(200, {"@odata.context": context, "value": [chosen]})
