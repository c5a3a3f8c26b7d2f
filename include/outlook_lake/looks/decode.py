"""From Graph's message to an observation row: hashed where it names a person, and narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from outlook_lake.errors import UnreachableError
from outlook_lake.events.observation import Person, Row
from outlook_lake.graph.messages import Flag, Message, Recipient
from outlook_lake.state.kinds import item_key
from outlook_lake.state.leases import Lease
from outlook_lake.tenants.directory import DirectoryKey, address_key

__all__ = ["NO_HINT", "Decoder", "is_whole", "readable"]

NO_HINT: Row = (0, None, None, 0, 0)
"""Hint columns of a row no hint led to: kinds, first_at, earliest_at, count, attempts."""

CACHED = 200_000
Body = TypeVar("Body", bound=bytes | msgspec.Raw)
Made = TypeVar("Made")
NOBODY: tuple[bytes | None, str | None] = (None, None)


def readable(decode: Callable[[Body], Made], body: Body) -> Made:
    """What `decode` makes of a body; UnreachableError when it is something else."""
    try:
        return decode(body)
    except msgspec.DecodeError:
        raise UnreachableError("Graph answered with something else than was asked for") from None


def is_whole(message: Message) -> bool:
    """Whether a row says everything: delta sends partial ones, which get a look instead."""
    return (
        message.created_at is not UNSET
        and message.folder_id not in (UNSET, None)
        and message.is_read is not UNSET
        and message.is_draft is not UNSET
        and message.flag is not UNSET
        and message.modified_at is not UNSET
        and message.to is not UNSET
    )


class Decoder:
    """Turns messages of one tenant into rows. Keeps keyed hashes of addresses it has met.

    `hash_categories` replaces category names by keyed hashes.
    """

    def __init__(self, key: DirectoryKey, *, hash_categories: bool = False) -> None:
        self._key = key
        self._hash_categories = hash_categories
        self._known: dict[str, Person] = {}

    def row(
        self,
        lease: Lease,
        message: Message,
        people: dict[bytes, Person],
        *,
        ordinal: int,
        seen_at: int,
        sighting: str,
        hint: Row = NO_HINT,
    ) -> Row:
        """One observation; the people it names are added to `people`."""
        sender = self._person(message.from_, people)
        actual = self._person(message.sender, people)
        recipients = [
            *self._people(message.to, "to", people),
            *self._people(message.cc, "cc", people),
            *self._people(message.bcc, "bcc", people),
        ]
        return (
            lease.mailbox_id,
            lease.shard,
            item_key(message.id),
            message.id,
            ordinal,
            seen_at,
            False,
            sighting,
            *hint,
            _text(message.folder_id),
            _text(message.created_at),
            _text(message.modified_at),
            _text(message.received_at),
            _text(message.sent_at),
            _text(message.internet_message_id),
            _text(message.conversation_id),
            sender.address_key if sender else None,
            sender.domain if sender else None,
            bool(sender and actual and sender.address_key != actual.address_key),
            recipients,
            _flag_of(message.has_attachments),
            _lower(message.importance),
            _flag_status(message.flag),
            _flag_dates(message.flag),
            self._categories(message.categories),
            _lower(message.inference),
            _flag_of(message.is_read),
            _flag_of(message.is_draft),
        )

    def person(self, found: Recipient) -> Person | None:
        """Who a recipient is; None when it names no address."""
        return self._person(found, {})

    def _people(
        self,
        found: list[Recipient] | UnsetType | None,
        kind: str,
        people: dict[bytes, Person],
    ) -> list[dict[str, Any]]:
        if not found:
            return []
        rows = []
        for recipient in found:
            person = self._person(recipient, people)
            if person is not None:
                rows.append({"key": person.address_key, "domain": person.domain, "kind": kind})
        return rows

    def _person(
        self, found: Recipient | UnsetType | None, people: dict[bytes, Person]
    ) -> Person | None:
        if not found:
            return None
        email = found.email_address
        if email is None or not email.address:
            return None
        person = self._known.get(email.address)
        if person is None:
            address = email.address.strip().lower()
            person = Person(
                address_key=address_key(self._key, address),
                address=address,
                name=email.name,
                domain=address.rpartition("@")[2],
            )
            if len(self._known) >= CACHED:
                self._known.clear()
            self._known[email.address] = person
        people[person.address_key] = person
        return person

    def _categories(self, names: list[str] | UnsetType | None) -> list[str]:
        if not names:
            return []
        if not self._hash_categories:
            return names
        return [address_key(self._key, name).hex() for name in names]


def _text(value: str | UnsetType | None) -> str | None:
    return value or None


def _lower(value: str | UnsetType | None) -> str | None:
    return value.lower() if value else None


def _flag_of(value: bool | UnsetType | None) -> bool | None:
    return None if value is UNSET else value


def _flag_status(flag: Flag | UnsetType | None) -> str:
    return flag.status.lower() if flag else "notflagged"


def _flag_dates(flag: Flag | UnsetType | None) -> str | None:
    if not flag:
        return None
    moments = (flag.start, flag.due, flag.completed)
    if not any(moments):
        return None
    return "|".join(
        f"{moment.date_time} {moment.time_zone}" if moment else "" for moment in moments
    )
