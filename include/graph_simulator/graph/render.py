"""An item, a folder or a person as Graph writes it. What may not be seen is not made."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from graph_simulator.clock import iso_seconds
from graph_simulator.errors import GraphError
from graph_simulator.graph.call import Call
from graph_simulator.ids import change_key, default_id, folder_id, immutable_id
from graph_simulator.world import content
from graph_simulator.world.box import Box
from graph_simulator.world.model import FLAGS, IMPORTANCES, Folder, Item, Mailbox
from graph_simulator.world.world import World

__all__ = ["FIELDS", "Renderer", "etag", "folder_row", "item_id", "selection", "user_row"]


def item_id(item: Item, immutable: bool) -> str:
    """The id of an item in the format the caller asked for."""
    return immutable_id(item.number) if immutable else default_id(item.number, item.version)


def etag(item: Item) -> str:
    """The etag; a read or unread does not change it."""
    return f'W/"{change_key(item.number, item.loud_change)}"'


@lru_cache(maxsize=20000)
def _conversation(mailbox: int, name: str) -> str:
    raw = hashlib.blake2b(f"{mailbox}/{name}".encode(), digest_size=16).digest()
    return "AAQkAGI2TG93" + base64.urlsafe_b64encode(raw).decode()


@lru_cache(maxsize=20000)
def _index(name: str) -> str:
    return base64.b64encode(hashlib.blake2b(name.encode(), digest_size=22).digest()).decode()


class Renderer:
    """Turns items of one mailbox into rows for one caller."""

    __slots__ = ("_box", "_immutable", "_mailbox", "_world")

    def __init__(self, world: World, box: Box, immutable: bool) -> None:
        self._world = world
        self._box = box
        self._mailbox = box.mailbox
        self._immutable = immutable

    def row(self, item: Item, fields: tuple[str, ...]) -> dict[str, Any]:
        """The item with exactly `fields` (id always)."""
        row: dict[str, Any] = {"@odata.etag": etag(item), "id": item_id(item, self._immutable)}
        for name in fields:
            row[name] = FIELDS[name](self, item)
        return row

    def person(self, address: str) -> dict[str, Any]:
        """A recipient; colleagues by their name, others by their address."""
        known = self._world.people.get(address)
        name = known.name if known else address.partition("@")[0].title()
        return {"emailAddress": {"name": name, "address": address}}

    def people(self, addresses: list[str]) -> list[dict[str, Any]]:
        """Recipients."""
        return [self.person(address) for address in addresses]

    @staticmethod
    def flag(item: Item) -> dict[str, Any]:
        """The follow-up flag with its dates."""
        flag: dict[str, Any] = {"flagStatus": FLAGS[item.flag]}
        if item.flag:
            stamp = {"dateTime": iso_seconds(item.flagged_at)[:-1] + ".0000000", "timeZone": "UTC"}
            if item.flag == 1:
                flag["dueDateTime"] = flag["startDateTime"] = stamp
            else:
                flag["completedDateTime"] = stamp
        return flag

    def conversation(self, item: Item) -> str:
        """The thread's id in this mailbox."""
        return _conversation(self._mailbox.number, item.conversation)


Maker = Callable[[Renderer, Item], Any]

#: every property one can select, in the order of the delta tokens' bit mask (append only)
FIELDS: dict[str, Maker] = {
    "id": lambda r, i: item_id(i, r._immutable),
    "changeKey": lambda r, i: change_key(i.number, i.loud_change),
    "createdDateTime": lambda r, i: iso_seconds(i.created),
    "lastModifiedDateTime": lambda r, i: iso_seconds(i.modified),
    "receivedDateTime": lambda r, i: iso_seconds(i.received),
    "sentDateTime": lambda r, i: iso_seconds(i.sent),
    "internetMessageId": lambda r, i: i.imid,
    "conversationId": lambda r, i: r.conversation(i),
    "conversationIndex": lambda r, i: _index(i.conversation),
    "parentFolderId": lambda r, i: folder_id(i.folder),
    "from": lambda r, i: r.person(i.on_behalf_of or i.sender),
    "sender": lambda r, i: r.person(i.sender),
    "toRecipients": lambda r, i: r.people(i.to),
    "ccRecipients": lambda r, i: r.people(i.cc),
    "bccRecipients": lambda r, i: r.people(i.bcc),
    "replyTo": lambda r, i: [],
    "hasAttachments": lambda r, i: i.attachments,
    "importance": lambda r, i: IMPORTANCES[i.importance],
    "flag": lambda r, i: r.flag(i),
    "categories": lambda r, i: i.categories,
    "inferenceClassification": lambda r, i: "focused" if i.focused else "other",
    "isRead": lambda r, i: i.read,
    "isDraft": lambda r, i: i.draft,
    "isReadReceiptRequested": lambda r, i: False,
    "isDeliveryReceiptRequested": lambda r, i: False,
    "webLink": lambda r, i: f"https://outlook.example/owa/?ItemID={item_id(i, r._immutable)}",
    "subject": lambda r, i: content.subject(i),
    "bodyPreview": lambda r, i: content.preview(i),
    "body": lambda r, i: {"contentType": "text", "content": content.body(i)},
    "uniqueBody": lambda r, i: {"contentType": "text", "content": content.body(i)},
    "internetMessageHeaders": lambda r, i: [{"name": "Message-ID", "value": i.imid}],
}
CONTENT = frozenset({"body", "bodyPreview", "uniqueBody", "internetMessageHeaders"})
_DEFAULT = tuple(n for n in FIELDS if n not in ("uniqueBody", "internetMessageHeaders", "id"))
_NAMES = {name.lower(): name for name in FIELDS}


@lru_cache(maxsize=256)
def _selected(text: str | None, content_too: bool) -> tuple[str, ...]:
    if text is None:
        chosen = list(_DEFAULT)
    else:
        chosen = []
        for raw in text.split(","):
            name = _NAMES.get(raw.strip().lower())
            if name is None:
                raise GraphError(
                    400,
                    "RequestBroker--ParseUri",
                    f"Could not find a property named '{raw.strip()[:40]}' on type "
                    "'microsoft.graph.message'.",
                )
            if name != "id" and name not in chosen:
                chosen.append(name)
    return tuple(name for name in chosen if content_too or name not in CONTENT)


def selection(call: Call) -> tuple[str, ...]:
    """The properties to show: those selected, or all, without what the roles do not allow.

    Raises GraphError (400) for a property a message does not have.
    """
    return _selected(call.query.get("$select"), call.caller.sees_content)


def folder_row(box: Box, folder: Folder) -> dict[str, Any]:
    """A mail folder with its counts."""
    row = {
        "id": folder_id(folder.number),
        "displayName": folder.name,
        "parentFolderId": folder_id(folder.parent),
        "childFolderCount": len(box.children(folder.number)),
        "unreadItemCount": 0,
        "totalItemCount": 0,
        "sizeInBytes": 0,
        "isHidden": folder.hidden,
    }
    if folder.search:
        many = len(box.found())
        kind = "#microsoft.graph.mailSearchFolder"
        return {"@odata.type": kind, **row, "unreadItemCount": many, "totalItemCount": many}
    many = len(box.members[folder.number])
    row["unreadItemCount"] = box.unread(folder.number)
    return {**row, "totalItemCount": many, "sizeInBytes": 20_000 * many}


def user_row(mailbox: Mailbox, licensed: bool = True) -> dict[str, Any]:
    """A directory user with the properties mail metadata needs."""
    return {
        "id": mailbox.aad_id,
        "displayName": mailbox.name,
        "givenName": mailbox.name.split(" ")[0],
        "surname": mailbox.name.split(" ")[-1],
        "mail": mailbox.mail or mailbox.address,
        "userPrincipalName": mailbox.address,
        "department": mailbox.department,
        "officeLocation": mailbox.office,
        "jobTitle": mailbox.title,
        "accountEnabled": mailbox.purpose not in ("shared", "room", "equipment"),
        "userType": "Member" if mailbox.mail is None else "Guest",
        "onPremisesSyncEnabled": None,
        "assignedPlans": [
            {
                "capabilityStatus": "Enabled" if licensed else "Deleted",
                "service": "exchange",
                "servicePlanId": "efb87545-963c-4e0d-99df-69c6916d9eb0",
            }
        ],
        "assignedLicenses": [{"skuId": str(uuid.UUID(int=1)), "disabledPlans": []}]
        if licensed
        else [],
        "proxyAddresses": [
            f"SMTP:{mailbox.mail or mailbox.address}",
            *(f"smtp:{address}" for address in mailbox.aliases),
        ],
        "mobilePhone": None,
        "businessPhones": [],
        "preferredLanguage": "en-US",
    }
