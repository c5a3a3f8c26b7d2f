"""What the world is made of. Every struct here is one row of the state file.

Numbers: a mailbox has a small number; its folders and items are `mailbox << 24 | n`, so that one
mailbox's rows lie together and an id tells whose it is. Times of messages are whole Unix seconds
(Graph cuts message dates to the second); everything else that is a time is microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

__all__ = [
    "FLAGS",
    "IMPORTANCES",
    "KINDS",
    "WELL_KNOWN",
    "ActResult",
    "Folder",
    "Group",
    "Item",
    "Mailbox",
    "Subscription",
    "Tenant",
]

FLAGS = ("notFlagged", "flagged", "complete")
IMPORTANCES = ("low", "normal", "high")

#: well-known name -> (kind in the journal, display name, hidden, well-known name of the parent)
WELL_KNOWN: dict[str, tuple[str, str, bool, str | None]] = {
    "root": ("other", "", True, None),
    "msgfolderroot": ("other", "Top of Information Store", False, "root"),
    "archive": ("archive", "Archive", False, "msgfolderroot"),
    "conversationhistory": ("other", "Conversation History", False, "msgfolderroot"),
    "deleteditems": ("deleted", "Deleted Items", False, "msgfolderroot"),
    "drafts": ("drafts", "Drafts", False, "msgfolderroot"),
    "inbox": ("inbox", "Inbox", False, "msgfolderroot"),
    "junkemail": ("junk", "Junk Email", False, "msgfolderroot"),
    "outbox": ("outbox", "Outbox", False, "msgfolderroot"),
    "sentitems": ("sent", "Sent Items", False, "msgfolderroot"),
    "syncissues": ("other", "Sync Issues", True, "msgfolderroot"),
    "conflicts": ("other", "Conflicts", True, "syncissues"),
    "recoverableitemsroot": ("other", "Recoverable Items", True, "root"),
    "recoverableitemsdeletions": ("dumpster", "Deletions", True, "recoverableitemsroot"),
    "recoverableitemsversions": ("dumpster", "Versions", True, "recoverableitemsroot"),
    "recoverableitemspurges": ("dumpster", "Purges", True, "recoverableitemsroot"),
}
KINDS = (
    "inbox",
    "sent",
    "deleted",
    "drafts",
    "outbox",
    "junk",
    "archive",
    "dumpster",
    "other",
)


class Tenant(msgspec.Struct, array_like=True):
    """One organisation and the one application registered in it."""

    number: int
    id: str
    domain: str
    client_id: str
    secret: str
    roles: list[str]
    principal_id: str
    user_change: int = 0
    """Counts changes of users: the generation that users/delta tokens speak of."""
    secrets: list[str] = []
    """Client secrets beside the first; each is good until it is expired."""
    expired: list[str] = []
    certificates: dict[str, str] = {}
    """PEM of the application's certificates by `x5t#S256` (base64url of the SHA-256)."""
    longest_min: int = 0
    """Longest life of a subscription in minutes when it is not Graph's 10,080; 0 = that."""


class Group(msgspec.Struct, array_like=True):
    """A group of the directory; members are object ids of users and of groups."""

    id: str
    tenant: int
    members: list[str]


class Mailbox(msgspec.Struct, array_like=True):
    """A user and the mailbox behind it."""

    number: int
    tenant: int
    aad_id: str
    address: str
    name: str
    department: str = "General"
    office: str = "Main"
    title: str = "Employee"
    time_zone: str = "UTC"
    day_start: str = "08:00:00.0000000"
    day_end: str = "17:00:00.0000000"
    purpose: str = "user"
    state: str = "live"
    """`live`, `unlicensed` (the user stays, the mailbox is gone) or `left` (no user any more)."""
    history: int = 0
    """How many baseline messages it has from before the clock's start."""
    born: int = 0
    """Unix second before which the baseline lies."""
    filled: bool = False
    """Whether the baseline has been made: it is made at the first touch, from the seed."""
    items: int = 0
    folders: int = 0
    change: int = 0
    """The generation that delta tokens of this mailbox speak of."""
    user_change: int = 0
    user_born: int = 0
    """The `user_change` with which the person appeared."""
    user_fields: dict[str, int] = {}
    """Properties of the user that changed since, each with the `user_change` of the last time."""
    mail: str | None = None
    """The guest's own address; None: a member, whose address is `address`."""
    bulk: int = 0
    """How many old messages it has that are made when they are looked at."""
    aliases: list[str] = []
    """Addresses it had before; they keep reaching it."""


class Folder(msgspec.Struct, array_like=True):
    """A mail folder."""

    number: int
    parent: int
    name: str
    kind: str
    well_known: str | None = None
    hidden: bool = False
    gone: bool = False
    change: int = 0
    rules: list[dict[str, Any]] = []
    """Inbox rules (kept with the Inbox)."""
    rule_count: int = 0
    search: bool = False
    """A search folder: shows unread messages that lie elsewhere."""
    acted: bool = False
    """Somebody made or changed it: the journal tells when it is shown."""


class Item(msgspec.Struct, array_like=True):
    """A message without its content, which is made from the item's number when it is asked for."""

    number: int
    folder: int
    created: int
    received: int
    sent: int
    modified: int
    sender: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    imid: str
    conversation: str
    on_behalf_of: str | None = None
    """The `from` where it differs from `sender`."""
    read: bool = False
    draft: bool = False
    attachments: bool = False
    focused: bool = True
    importance: int = 1
    flag: int = 0
    flagged_at: int = 0
    categories: list[str] = []
    version: int = 1
    """Counts moves: part of the default id."""
    change: int = 0
    """Mailbox generation of the last change of any kind."""
    loud_change: int = 0
    """The same without read and unread, which Graph does not count as a modification."""
    gone: bool = False
    shown: str = ""
    """State hash the client was last shown, "" before the first time."""


class Subscription(msgspec.Struct):
    """A change-notification subscription; times are Graph time in microseconds."""

    id: str
    tenant: int
    mailbox: int
    folder: int
    """0 = the whole mailbox."""
    resource: str
    change_type: str
    notification_url: str
    expires: int
    created: int
    lifecycle_url: str | None = None
    client_state: str | None = None
    immutable: bool = False
    dead: bool = False
    """Created, answered 201, and never delivers (fault `dead_201`)."""
    paused: bool = False
    """Awaiting reauthorization: deliveries stop."""
    tls: str | None = None
    select: list[str] = []
    """Properties of `$select`; sent only with resource data."""
    certificate: str | None = None
    """Base64 of the DER certificate resource data is encrypted for; None = ids only."""
    certificate_id: str | None = None


@dataclass(frozen=True, slots=True)
class ActResult:
    """What an act did: the item it made or changed (immutable id), its journal number, when.

    `delivered` holds, for a send, one result for each copy that reached a mailbox here.
    """

    item_id: str | None
    number: int
    at: datetime
    mailbox: str = ""
    delivered: tuple[ActResult, ...] = ()
