"""Mail folders: the tree level by level, one by id or well-known name, delta; inbox rules."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Answer, Call
from graph_simulator.graph.messages import next_link
from graph_simulator.graph.render import folder_row
from graph_simulator.graph.scope import find_box, find_folder, item_not_found
from graph_simulator.graph.service import Service
from graph_simulator.graph.tokens import pack, sync_state_lost, unpack
from graph_simulator.ids import folder_id
from graph_simulator.world.box import Box
from graph_simulator.world.model import Folder

__all__ = ["folders_delta", "get_folder", "list_folders", "list_rules"]


def _row(
    service: Service, box: Box, folder: Folder, call: Call, select: str | None
) -> dict[str, Any]:
    row = folder_row(box, folder)
    row["totalItemCount"] += service.faults.miscounts(box)
    row["totalItemCount"] = max(0, row["totalItemCount"])
    if select:
        names = {name.lower(): name for name in row}
        always = ("@odata.type", "id")
        chosen: dict[str, Any] = {name: row[name] for name in always if name in row}
        for raw in select.split(","):
            name = names.get(raw.strip().lower())
            if name is None:
                raise GraphError(
                    400,
                    "RequestBroker--ParseUri",
                    f"Could not find a property named '{raw.strip()[:40]}' on type "
                    "'microsoft.graph.mailFolder'.",
                )
            chosen[name] = row[name]
        row = chosen
    return row


def get_folder(service: Service, call: Call) -> Answer:
    """GET users/{id}/mailFolders/{id or well-known name}."""
    call.caller.need_mail()
    box = find_box(service.world, call)
    folder = find_folder(service.world, box, call.parts[3])
    link = f"{call.base}/$metadata#users('{quote(call.parts[1])}')/mailFolders/$entity"
    row = _row(service, box, folder, call, call.query.get("$select"))
    return Answer(200, {"@odata.context": link, **row})


def list_folders(service: Service, call: Call) -> Answer:
    """GET users/{id}/mailFolders and …/{id}/childFolders: one level, 10 a page, none hidden."""
    call.caller.need_mail()
    box = find_box(service.world, call)
    parent = box.known["msgfolderroot"]
    if len(call.parts) == 5:
        parent = find_folder(service.world, box, call.parts[3])
    for name in call.query:
        if name.startswith("$") and name not in ("$select", "$top", "$skip", "$count"):
            raise GraphError(400, "ErrorInvalidUrlQuery", f"{name[:20]} is not supported.")
    hidden = call.query.get("includeHiddenFolders", "").lower() == "true"
    folders = box.children(parent.number, hidden=hidden)
    size = call.number("$top", 1, 1000) or call.page_size or 10
    skip = call.number("$skip", 0, 10**6) or 0
    body: dict[str, Any] = {
        "@odata.context": f"{call.base}/$metadata#users('{quote(call.parts[1])}')/mailFolders"
    }
    if call.query.get("$count", "").lower() == "true":
        body["@odata.count"] = len(folders)
    page = folders[skip : skip + size]
    if box.mailbox.number in service.treeless:
        service.shown_folders(box, page, call.at)
    body["value"] = [_row(service, box, f, call, call.query.get("$select")) for f in page]
    if skip + size < len(folders):
        body["@odata.nextLink"] = service.link(next_link(call, skip=skip + size), call)
    return Answer(200, body)


def _last_change(box: Box, folder: Folder) -> int:
    """A folder also shows up again when its counts changed."""
    log = box.changes[folder.number]
    newest = log[next(reversed(log))] if log else 0
    return max(folder.change, newest)


def folders_delta(service: Service, call: Call) -> Answer:
    """GET users/{id}/mailFolders/delta: the visible tree, flat."""
    call.caller.need_mail()
    box = find_box(service.world, call)
    now, select = call.at // 1_000_000, call.query.get("$select")
    given = call.query.get("$deltatoken") or call.query.get("$skiptoken")
    service.treeless.add(box.mailbox.number)
    service.faults.refuse_delta(box, given is not None)
    service.treeless.discard(box.mailbox.number)
    since, upto, cursor = 0, box.mailbox.change, 0
    if given:
        _, number, since, upto, cursor, issued, select = unpack(given, "f")
        if number != box.mailbox.number:
            raise GraphError(400, "SyncStateInvalid", "The sync state belongs elsewhere.")
        if now - issued > service.delta_life_s:
            raise sync_state_lost()
        if "$deltatoken" in call.query:
            since, upto, cursor = upto, box.mailbox.change, 0
    rest = [
        folder
        for folder in box.folders.values()
        if folder.number > cursor
        and box.below_root(folder)
        and not folder.hidden
        and since < _last_change(box, folder)
        and (since or not folder.gone)
    ]
    size = call.page_size or 10
    page = rest[:size]
    service.shown_folders(box, page, call.at)
    path = f"{call.base}/users/{quote(call.parts[1])}/mailFolders/delta?"
    body: dict[str, Any] = {"@odata.context": f"{call.base}/$metadata#Collection(mailFolder)"}
    if len(rest) > size:
        token = pack(["f", box.mailbox.number, since, upto, page[-1].number, now, select])
        body["@odata.nextLink"] = service.link(f"{path}$skiptoken={token}", call)
    else:
        token = pack(["f", box.mailbox.number, since, upto, 0, now, select])
        body["@odata.deltaLink"] = f"{path}$deltatoken={token}"
    body["value"] = [
        {"id": folder_id(f.number), "@removed": {"reason": "deleted"}}
        if f.gone
        else _row(service, box, f, call, select)
        for f in page
    ]
    return Answer(200, body)


def list_rules(service: Service, call: Call) -> Answer:
    """GET users/{id}/mailFolders/inbox/messageRules and one rule of it."""
    call.caller.need_settings()
    box = find_box(service.world, call)
    folder = find_folder(service.world, box, call.parts[3])
    if folder.kind != "inbox":
        raise GraphError(400, "ErrorInvalidRequest", "Only the Inbox has rules.")
    if len(call.parts) == 5:
        if folder.rule_count:
            service.world.journal.served_object(call.at, box.mailbox.aad_id, "rules", None, None)
        return Answer(200, {"value": folder.rules})
    for rule in folder.rules:
        if rule["id"] == call.parts[5]:
            return Answer(200, rule)
    raise item_not_found()
