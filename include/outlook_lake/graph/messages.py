"""The shapes of Graph's answers: exactly the allow-listed fields, everything else falls away.

Unknown keys never become Python objects (I2). Every field of a message is optional: UNSET
means "the row did not say" (delta sends partial rows), None means "said to be empty".
Dates stay text (`2026-11-24T09:15:04Z`): Arrow turns a column of them into times at once,
five times faster than one by one.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

__all__ = [
    "Address",
    "DeltaPage",
    "Flag",
    "FlagMoment",
    "Folder",
    "FolderPage",
    "MailboxSettings",
    "Message",
    "Recipient",
    "Removed",
    "User",
    "UserPage",
    "decode_folder",
    "decode_folders",
    "decode_message",
    "decode_page",
    "decode_settings",
    "decode_users",
]


class Address(Struct, gc=False):
    """A name and an address; both may be missing."""

    name: str | None = None
    address: str | None = None


class Recipient(Struct, gc=False, rename="camel"):
    """Graph's wrapper around an address."""

    email_address: Address | None = None


class FlagMoment(Struct, gc=False, rename="camel"):
    """A day in a flag, in the zone the user chose."""

    date_time: str = ""
    time_zone: str = ""


class Flag(Struct, gc=False):
    """Follow-up flag: `notFlagged`, `flagged`, `complete`."""

    status: str = field(name="flagStatus", default="notFlagged")
    start: FlagMoment | None = field(name="startDateTime", default=None)
    due: FlagMoment | None = field(name="dueDateTime", default=None)
    completed: FlagMoment | None = field(name="completedDateTime", default=None)


class Removed(Struct, gc=False):
    """Why a row left a delta scope; for mail it only ever means "no longer in this folder"."""

    reason: str = ""


class Message(Struct, gc=False):
    """One message row: metadata only, any field may be UNSET."""

    id: str
    change_key: str | UnsetType | None = field(name="changeKey", default=UNSET)
    created_at: str | UnsetType | None = field(name="createdDateTime", default=UNSET)
    modified_at: str | UnsetType | None = field(name="lastModifiedDateTime", default=UNSET)
    received_at: str | UnsetType | None = field(name="receivedDateTime", default=UNSET)
    sent_at: str | UnsetType | None = field(name="sentDateTime", default=UNSET)
    internet_message_id: str | UnsetType | None = field(name="internetMessageId", default=UNSET)
    conversation_id: str | UnsetType | None = field(name="conversationId", default=UNSET)
    folder_id: str | UnsetType | None = field(name="parentFolderId", default=UNSET)
    from_: Recipient | UnsetType | None = field(name="from", default=UNSET)
    sender: Recipient | UnsetType | None = UNSET
    to: list[Recipient] | UnsetType | None = field(name="toRecipients", default=UNSET)
    cc: list[Recipient] | UnsetType | None = field(name="ccRecipients", default=UNSET)
    bcc: list[Recipient] | UnsetType | None = field(name="bccRecipients", default=UNSET)
    reply_to: list[Recipient] | UnsetType | None = field(name="replyTo", default=UNSET)
    has_attachments: bool | UnsetType | None = field(name="hasAttachments", default=UNSET)
    importance: str | UnsetType | None = UNSET
    flag: Flag | UnsetType | None = UNSET
    categories: list[str] | UnsetType | None = UNSET
    inference: str | UnsetType | None = field(name="inferenceClassification", default=UNSET)
    is_read: bool | UnsetType | None = field(name="isRead", default=UNSET)
    is_draft: bool | UnsetType | None = field(name="isDraft", default=UNSET)
    removed: Removed | UnsetType = field(name="@removed", default=UNSET)


class DeltaPage(Struct, gc=False):
    """A page of messages; `refused` counts rows without as much as an id."""

    value: list[Message]
    next_link: str | None = field(name="@odata.nextLink", default=None)
    delta_link: str | None = field(name="@odata.deltaLink", default=None)
    refused: int = 0


class Folder(Struct, gc=False):
    """One mail folder. Its name is hashed by the caller and kept nowhere else."""

    id: str
    display_name: str | UnsetType | None = field(name="displayName", default=UNSET)
    parent_id: str | UnsetType | None = field(name="parentFolderId", default=UNSET)
    children: int | UnsetType | None = field(name="childFolderCount", default=UNSET)
    total: int | UnsetType | None = field(name="totalItemCount", default=UNSET)
    hidden: bool | UnsetType | None = field(name="isHidden", default=UNSET)
    kind: str | None = field(name="@odata.type", default=None)
    removed: Removed | UnsetType = field(name="@removed", default=UNSET)

    @property
    def is_search(self) -> bool:
        """A search folder: shows messages that live elsewhere, so it is left out."""
        return self.kind is not None and self.kind.endswith("mailSearchFolder")


class FolderPage(Struct, gc=False):
    """A page of folders, of a list or of a delta."""

    value: list[Folder]
    next_link: str | None = field(name="@odata.nextLink", default=None)
    delta_link: str | None = field(name="@odata.deltaLink", default=None)


class User(Struct, gc=False, rename="camel"):
    """One user of the tenant."""

    id: str
    user_principal_name: str | None = None
    display_name: str | None = None
    mail: str | None = None
    proxy_addresses: list[str] | None = None
    account_enabled: bool | None = None
    user_type: str | None = None
    department: str | None = None
    office_location: str | None = None
    removed: Removed | None = field(name="@removed", default=None)


class UserPage(Struct, gc=False):
    """A page of users, of a list or of a delta."""

    value: list[User]
    next_link: str | None = field(name="@odata.nextLink", default=None)
    delta_link: str | None = field(name="@odata.deltaLink", default=None)


class _Domain(Struct, gc=False):
    name: str = ""


class _Organization(Struct, gc=False, rename="camel"):
    verified_domains: list[_Domain]


class _Organizations(Struct, gc=False):
    value: list[_Organization]


class ZoneName(Struct, gc=False):
    """A time zone's name, Windows or IANA."""

    name: str | None = None


class WorkingHours(Struct, gc=False, rename="camel"):
    """When a user says to work, in local time of `time_zone`."""

    days_of_week: list[str] | None = None
    start_time: str | None = None
    end_time: str | None = None
    time_zone: ZoneName | None = None


class MailboxSettings(Struct, gc=False, rename="camel"):
    """The three settings we ask for."""

    time_zone: str | None = None
    working_hours: WorkingHours | None = None
    user_purpose: str | None = None


class _Named(Struct, gc=False):
    id: str


class _RawPage(Struct, gc=False):
    value: list[Raw]
    next_link: str | None = field(name="@odata.nextLink", default=None)
    delta_link: str | None = field(name="@odata.deltaLink", default=None)


_message = msgspec.json.Decoder(Message)
_named = msgspec.json.Decoder(_Named)
_page = msgspec.json.Decoder(DeltaPage)
_raw_page = msgspec.json.Decoder(_RawPage)
_folder = msgspec.json.Decoder(Folder)
_folders = msgspec.json.Decoder(FolderPage)
_users = msgspec.json.Decoder(UserPage)
_user = msgspec.json.Decoder(User)
_organizations = msgspec.json.Decoder(_Organizations)
_settings = msgspec.json.Decoder(MailboxSettings)


def decode_message(raw: bytes | Raw) -> Message:
    """One message; msgspec.DecodeError when it is none."""
    return _message.decode(raw)


def decode_page(body: bytes) -> DeltaPage:
    """A page of messages. One bad row does not fail its neighbours: its id is kept, or it counts.

    Raises msgspec.DecodeError when the page itself is not one.
    """
    try:
        page = _page.decode(body)
    except msgspec.ValidationError:
        page = _row_by_row(_raw_page.decode(body))
    return page


def decode_folders(body: bytes) -> FolderPage:
    """A page of folders; msgspec.DecodeError when it is none."""
    return _folders.decode(body)


def decode_folder(raw: bytes | Raw) -> Folder:
    """One folder; msgspec.DecodeError when it is none."""
    return _folder.decode(raw)


def decode_users(body: bytes) -> UserPage:
    """A page of users; msgspec.DecodeError when it is none."""
    return _users.decode(body)


def decode_user(raw: bytes | Raw) -> User:
    """One user; msgspec.DecodeError when it is none."""
    return _user.decode(raw)


def decode_domains(body: bytes) -> tuple[str, ...]:
    """The verified domains of an organisation, lower case; msgspec.DecodeError when unreadable."""
    found = _organizations.decode(body).value
    return tuple(sorted({one.name.lower() for org in found for one in org.verified_domains} - {""}))


def decode_settings(raw: bytes | Raw) -> MailboxSettings:
    """The settings of a mailbox; msgspec.DecodeError when they are none."""
    return _settings.decode(raw)


def _row_by_row(raw: _RawPage) -> DeltaPage:
    rows: list[Message] = []
    refused = 0
    for row in raw.value:
        try:
            rows.append(_message.decode(row))
        except msgspec.DecodeError:
            try:
                # Its id is enough to look at it: the row becomes a partial one.
                rows.append(Message(_named.decode(row).id))
            except msgspec.DecodeError:
                refused += 1
    return DeltaPage(rows, raw.next_link, raw.delta_link, refused)
