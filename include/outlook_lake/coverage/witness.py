"""The witness: Graph's own count of every folder against the inventory.

    folders right below the root: one list a mailbox ─┐  20 to a $batch
    the others, one by one ───────────────────────────┴▶ counts − inventory = difference
    the same difference at two looks, ten minutes apart, no hint waiting
                          ─▶ gap `witness`, the folders are listed anew, a full round is wanted

A difference at one look is most often a message on its way. `folder.witness_count` keeps the
difference of the last look, `mailbox.doubted_at` since when it is the same,
`mailbox.witnessed_at` when all of a mailbox's folders agreed.
Counts say how many, not which: the round that follows compares one by one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw
from sqlalchemy import Connection, TextClause, bindparam, text

from outlook_lake import clock
from outlook_lake.graph.batch import BATCH_LIMIT, BatchRequest
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import Folder, decode_folder, decode_folders
from outlook_lake.graph.resources import folder_path, folders_path
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.gaps import open_gap

__all__ = ["Looked", "look", "watched"]

AT_ONCE = 200
"""Mailboxes compared in one go."""
BATCHES_AT_ONCE = 4

LASTS_US = 600_000_000
"""Graph time: a notification comes within three minutes (graph-facts 2.7), with a margin."""

CAUSE = "witness"
READ = ("live", "unavailable")
"""States of a folder that was read to its end."""

_Asked = tuple[int, str]
"""A mailbox and a path about it."""


@dataclass(frozen=True, slots=True)
class _Watched:
    mailbox_id: int
    aad_id: str
    shard: int
    doubted_at: int | None


@dataclass(frozen=True, slots=True)
class _Known:
    """A folder as we know it; what it holds is known when it was read to its end."""

    mailbox_id: int
    folder_no: int
    folder_id: str
    link_state: str
    before: int | None


@dataclass(slots=True)
class Looked:
    """What the witness said of some mailboxes."""

    agreed: set[int] = field(default_factory=set)
    differed: dict[int, dict[int, int]] = field(default_factory=dict)
    """Mailbox → folder number → items Graph has more than the inventory."""
    unclear: set[int] = field(default_factory=set)
    """Not all folders were answered, or hints are waiting: the next look may tell."""
    opened: set[int] = field(default_factory=set)
    """Mailboxes whose difference lasted: a gap is open and a round is wanted."""
    requests: int = 0


_WATCHED = (
    "SELECT mailbox_id, aad_id, shard, doubted_at FROM mailbox "
    "WHERE tenant_id = :tenant AND state = 'live' AND primed_at IS NOT NULL "
    "AND pause_until <= :now {share} ORDER BY shard, mailbox_id"
)
_FOLDERS = text(
    "SELECT mailbox_id, folder_no, folder_id, link_state, witness_count FROM folder "
    "WHERE mailbox_id IN :some AND gone_at IS NULL AND kind NOT IN ('outbox', 'dumpster')"
).bindparams(bindparam("some", expanding=True))
_HINTED = text("SELECT DISTINCT mailbox_id FROM hint WHERE mailbox_id IN :some").bindparams(
    bindparam("some", expanding=True)
)
_INVENTORY = text(
    "SELECT mailbox_id, folder_no, count(*) FROM item "
    "WHERE shard IN :shards AND mailbox_id IN :some AND gone_at IS NULL GROUP BY 1, 2"
).bindparams(bindparam("shards", expanding=True), bindparam("some", expanding=True))
_KEEP = text(
    "UPDATE folder SET witness_count = :difference "
    "WHERE mailbox_id = :mailbox_id AND folder_no = :folder_no"
)
_AGREED = text(
    "UPDATE mailbox SET witnessed_at = :at, doubted_at = NULL WHERE mailbox_id = :mailbox_id"
)
_DOUBTED = text("UPDATE mailbox SET doubted_at = :at WHERE mailbox_id = :mailbox_id")
_LIST_ANEW = text(
    "UPDATE folder SET link = NULL, link_state = 'lost' "
    "WHERE mailbox_id = :mailbox_id AND folder_no = :folder_no AND gone_at IS NULL"
)
_SINCE = text(
    "SELECT coalesce(witnessed_at, watch_from) FROM mailbox "
    "WHERE mailbox_id = :mailbox_id AND fence = :fence"
)
_WANT = text(
    "UPDATE mailbox SET round_reason = 'witness', round_wanted_at = "
    "CASE WHEN round_wanted_at > :at THEN round_wanted_at ELSE :at END "
    "WHERE mailbox_id = :mailbox_id"
)


def watched(db: Database, tenant_id: str, share: int | None = None) -> list[_Watched]:
    """A tenant's live mailboxes; with `share` (an hour of the day) one of 24 parts of them, and
    those that differed when they were last looked at."""
    only = "" if share is None else "AND (shard % 24 = :share OR doubted_at IS NOT NULL)"
    with db.read() as connection:
        rows = connection.execute(
            text(_WATCHED.format(share=only)),
            {"tenant": tenant_id, "now": clock.machine_us()}
            | ({} if share is None else {"share": share % 24}),
        )
        return [_Watched(*row) for row in rows]


async def look(
    client: GraphClient,
    db: Database,
    settings: Settings,
    owner: str,
    mailboxes: Sequence[_Watched],
) -> Looked:
    """Compare some mailboxes of one tenant, as `watched` gave them.

    A difference that lasts opens a gap and asks for a round; both under the mailbox's lease, and
    not at all when somebody else holds it: the next look finds it again. Raises GraphError when
    Graph answers nobody; single mailboxes that are refused are `unclear`.
    """
    found = Looked()
    for start in range(0, len(mailboxes), AT_ONCE):
        some = mailboxes[start : start + AT_ONCE]
        with db.read() as connection:
            ids = [one.mailbox_id for one in some]
            known = [_Known(*row) for row in connection.execute(_FOLDERS, {"some": ids})]
        totals, date, requests = await _totals(client, some, known)
        found.requests += requests
        lasting = await asyncio.to_thread(_judge, db, found, some, known, totals, date)
        found.opened |= await asyncio.to_thread(_doubt, db, settings, owner, lasting)
    return found


def _judge(
    db: Database,
    found: Looked,
    some: Sequence[_Watched],
    known: Sequence[_Known],
    totals: Mapping[tuple[int, str], int],
    date: int,
) -> dict[int, dict[int, int]]:
    """Note what this look says; the differences that last, by mailbox and folder number."""
    ids = [one.mailbox_id for one in some]
    with db.read() as connection:
        unclear = set(connection.scalars(_HINTED, {"some": ids}))
        have = _inventory(connection, some)
    differences: dict[int, dict[int, int]] = defaultdict(dict)
    same: dict[int, dict[int, int]] = defaultdict(dict)
    changed = []
    for folder in known:
        total = totals.get((folder.mailbox_id, folder.folder_id))
        if total is None or folder.link_state not in READ:
            unclear.add(folder.mailbox_id)
            continue
        more = total - have.get((folder.mailbox_id, folder.folder_no), 0)
        if more:
            differences[folder.mailbox_id][folder.folder_no] = more
            if more == folder.before:
                same[folder.mailbox_id][folder.folder_no] = more
        if (more or None) != folder.before:
            changed.append((folder, more or None))
    for mailbox_id in unclear:
        differences.pop(mailbox_id, None)
    agreed = set(ids) - unclear - differences.keys()
    doubts = {
        one.mailbox_id: one.doubted_at if one.mailbox_id in same and one.doubted_at else date
        for one in some
        if one.mailbox_id in differences
    }
    with db.write() as connection:
        _many(
            connection,
            _KEEP,
            [
                {"mailbox_id": one.mailbox_id, "folder_no": one.folder_no, "difference": more}
                for one, more in changed
            ],
        )
        _many(connection, _AGREED, [{"mailbox_id": one, "at": date} for one in agreed])
        _many(connection, _DOUBTED, [{"mailbox_id": one, "at": at} for one, at in doubts.items()])
    found.agreed |= agreed
    found.unclear |= unclear
    found.differed |= differences
    return {one: same[one] for one, at in doubts.items() if same.get(one) and date - at >= LASTS_US}


def _inventory(connection: Connection, some: Sequence[_Watched]) -> dict[tuple[int, int], int]:
    counted: dict[tuple[int, int], int] = {}
    by_shard: dict[int, list[int]] = defaultdict(list)
    for one in some:
        by_shard[one.shard].append(one.mailbox_id)
    for shard, ids in by_shard.items():  # the key of an item begins with its shard
        for row in connection.execute(_INVENTORY, {"shards": [shard], "some": ids}):
            counted[row[0], row[1]] = row[2]
    return counted


async def _totals(
    client: GraphClient, some: Sequence[_Watched], known: Sequence[_Known]
) -> tuple[dict[tuple[int, str], int], int, int]:
    """Graph's counts by (mailbox, folder id), the earliest Date of the answers, the requests."""
    totals: dict[tuple[int, str], int] = {}
    dates: list[int] = []

    async def ask(asked: Sequence[_Asked], read: Callable[[Raw], Iterable[Folder]]) -> None:
        async with gate:
            answer = await client.batch(
                [BatchRequest(str(number), path) for number, (_, path) in enumerate(asked)]
            )
        dates.append(clock.to_us(answer.date))
        for item, (mailbox_id, _) in zip(answer.items, asked, strict=True):
            # Throttled, gone, refused: unclear, until the next look.
            for folder in read(item.body) if item.status == 200 else ():
                if isinstance(folder.total, int):
                    totals[mailbox_id, folder.id] = folder.total

    gate = asyncio.Semaphore(BATCHES_AT_ONCE)
    roots = [(one.mailbox_id, folders_path(one.aad_id)) for one in some]
    await asyncio.gather(*(ask(part, _listed) for part in _parts(roots)))
    user = {one.mailbox_id: one.aad_id for one in some}
    left: dict[int, list[_Asked]] = defaultdict(list)
    for folder in known:
        if (folder.mailbox_id, folder.folder_id) not in totals:
            path = folder_path(user[folder.mailbox_id], folder.folder_id)
            left[folder.mailbox_id].append((folder.mailbox_id, path))
    # One folder of each mailbox after the other: no batch asks much of one mailbox.
    rest = [one for turn in _turns(left) for one in turn]
    await asyncio.gather(*(ask(part, _single) for part in _parts(rest)))
    return totals, min(dates), len(roots) + len(rest)


def _listed(body: Raw) -> Iterable[Folder]:
    return decode_folders(bytes(body)).value


def _single(body: Raw) -> Iterable[Folder]:
    return (decode_folder(body),)


def _parts(asked: Sequence[_Asked]) -> Iterator[Sequence[_Asked]]:
    for start in range(0, len(asked), BATCH_LIMIT):
        yield asked[start : start + BATCH_LIMIT]


def _turns(left: Mapping[int, list[_Asked]]) -> Iterator[list[_Asked]]:
    for number in range(max(map(len, left.values()), default=0)):
        yield [asked[number] for asked in left.values() if number < len(asked)]


def _doubt(
    db: Database, settings: Settings, owner: str, confirmed: Mapping[int, Mapping[int, int]]
) -> set[int]:
    """Open a gap and have the folders listed anew, under the lease of each mailbox."""
    if not confirmed:
        return set()
    now = clock.graph_us()
    held = leases.claim_these(db, owner, settings.stream.lease_s, sorted(confirmed))
    opened = set()
    with db.write() as connection:
        for lease in held:
            key = {"mailbox_id": lease.mailbox_id}
            since = connection.execute(_SINCE, {**key, "fence": lease.fence}).scalar()
            if since is None:
                continue  # somebody else's by now
            folders = confirmed[lease.mailbox_id]
            open_gap(
                connection,
                lease.mailbox_id,
                from_at=int(since),
                to_at=now,
                cause=CAUSE,
                loss="changes",
                note=_words(folders),
            )
            _many(connection, _LIST_ANEW, [{**key, "folder_no": number} for number in folders])
            connection.execute(_WANT, {**key, "at": now})
            opened.add(lease.mailbox_id)
        leases.release(connection, held)
    return opened


def _words(folders: Mapping[int, int]) -> str:
    more = sum(count for count in folders.values() if count > 0)
    less = -sum(count for count in folders.values() if count < 0)
    return f"in {len(folders)} folder(s) Graph counted {more} items more and {less} less than we"


def _many(connection: Connection, statement: TextClause, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)
