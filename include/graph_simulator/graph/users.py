"""People: list, one, delta, mailboxSettings."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import Any
from urllib.parse import quote

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.conditions import read_condition
from graph_simulator.graph.messages import next_link
from graph_simulator.graph.render import user_row
from graph_simulator.graph.scope import find_box, find_user
from graph_simulator.graph.service import Service
from graph_simulator.graph.tokens import pack, sync_state_lost, unpack
from graph_simulator.world.model import Mailbox

__all__ = ["get_settings", "get_user", "list_users", "picked", "user_here", "users_delta"]

DIRECTORY_TOKEN_LIFE_S = 7 * 86400
_DEFAULT = (
    "id", "businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone",
    "officeLocation", "preferredLanguage", "surname", "userPrincipalName",
)  # fmt: skip


def picked(
    row: dict[str, Any], select: str | None, default: tuple[str, ...], kind: str
) -> dict[str, Any]:
    """The selected properties of a row, or its default ones. Raises GraphError (400)."""
    if not select:
        return {name: row[name] for name in default}
    names = {name.lower(): name for name in row}
    chosen: dict[str, Any] = {}
    for raw in select.split(","):
        name = names.get(raw.strip().lower())
        if name is None:
            raise GraphError(
                400,
                "Request_BadRequest",
                f"Could not find a property named '{raw.strip()[:40]}' on type "
                f"'microsoft.graph.{kind}'.",
            )
        chosen[name] = row[name]
    return {"id": row["id"], **chosen} if kind != "organization" else chosen


def user_here(mailbox: Mailbox, select: str | None) -> dict[str, Any]:
    """A person with the selected properties."""
    return picked(user_row(mailbox, mailbox.state == "live"), select, _DEFAULT, "user")


def list_users(service: Service, call: Call) -> Answer:
    """GET users, 100 a page unless `$top` says otherwise; simple forms of `$filter`."""
    call.caller.need_users()
    for name in call.query:
        if name not in ("$select", "$top", "$count", "$skiptoken", "$filter"):
            raise GraphError(
                400, "Request_UnsupportedQuery", f"The simulator does not know {name[:20]} here."
            )
    size = call.number("$top", 1, 999) or 100
    after = unpack(call.query["$skiptoken"], "u")[1] if "$skiptoken" in call.query else 0
    staff = service.world.staff[call.caller.tenant.number]  # in order of their numbers
    first = bisect_right(staff, after, key=lambda m: m.number)
    wanted = read_condition(call.query["$filter"]) if "$filter" in call.query else None

    def fits(m: Mailbox) -> bool:
        return m.state != "left" and (wanted is None or wanted(user_row(m, m.state == "live")))

    here = (m for m in islice(staff, first, None) if fits(m))
    rest = list(islice(here, size + 1))
    page = rest[:size]
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#users"}
    if call.query.get("$count", "").lower() == "true":
        body["@odata.count"] = sum(fits(m) for m in staff)
    if len(rest) > size:
        token = pack(["u", page[-1].number])
        body["@odata.nextLink"] = service.link(next_link(call, skiptoken=token), call)
    body["value"] = [user_here(m, call.query.get("$select")) for m in page]
    return Answer(200, body)


def get_user(service: Service, call: Call) -> Answer:
    """GET users/{id}."""
    call.caller.need_users()
    mailbox = find_user(service.world, call)
    context = f"{call.base}/$metadata#users/$entity"
    row = user_here(mailbox, call.query.get("$select"))
    return Answer(200, {"@odata.context": context, **row})


def _delta_row(mailbox: Mailbox, select: str | None, since: int) -> dict[str, Any] | None:
    """A row of a round: all properties of a new person, of others only what changed.

    None: nothing that was selected changed.
    """
    if mailbox.state == "left":
        return {"id": mailbox.aad_id, "@removed": {"reason": "changed"}}
    row = user_here(mailbox, select)
    if mailbox.user_born > since:
        return row
    changed = {name for name, change in mailbox.user_fields.items() if change > since}
    kept = {name: value for name, value in row.items() if name in changed}
    return {"id": mailbox.aad_id, **kept} if kept else None


def users_delta(service: Service, call: Call) -> Answer:
    """GET users/delta; `$deltatoken=latest` gives a token from now on."""
    call.caller.need_users()
    tenant, select, now = call.caller.tenant, call.query.get("$select"), call.at // 1_000_000
    since, upto, cursor = 0, tenant.user_change, 0
    given = call.query.get("$deltatoken") or call.query.get("$skiptoken")
    if given and given != "latest":
        _, since, upto, cursor, issued, select = unpack(given, "d")
        if now - issued > DIRECTORY_TOKEN_LIFE_S:
            raise sync_state_lost()
        if "$deltatoken" in call.query:
            since, upto, cursor = upto, tenant.user_change, upto
    elif given:
        since = cursor = upto
    staff = sorted(service.world.staff[tenant.number], key=lambda m: m.user_change)
    rest = [m for m in staff if cursor < m.user_change <= upto]
    if not since:
        rest = [m for m in rest if m.state != "left"]
    size = call.page_size or 100
    page = rest[:size]
    rows = [row for m in page if (row := _delta_row(m, select, since)) is not None]
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#users"}
    if len(rest) > size:
        token = pack(["d", since, upto, page[-1].user_change, now, select])
        body["@odata.nextLink"] = service.link(f"{call.base}/users/delta?$skiptoken={token}", call)
    else:
        token = pack(["d", since, upto, upto, now, select])
        body["@odata.deltaLink"] = f"{call.base}/users/delta?$deltatoken={token}"
    body["value"] = rows
    return Answer(200, body)


def get_settings(service: Service, call: Call) -> Answer:
    """GET users/{id}/mailboxSettings. Without `$select` it holds auto-reply text, as Graph's."""
    call.caller.need_settings()
    mailbox = find_box(service.world, call).mailbox
    zone = {"name": mailbox.time_zone}
    settings: dict[str, Any] = {
        "timeZone": mailbox.time_zone,
        "dateFormat": "yyyy-MM-dd",
        "timeFormat": "HH:mm",
        "language": {"locale": "en-US", "displayName": "English (United States)"},
        "delegateMeetingMessageDeliveryOptions": "sendToDelegateOnly",
        "userPurpose": mailbox.purpose,
        "workingHours": {
            "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
            "startTime": mailbox.day_start,
            "endTime": mailbox.day_end,
            "timeZone": zone,
        },
        "automaticRepliesSetting": {
            "status": "disabled",
            "externalAudience": "all",
            "internalReplyMessage": f"CANARY-{mailbox.number:08x}-internalReply away",
            "externalReplyMessage": f"CANARY-{mailbox.number:08x}-externalReply away",
        },
    }
    if "$select" in call.query:
        names = {name.lower(): name for name in settings}
        wanted = [n.strip().lower() for n in call.query["$select"].split(",")]
        for name in wanted:
            if name not in names:
                raise GraphError(
                    400, "RequestBroker--ParseUri", f"Could not find a property '{name[:40]}'."
                )
        settings = {names[name]: settings[names[name]] for name in wanted}
    link = f"{call.base}/$metadata#users('{quote(call.parts[1])}')/mailboxSettings"
    return Answer(200, {"@odata.context": link, **settings})
