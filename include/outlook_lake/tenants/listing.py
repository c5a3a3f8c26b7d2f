"""Who is in scope, as the tenant's directory tells it.

    everybody   users/delta: all of them at first, later only what changed
    group       its members, nested ones too
    filter      users that Graph's $filter chooses; with a group, who is in both
    include     adds single people, exclude wins over everything

A row of a later delta round holds only what changed, so it is a hint: the person is read whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from outlook_lake.errors import (
    ConsentError,
    DeltaExpiredError,
    GraphError,
    MailboxGoneError,
    RefusedError,
    UsageError,
    is_transient,
)
from outlook_lake.graph.client import BATCH_LIMIT, BatchRequest, GraphClient
from outlook_lake.graph.messages import User, UserPage, decode_domains, decode_user, decode_users
from outlook_lake.graph.resources import (
    ORGANIZATION_PATH,
    group_users_path,
    user_path,
    users_delta_path,
    users_path,
)
from outlook_lake.tenants.asked import Scope

__all__ = ["Listed", "list_users", "people", "verified_domains"]

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Batches asked for before their answers are kept."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed:
    """What the directory said."""

    users: list[User]
    """In scope, and new or changed."""
    removed: frozenset[str]
    """Object ids of those who left, or whom the scope excludes."""
    whole: bool
    """Everybody in scope is in `users`: who is not listed has left."""
    link: str | None
    """Where the next round starts; None = with a whole list."""


async def list_users(
    client: GraphClient, scope: Scope, link: str | None, again: Collection[str] = ()
) -> Listed:
    """Ask who is in scope. `again`: object ids to be read although nothing changed.

    Raises the GraphError tree, UsageError when the group of the scope does not exist.
    """
    if not scope.is_everybody:
        return await _chosen(client, scope)
    if link is not None:
        try:
            return await _changed(client, scope, link, again)
        except DeltaExpiredError:
            pass  # seven days (graph-facts 4.10): all of them once more
    rows, link = await _pages(client, users_delta_path())
    alive = [user for user in rows if user.removed is None]
    extra = await _included(client, scope, {user.id for user in alive})
    kept, excluded = _without(scope, [*alive, *extra])
    left = {user.id for user in rows if user.removed is not None}
    return Listed(kept, frozenset(left | excluded), True, link)


async def people(client: GraphClient, user_ids: Iterable[str]) -> tuple[list[User], frozenset[str]]:
    """(users read whole, ids of those who are gone). Who could not be read is in neither."""
    found: list[User] = []
    gone: set[str] = set()
    parts = _parts(sorted(set(user_ids)), BATCH_LIMIT)
    for start in range(0, len(parts), AT_ONCE):
        for users, missing in await asyncio.gather(
            *(_read(client, part) for part in parts[start : start + AT_ONCE])
        ):
            found += users
            gone |= missing
    return found, frozenset(gone)


async def verified_domains(client: GraphClient) -> tuple[str, ...]:
    """The tenant's verified domains; none when the application may not ask."""
    try:
        answer = await client.get(ORGANIZATION_PATH)
        return decode_domains(answer.body)
    except (ConsentError, RefusedError, msgspec.DecodeError):
        return ()  # the addresses of its users tell most of them


async def _chosen(client: GraphClient, scope: Scope) -> Listed:
    members: list[User] | None = None
    if scope.group:
        try:
            members, _ = await _pages(client, group_users_path(scope.group))
        except (MailboxGoneError, RefusedError) as error:
            if error.status != 404:
                raise
            raise UsageError(
                f"the group {scope.group} of extra.scope does not exist in this tenant: copy its "
                "Object ID from Entra, Groups; nobody's state was changed"
            ) from None
    if scope.filter:
        chosen, _ = await _pages(client, users_path(condition=scope.filter))
        ids = {user.id for user in chosen}
        members = chosen if members is None else [user for user in members if user.id in ids]
    listed = {user.id: user for user in members or ()}
    listed.update((user.id, user) for user in await _included(client, scope, set(listed)))
    kept, excluded = _without(scope, listed.values())
    return Listed(kept, frozenset(excluded), True, None)


async def _changed(client: GraphClient, scope: Scope, link: str, again: Collection[str]) -> Listed:
    rows, following = await _pages(client, link)
    removed = {user.id for user in rows if user.removed is not None}
    told = {user.id for user in rows} - removed
    users, gone = await people(client, told | (set(again) - removed))
    kept, excluded = _without(scope, users)
    return Listed(kept, frozenset(removed | gone | excluded), False, following)


async def _pages(client: GraphClient, path: str) -> tuple[list[User], str | None]:
    """All rows, the last one of each person, and the delta link when there is one."""
    found: dict[str, User] = {}
    link: str | None = path
    delta: str | None = None
    while link:
        answer = await client.get(link)
        try:
            page: UserPage = decode_users(answer.body)
        except msgspec.DecodeError:
            raise RefusedError(
                "the list of users could not be read", status=answer.status
            ) from None
        for user in page.value:
            found.pop(user.id, None)
            found[user.id] = user
        link, delta = page.next_link, page.delta_link
    return list(found.values()), delta


async def _included(client: GraphClient, scope: Scope, known: set[str]) -> list[User]:
    """Single people the scope adds; who does not exist is left out."""
    ids = [one for one in scope.include if "@" not in one and one not in known]
    found, _ = await people(client, ids)
    addresses = {one for one in scope.include if "@" in one}
    if addresses:
        # An address never enters a URL: who has it is found in the whole list.
        everybody, _ = await _pages(client, users_path())
        found += [
            user
            for user in everybody
            if user.id not in known and addresses & {(user.mail or "").lower(), *_smtp(user)}
        ]
    return found


def _without(scope: Scope, users: Iterable[User]) -> tuple[list[User], set[str]]:
    """(who stays, ids of those the scope excludes by id or address)."""
    if not scope.exclude:
        return list(users), set()
    unwanted = set(scope.exclude)
    kept, out = [], set()
    for user in users:
        names = {user.id.lower(), (user.mail or "").lower(), *_smtp(user)}
        if names & unwanted:
            out.add(user.id)
        else:
            kept.append(user)
    return kept, out


def _smtp(user: User) -> Iterable[str]:
    for entry in user.proxy_addresses or ():
        yield entry.partition(":")[2].lower()


async def _read(client: GraphClient, user_ids: Sequence[str]) -> tuple[list[User], set[str]]:
    requests = [BatchRequest(str(n), user_path(one)) for n, one in enumerate(user_ids)]
    answer = await client.batch(requests)
    users: list[User] = []
    gone: set[str] = set()
    for user_id, request, item in zip(user_ids, requests, answer.items, strict=True):
        if item.status == 200:
            try:
                users.append(decode_user(item.body))
            except msgspec.DecodeError:
                raise RefusedError("a user could not be read", status=item.status) from None
            continue
        error: GraphError | None = item.error(request.path)
        if isinstance(error, MailboxGoneError) or item.status == 404:
            gone.add(user_id)
        elif error is not None and is_transient(error):
            raise error  # the link is not moved on: all of them come again
        else:
            # One whom Graph always refuses must not hold up everybody else's changes.
            log.warning("a user could not be read (%s): what was known of them stays", error)
    return users, gone


def _parts(rows: Sequence[T], size: int) -> list[Sequence[T]]:
    return [rows[n : n + size] for n in range(0, len(rows), size)]
