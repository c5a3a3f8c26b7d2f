"""Every path we ask Graph for, and the only fields we ask of it.

No field here holds content (I2): no subject, body, preview, attachment, header or link.
Ids that came from outside pass `item_segment` and its kin before they enter a path: checked
against the alphabet of Graph's ids, then escaped.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from outlook_lake.errors import UntrustedLinkError, UsageError

__all__ = [
    "FOLDER_SELECT",
    "IMMUTABLE_IDS",
    "MESSAGE_FIELDS",
    "MESSAGE_SELECT",
    "ORGANIZATION_PATH",
    "SETTINGS_SELECT",
    "USER_SELECT",
    "WELL_KNOWN_FOLDERS",
    "folder_path",
    "folders_delta_path",
    "folders_path",
    "group_users_path",
    "mailbox_settings_path",
    "message_delta_path",
    "message_path",
    "message_traces_path",
    "messages_path",
    "paged",
    "rich_resource",
    "rules_path",
    "subscription_path",
    "subscription_resource",
    "user_path",
    "users_delta_path",
    "users_path",
    "window_path",
]

MESSAGE_FIELDS = (
    "id",
    "changeKey",
    "createdDateTime",
    "lastModifiedDateTime",
    "receivedDateTime",
    "sentDateTime",
    "internetMessageId",
    "conversationId",
    "parentFolderId",
    "from",
    "sender",
    "toRecipients",
    "ccRecipients",
    "bccRecipients",
    "replyTo",
    "hasAttachments",
    "importance",
    "flag",
    "categories",
    "inferenceClassification",
    "isRead",
    "isDraft",
)
"""graph-facts 6.2 without what nobody needs; `messages.Message` decodes exactly these."""

MESSAGE_SELECT = ",".join(MESSAGE_FIELDS)
FOLDER_SELECT = "id,displayName,parentFolderId,childFolderCount,totalItemCount,isHidden"
USER_SELECT = (
    "id,userPrincipalName,displayName,mail,proxyAddresses,accountEnabled,userType,"
    "department,officeLocation"
)
SETTINGS_SELECT = "timeZone,workingHours,userPurpose"
"""Exactly these three: automatic replies hold text people wrote."""

ORGANIZATION_PATH = "/organization?$select=verifiedDomains"
"""Needs Organization.Read.All, which is optional."""

IMMUTABLE_IDS = 'IdType="ImmutableId"'
"""`Prefer` of every request that gives or takes message ids."""

# Kind in our words → well-known name in Graph's (locale-independent, graph-facts 4.9).
WELL_KNOWN_FOLDERS: dict[str, str] = {
    "inbox": "inbox",
    "sent": "sentitems",
    "deleted": "deleteditems",
    "drafts": "drafts",
    "outbox": "outbox",
    "junk": "junkemail",
    "archive": "archive",
    "dumpster": "recoverableitemsdeletions",
}

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_GRAPH_ID = re.compile(r"[A-Za-z0-9_=+/-]{1,512}")


def paged(page_size: int) -> str:
    """`Prefer` for immutable ids and a page size, in one header.

    Two headers lose one of them (olkcli#99), and `$top` on delta ends the round early
    (docs-contrib#7946).
    """
    return f"{IMMUTABLE_IDS}, odata.maxpagesize={page_size}"


def message_path(user: str, item: str) -> str:
    """One message, with our fields only."""
    return f"{_user(user)}/messages/{_id(item)}?$select={MESSAGE_SELECT}"


def messages_path(user: str, folder: str, *, top: int = 200) -> str:
    """The plain list of a folder: for mailboxes where delta refuses."""
    return f"{_folder(user, folder)}/messages?$select={MESSAGE_SELECT}&$top={_count(top)}"


def window_path(user: str, date: str, since: datetime, until: datetime, *, top: int = 200) -> str:
    """Messages of all folders by one of their dates; aware times, half-open, oldest first."""
    if date not in ("receivedDateTime", "lastModifiedDateTime"):
        raise UsageError(f"messages are not listed by {date}")
    # Graph wants what it orders by to stand first in the filter.
    wanted = f"{date} ge {_moment(since)} and {date} lt {_moment(until)}"
    return (
        f"{_user(user)}/messages?$select={MESSAGE_SELECT}"
        f"&$filter={quote(wanted, safe=':')}&$orderby={date}&$top={_count(top)}"
    )


def message_traces_path(since: datetime, until: datetime, *, top: int = 1000) -> str:
    """Who got which mail when, of the whole tenant; aware times, whole seconds, half-open.

    Ten days at most. Graph has no $select here: the subject that comes with a row is dropped on
    arrival (graph-facts 8.6).
    """
    wanted = f"receivedDateTime ge {_moment(since)} and receivedDateTime lt {_moment(until)}"
    return (
        f"/admin/exchange/tracing/messageTraces?$filter={quote(wanted, safe=':')}"
        f"&$top={_count(top)}"
    )


def message_delta_path(user: str, folder: str) -> str:
    """The first page of a folder's delta; ask for its size with `paged` in `Prefer`."""
    return f"{_folder(user, folder)}/messages/delta?$select={MESSAGE_SELECT}"


def folder_path(user: str, folder: str) -> str:
    """One folder, by id or by well-known name."""
    return f"{_folder(user, folder)}?$select={FOLDER_SELECT}"


def folders_path(user: str, parent: str | None = None, *, top: int = 100) -> str:
    """The direct children of the root or of a folder, hidden ones included."""
    base = (
        f"{_user(user)}/mailFolders" if parent is None else f"{_folder(user, parent)}/childFolders"
    )
    return f"{base}?$select={FOLDER_SELECT}&includeHiddenFolders=true&$top={_count(top)}"


def folders_delta_path(user: str) -> str:
    """The first page of the folder tree's delta: flat, nested folders included."""
    return f"{_user(user)}/mailFolders/delta?$select={FOLDER_SELECT}"


def rules_path(user: str) -> str:
    """The inbox rules of a mailbox; conditions come with them and are dropped on arrival."""
    return f"{_folder(user, 'inbox')}/messageRules"


def users_path(*, top: int = 999, condition: str = "") -> str:
    """The users of the tenant, a page; `condition` is Graph's $filter."""
    chosen = f"&$filter={quote(condition, safe='')}" if condition else ""
    return f"/users?$select={USER_SELECT}&$top={_count(top)}{chosen}"


def users_delta_path() -> str:
    """All users, and a link to what changes after (graph-facts 4.10: no $top, no $filter)."""
    return f"/users/delta?$select={USER_SELECT}"


def group_users_path(group: str, *, top: int = 999) -> str:
    """The users in a group, those of nested groups too."""
    members = f"/groups/{_object_id(group)}/transitiveMembers/microsoft.graph.user"
    return f"{members}?$select={USER_SELECT}&$top={_count(top)}"


def user_path(user: str) -> str:
    """One user, by object id."""
    return f"{_user(user)}?$select={USER_SELECT}"


def mailbox_settings_path(user: str) -> str:
    """Time zone, working hours and purpose of a mailbox; never the automatic replies."""
    return f"{_user(user)}/mailboxSettings?$select={SETTINGS_SELECT}"


def subscription_path(subscription_id: str) -> str:
    """One subscription."""
    return f"/subscriptions/{_object_id(subscription_id)}"


def subscription_resource(user: str) -> str:
    """What a subscription watches: all messages of one mailbox, as Graph wants it written."""
    return f"users/{_object_id(user)}/messages"


def rich_resource(user: str) -> str:
    """The same with the fields of a message that are to come along, encrypted."""
    return f"{subscription_resource(user)}?$select={MESSAGE_SELECT}"


def with_query(path: str, **parameters: str) -> str:
    """A path with further query parameters, escaped."""
    joint = "&" if "?" in path else "?"
    return path + joint + urlencode(parameters)


def _user(user: str) -> str:
    return f"/users/{_object_id(user)}"


def _folder(user: str, folder: str) -> str:
    return f"{_user(user)}/mailFolders/{_id(folder)}"


def _object_id(text: str) -> str:
    if not _OBJECT_ID.fullmatch(text):
        raise UntrustedLinkError("an id that is not an Entra object id was kept out of a URL")
    return text


def _id(text: str) -> str:
    if not _GRAPH_ID.fullmatch(text):
        raise UntrustedLinkError("an id that is not one of Graph's was kept out of a URL")
    return quote(text, safe="=")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _count(number: int) -> int:
    if not 1 <= number <= 1000:
        raise UsageError(f"a page holds 1 to 1,000 rows, not {number}")
    return number
