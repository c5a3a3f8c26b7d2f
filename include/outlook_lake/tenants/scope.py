"""Who is in scope: the tenant's users become mailboxes with a random `tuid`, or are parked.

    who is in scope, or what changed (`listing`) → settings of new ones and old ones ($batch)
        → one transaction: mailbox rows · directory rows · the tenant's own domains · the link

Nothing is ever deleted here: a user who left the list is parked and checked again. The whole
list is asked for at first, for another scope, and once a week; in between only changes.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from outlook_lake import clock
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import MailboxSettings, User
from outlook_lake.state import Database
from outlook_lake.state.gaps import open_gaps
from outlook_lake.state.tables import mailbox
from outlook_lake.state.tables import tenant as tenant_table
from outlook_lake.tenants.asked import EVERYBODY, Scope
from outlook_lake.tenants.box_settings import of_settings, read_settings
from outlook_lake.tenants.directory import DirectoryKey, Person, address_key, forget, remember
from outlook_lake.tenants.listing import Listed, list_users, verified_domains
from outlook_lake.tenants.registry import Tenant, add_internal_domains

__all__ = ["RECHECK_US", "park", "refresh_mailboxes", "shard_of"]

RECHECK_US = 24 * 3600 * 1_000_000
"""A parked mailbox is looked at again after a day of machine time (graph-facts 9, no. 14)."""

SETTINGS_PER_RUN = 5000
"""Mailboxes whose settings are read in one run, at most."""

PARKED_AT_ONCE = 1000
"""Mailboxes in one statement: a group emptied by mistake must not hold writers up for minutes."""

WATCHED = ("priming", "live")
FROM_THE_LIST = ("user_gone", "out_of_scope", "guest")
"""Reasons that change with the list of users; what Graph said when asked is asked again daily."""

WEEK_US = 7 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    mailbox_id: int
    state: str
    reason: str | None
    recheck_at: int | None
    purpose: str | None
    peer_group: str | None
    settings_at: int | None


async def refresh_mailboxes(
    db: Database,
    client: GraphClient,
    tenant: Tenant,
    key: DirectoryKey,
    scope: Scope = EVERYBODY,
) -> dict[str, int]:
    """Bring the mailboxes of a tenant up to who is in scope; returns counts.

    Counts: `users`, `added`, `back` (usable again), `parked`, `gone`. Raises the GraphError
    tree when the list cannot be read to its end, UsageError when the scope's group does not
    exist: nothing is changed then.
    """
    now = clock.machine_us()
    with db.read() as connection:
        known = _known(connection, tenant.tenant_id)
        link = _link(connection, tenant.tenant_id, scope, now)
    again = [
        aad_id
        for aad_id, row in known.items()
        if row.state == "parked" and (row.recheck_at or 0) <= now
    ]
    listed = await list_users(client, scope, link, again)
    domains = await verified_domains(client) if listed.whole else ()
    stale = [user for user in listed.users if _settings_wanted(known.get(user.id), user, now)]
    asked = {user.id for user in stale}
    stale += [User(one) for one in _oldest(known, now) if one not in asked]
    settings = await read_settings(client, stale[:SETTINGS_PER_RUN])
    with db.write() as connection:
        add_internal_domains(connection, tenant.tenant_id, domains)
        counts = _write(connection, tenant, key, scope, listed, settings)
        _ask_tomorrow(connection, [known[one].mailbox_id for one in again], now)
        connection.execute(
            update(tenant_table)
            .where(tenant_table.c.tenant_id == tenant.tenant_id)
            .values(
                users_link=listed.link,
                scope_hash=scope.digest,
                **({"users_at": now} if listed.whole else {}),
            )
        )
        return counts


def shard_of(aad_id: str) -> int:
    """The fixed shard (0-255) of a mailbox: first byte of BLAKE2b of its object id."""
    return hashlib.blake2b(aad_id.lower().encode(), digest_size=16).digest()[0]


def erased_mark(key: DirectoryKey, aad_id: str) -> str:
    """What stands in the place of an erased person's object id: a keyed hash of it."""
    return aad_id if aad_id.startswith("erased:") else f"erased:{address_key(key, aad_id).hex()}"


def park(connection: Connection, mailbox_ids: Sequence[int], reason: str, graph_at: int) -> None:
    """Park mailboxes with a reason; where one was watched a gap opens at `graph_at` (us).

    The gap is open-ended until the mailbox is subscribed again.
    """
    for start in range(0, len(mailbox_ids), PARKED_AT_ONCE):
        these = mailbox.c.mailbox_id.in_(mailbox_ids[start : start + PARKED_AT_ONCE])
        watched = connection.scalars(
            select(mailbox.c.mailbox_id).where(
                these, mailbox.c.watch_from.is_not(None), mailbox.c.state.in_(WATCHED)
            )
        ).all()
        connection.execute(
            update(mailbox)
            .where(these)
            .values(state="parked", reason=reason, recheck_at=clock.machine_us() + RECHECK_US)
        )
        open_gaps(
            connection, watched, from_at=graph_at, cause="parked", loss="changes", note=reason
        )


def _write(
    connection: Connection,
    tenant: Tenant,
    key: DirectoryKey,
    scope: Scope,
    listed: Listed,
    settings: Mapping[str, MailboxSettings | None],
) -> dict[str, int]:
    counts = {"users": len(listed.users), "added": 0, "back": 0, "parked": 0, "gone": 0}
    known = _known(connection, tenant.tenant_id)
    now, graph_at = clock.machine_us(), clock.graph_us()
    new_rows: list[dict[str, Any]] = []
    usable_again: list[int] = []
    to_park: dict[str, list[int]] = {}
    users, forgotten = _but_erased(listed.users, known, key)
    for user in users:
        row = known.get(user.id)
        told = settings.get(user.id)
        purpose = (told.user_purpose if told else None) or (row.purpose if row else None)
        obstacle = _obstacle(user) or _unwanted(scope, purpose)
        if obstacle is None and user.id in settings and told is None:
            obstacle = "no_mailbox"
        if row is None:
            new_rows.append(_new_row(tenant.tenant_id, user, told, obstacle, now))
            counts["parked" if obstacle else "added"] += 1
        elif obstacle is not None and row.state != "parked":
            to_park.setdefault(obstacle, []).append(row.mailbox_id)
            counts["parked"] += 1
        elif obstacle is None and _may_come_back(row, now):
            usable_again.append(row.mailbox_id)
            counts["back"] += 1
    for aad_id, told in settings.items():
        row = known.get(aad_id)
        if row is not None and told is None and row.state in ("new", *WATCHED):
            to_park.setdefault("no_mailbox", []).append(row.mailbox_id)
    gone = _gone(known, listed)
    counts["gone"] = len(gone)
    if new_rows:
        connection.execute(mailbox.insert(), new_rows)
    _come_back(connection, usable_again)
    for reason, mailbox_ids in to_park.items():
        park(connection, sorted(set(mailbox_ids)), reason, graph_at)
    park(connection, gone, "user_gone" if scope.is_everybody else "out_of_scope", graph_at)
    _keep_settings(connection, known, users, settings, now)
    _remember_users(connection, tenant, key, users, graph_at)
    forget(connection, [address_key(key, address) for address in forgotten], graph_at)
    return counts


def _but_erased(
    listed: Sequence[User], known: Mapping[str, _Known], key: DirectoryKey
) -> tuple[list[User], list[str]]:
    """(users nobody erased, addresses of those who were: a new one is forgotten as well)."""
    erased = {aad_id for aad_id in known if aad_id.startswith("erased:")}
    users: list[User] = []
    forgotten: list[str] = []
    for user in listed:
        row = known.get(user.id)
        if row.state == "erased" if row else erased and erased_mark(key, user.id) in erased:
            forgotten += _addresses(user)
        else:
            users.append(user)
    return users, forgotten


def _gone(known: Mapping[str, _Known], listed: Listed) -> list[int]:
    """Mailboxes whose user left: told so, or missing from a whole list."""
    here = {user.id for user in listed.users}
    return [
        row.mailbox_id
        for aad_id, row in known.items()
        if row.state not in ("parked", "erased", "leaving")
        and (aad_id in listed.removed or (listed.whole and aad_id not in here))
    ]


def _ask_tomorrow(connection: Connection, mailbox_ids: Sequence[int], now: int) -> None:
    if mailbox_ids:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id == bindparam("of_mailbox"), mailbox.c.state == "parked")
            .values(recheck_at=now + RECHECK_US),
            [{"of_mailbox": mailbox_id} for mailbox_id in mailbox_ids],
        )


def _come_back(connection: Connection, mailbox_ids: Sequence[int]) -> None:
    if mailbox_ids:
        connection.execute(
            update(mailbox)
            .where(mailbox.c.mailbox_id == bindparam("of_mailbox"))
            .values(state="new", reason=None, recheck_at=None),
            [{"of_mailbox": mailbox_id} for mailbox_id in mailbox_ids],
        )


def _keep_settings(
    connection: Connection,
    known: Mapping[str, _Known],
    users: Sequence[User],
    settings: Mapping[str, MailboxSettings | None],
    now: int,
) -> None:
    """What settings and the list say anew about mailboxes that were known before."""
    rows = [
        {"of_mailbox": known[one].mailbox_id, **of_settings(told), "settings_at": now}
        for one, told in settings.items()
        if one in known and told is not None
    ]
    if rows:
        connection.execute(
            update(mailbox).where(mailbox.c.mailbox_id == bindparam("of_mailbox")), rows
        )
    groups = [
        {"of_mailbox": known[user.id].mailbox_id, "peer_group": _peer_group(user)}
        for user in users
        if user.id in known and known[user.id].peer_group != _peer_group(user)
    ]
    if groups:
        connection.execute(
            update(mailbox).where(mailbox.c.mailbox_id == bindparam("of_mailbox")), groups
        )


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
            mailbox.c.purpose,
            mailbox.c.peer_group,
            mailbox.c.settings_at,
        ).where(mailbox.c.tenant_id == tenant_id)
    )
    return {aad_id: _Known(*rest) for aad_id, *rest in rows}


def _link(connection: Connection, tenant_id: str, scope: Scope, now: int) -> str | None:
    """Where the list goes on; None = all of it, for another scope or after a week."""
    row = connection.execute(
        select(tenant_table).where(tenant_table.c.tenant_id == tenant_id)
    ).one()
    fresh = row.users_at is not None and row.users_at > now - WEEK_US
    return row.users_link if fresh and row.scope_hash == scope.digest else None


def _settings_wanted(row: _Known | None, user: User, now: int) -> bool:
    return _obstacle(user) is None and (row is None or _may_come_back(row, now))


def _oldest(known: Mapping[str, _Known], now: int) -> list[str]:
    """Watched mailboxes whose settings were read over a week ago, the longest ago first."""
    due = [
        (row.settings_at or 0, aad_id)
        for aad_id, row in known.items()
        if row.state in WATCHED and (row.settings_at or 0) < now - WEEK_US
    ]
    return [aad_id for _, aad_id in sorted(due)]


def _unwanted(scope: Scope, purpose: str | None) -> str | None:
    """Rooms and equipment, unless the scope names them."""
    return "out_of_scope" if purpose and purpose.lower() not in scope.purposes else None


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
    return row.reason in FROM_THE_LIST or (row.recheck_at or 0) <= now


def _new_row(
    tenant_id: str,
    user: User,
    settings: MailboxSettings | None,
    obstacle: str | None,
    now: int,
) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "aad_id": user.id,
        "tuid": str(uuid.uuid4()),
        "shard": shard_of(user.id),
        **of_settings(settings),
        "settings_at": now if settings else None,
        "peer_group": _peer_group(user),
        "state": "parked" if obstacle else "new",
        "reason": obstacle,
        "recheck_at": now + RECHECK_US if obstacle else None,
    }


def _peer_group(user: User) -> str | None:
    return "/".join(part for part in (user.department, user.office_location) if part) or None


def _addresses(user: User) -> list[str]:
    """Primary and further SMTP addresses, lower case, without doubles."""
    found = [user.mail or ""]
    for entry in user.proxy_addresses or ():
        kind, _, address = entry.partition(":")
        if kind.lower() == "smtp":
            found.append(address)
    return sorted({address.strip().lower() for address in found if "@" in address})
