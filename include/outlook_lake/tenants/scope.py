"""Who is in scope: the tenant's users become mailboxes with a random `tuid`, or are parked.

    users (all pages) → settings of new ones ($batch) → one transaction:
        mailbox rows · directory rows · the tenant's own domains

Nothing is ever deleted here: a user who left the list is parked and checked again.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from outlook_lake import clock
from outlook_lake.errors import MailboxGoneError, RefusedError
from outlook_lake.graph.client import BATCH_LIMIT, BatchRequest, GraphClient
from outlook_lake.graph.messages import MailboxSettings, User, decode_settings, decode_users
from outlook_lake.graph.resources import mailbox_settings_path, users_path
from outlook_lake.state import Database
from outlook_lake.state.tables import gap, mailbox
from outlook_lake.tenants.directory import DirectoryKey, Person, remember
from outlook_lake.tenants.registry import Tenant, add_internal_domains

__all__ = ["RECHECK_US", "park", "refresh_mailboxes", "shard_of"]

RECHECK_US = 24 * 3600 * 1_000_000
"""A parked mailbox is looked at again after a day of machine time (graph-facts 9, no. 14)."""

AT_ONCE = 64
"""Batches of settings asked for before their answers are kept."""

WATCHED = ("priming", "live")


@dataclass(frozen=True, slots=True)
class _Known:
    mailbox_id: int
    state: str
    reason: str | None
    recheck_at: int | None


async def refresh_mailboxes(
    db: Database, client: GraphClient, tenant: Tenant, key: DirectoryKey
) -> dict[str, int]:
    """Bring the mailboxes of a tenant up to its list of users; returns counts.

    Counts: `users`, `added`, `back` (usable again), `parked`, `gone`. Raises the GraphError
    tree when the list cannot be read to its end: nothing is changed then.
    """
    users = await _users(client)
    with db.read() as connection:
        known = _known(connection, tenant.tenant_id)
    fresh = [user for user in users if user.id not in known and _obstacle(user) is None]
    settings = await _settings(client, fresh)
    with db.write() as connection:
        return _write(connection, tenant, key, users, settings)


def shard_of(aad_id: str) -> int:
    """The fixed shard (0-255) of a mailbox: first byte of BLAKE2b of its object id."""
    return hashlib.blake2b(aad_id.lower().encode(), digest_size=16).digest()[0]


def park(connection: Connection, mailbox_ids: Sequence[int], reason: str, graph_at: int) -> None:
    """Park mailboxes with a reason; where one was watched a gap opens at `graph_at` (us).

    The gap is open-ended until the mailbox is subscribed again.
    """
    for mailbox_id in mailbox_ids:
        row = connection.execute(
            select(mailbox.c.state, mailbox.c.watch_from).where(mailbox.c.mailbox_id == mailbox_id)
        ).one()
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id == mailbox_id)
            .values(state="parked", reason=reason, recheck_at=clock.machine_us() + RECHECK_US)
        )
        if row.watch_from is not None and row.state in WATCHED:
            connection.execute(
                gap.insert().values(
                    mailbox_id=mailbox_id,
                    from_at=graph_at,
                    cause="parked",
                    loss="changes",
                    state="open",
                    opened_at=graph_at,
                    note=reason,
                )
            )


async def _users(client: GraphClient) -> list[User]:
    found: dict[str, User] = {}
    link: str | None = users_path()
    while link:
        answer = await client.get(link)
        try:
            page = decode_users(answer.body)
        except msgspec.DecodeError:
            raise RefusedError(
                "the list of users could not be read", status=answer.status
            ) from None
        found.update((user.id, user) for user in page.value)
        link = page.next_link
    return list(found.values())


async def _settings(
    client: GraphClient, users: Sequence[User]
) -> dict[str, MailboxSettings | None]:
    """Settings by user id; None = no usable mailbox behind the user; absent = not told."""
    parts = [users[n : n + BATCH_LIMIT] for n in range(0, len(users), BATCH_LIMIT)]
    told: dict[str, MailboxSettings | None] = {}
    for start in range(0, len(parts), AT_ONCE):
        for some in await asyncio.gather(
            *(_settings_of(client, part) for part in parts[start : start + AT_ONCE])
        ):
            told.update(some)
    return told


async def _settings_of(
    client: GraphClient, users: Sequence[User]
) -> dict[str, MailboxSettings | None]:
    requests = [
        BatchRequest(str(n), mailbox_settings_path(user.id)) for n, user in enumerate(users)
    ]
    answer = await client.batch(requests)
    told: dict[str, MailboxSettings | None] = {}
    for user, request, item in zip(users, requests, answer.items, strict=True):
        if item.status == 200:
            # Settings that cannot be read only cost the time zone.
            with suppress(msgspec.DecodeError):
                told[user.id] = decode_settings(item.body)
        elif isinstance(item.error(request.path), MailboxGoneError):
            told[user.id] = None
    return told


def _write(
    connection: Connection,
    tenant: Tenant,
    key: DirectoryKey,
    users: Sequence[User],
    settings: Mapping[str, MailboxSettings | None],
) -> dict[str, int]:
    counts = {"users": len(users), "added": 0, "back": 0, "parked": 0, "gone": 0}
    known = _known(connection, tenant.tenant_id)
    now, graph_at = clock.machine_us(), clock.graph_us()
    new_rows: list[dict[str, Any]] = []
    usable_again: list[int] = []
    to_park: dict[str, list[int]] = {}
    for user in users:
        obstacle = _obstacle(user)
        row = known.get(user.id)
        if row is None:
            if obstacle is None and user.id in settings and settings[user.id] is None:
                obstacle = "no_mailbox"
            new_rows.append(_new_row(tenant.tenant_id, user, settings.get(user.id), obstacle, now))
            counts["parked" if obstacle else "added"] += 1
        elif obstacle is not None and row.state not in ("parked", "erased"):
            to_park.setdefault(obstacle, []).append(row.mailbox_id)
            counts["parked"] += 1
        elif obstacle is None and _may_come_back(row, now):
            usable_again.append(row.mailbox_id)
            counts["back"] += 1
    listed = {user.id for user in users}
    gone = [
        row.mailbox_id
        for aad_id, row in known.items()
        if aad_id not in listed and row.state not in ("parked", "erased", "leaving")
    ]
    counts["gone"] = len(gone)
    if new_rows:
        connection.execute(mailbox.insert(), new_rows)
    if usable_again:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id == bindparam("of_mailbox"))
            .values(state="new", reason=None, recheck_at=None),
            [{"of_mailbox": mailbox_id} for mailbox_id in usable_again],
        )
    for reason, mailbox_ids in {**to_park, **({"user_gone": gone} if gone else {})}.items():
        park(connection, mailbox_ids, reason, graph_at)
    _remember_users(connection, tenant, key, users, graph_at)
    return counts


def _remember_users(
    connection: Connection,
    tenant: Tenant,
    key: DirectoryKey,
    users: Sequence[User],
    graph_at: int,
) -> None:
    known = _known(connection, tenant.tenant_id)
    people: list[Person] = []
    domains: set[str] = set()
    for user in users:
        row = known[user.id]
        if row.state == "erased":
            continue
        inside = _obstacle(user) != "guest"
        addresses = _addresses(user)
        for address in addresses:
            people.append(Person(address, user.display_name, row.mailbox_id if inside else None))
        if inside:
            domains.update(address.rpartition("@")[2] for address in addresses)
    remember(connection, key, tenant.tenant_id, people, graph_at)
    add_internal_domains(connection, tenant.tenant_id, domains)


def _known(connection: Connection, tenant_id: str) -> dict[str, _Known]:
    rows = connection.execute(
        select(
            mailbox.c.aad_id,
            mailbox.c.mailbox_id,
            mailbox.c.state,
            mailbox.c.reason,
            mailbox.c.recheck_at,
        ).where(mailbox.c.tenant_id == tenant_id)
    )
    return {aad_id: _Known(*rest) for aad_id, *rest in rows}


def _obstacle(user: User) -> str | None:
    """Why a user cannot have a readable mailbox, as far as the list tells.

    A disabled account is none: shared mailboxes have disabled accounts.
    """
    if (user.user_type or "").lower() == "guest":
        return "guest"
    return None if user.mail else "no_mailbox"


def _may_come_back(row: _Known, now: int) -> bool:
    if row.state != "parked":
        return False
    # What the list says changes with the list; what Graph said when asked is asked again daily.
    return row.reason in ("user_gone", "guest") or (row.recheck_at or 0) <= now


def _new_row(
    tenant_id: str,
    user: User,
    settings: MailboxSettings | None,
    obstacle: str | None,
    now: int,
) -> dict[str, Any]:
    hours = settings.working_hours if settings else None
    group = "/".join(part for part in (user.department, user.office_location) if part)
    return {
        "tenant_id": tenant_id,
        "aad_id": user.id,
        "tuid": str(uuid.uuid4()),
        "shard": shard_of(user.id),
        "time_zone": settings.time_zone if settings else None,
        "working_hours": msgspec.to_builtins(hours) if hours else None,
        "purpose": settings.user_purpose if settings else None,
        "peer_group": group or None,
        "state": "parked" if obstacle else "new",
        "reason": obstacle,
        "recheck_at": now + RECHECK_US if obstacle else None,
    }


def _addresses(user: User) -> list[str]:
    """Primary and further SMTP addresses, lower case, without doubles."""
    found = [user.mail or ""]
    for entry in user.proxy_addresses or ():
        kind, _, address = entry.partition(":")
        if kind.lower() == "smtp":
            found.append(address)
    return sorted({address.strip().lower() for address in found if "@" in address})
