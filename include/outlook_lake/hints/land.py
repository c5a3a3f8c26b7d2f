"""Landing: closed segments become hints, each segment once.

One transaction per segment file set: the `segment` rows and the hints they led to commit
together, so a segment that was landed and not yet moved away is known and skipped. Landing
checks what the edge could not: that the nonce is one of our subscriptions.

    staging/ready/*.segment → [read] → [nonce → mailbox] → hints + quarantine → staging/landed/
                                                         └▶ lifecycle: gaps, rounds, calls
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select, text

from outlook_lake import clock
from outlook_lake.errors import StorageError, TornSegmentError
from outlook_lake.hints import lifecycle, quarantine
from outlook_lake.hints.rich import Pouch
from outlook_lake.receiver.segments import (
    Notification,
    Quarantined,
    SegmentRead,
    read_segment,
    ready_segments,
    take_abandoned,
)
from outlook_lake.receiver.shipping import bring
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.kinds import OF_CHANGE, item_key
from outlook_lake.state.tables import segment as segment_table
from outlook_lake.state.tables import subscription

__all__ = ["Landed", "land"]

log = logging.getLogger(__name__)

PROMPT_US = 5 * 60 * 1_000_000
"""Graph delivers mail notifications within 3 minutes (Learn, latency table); 5 is assumed."""

REDELIVERY_US = 4 * 3600 * 1_000_000
"""What was refused or not answered comes again for 4 hours (graph-facts 2.6): only a receiver
that has stood without a break for so long knows that a notification is not an old one."""

SEGMENTS_AT_ONCE = 50

LEASE_S = 5.0
"""Fifty segments are landed well within it; a lander that died is not missed for long. Two at
once would still land each segment once: its row commits with its hints."""

UPSERT = text(
    """
    INSERT INTO hint (mailbox_id, item_key, item_id, kinds, first_at, last_at, earliest_at,
                      count, attempts, due_at)
    VALUES (:mailbox_id, :item_key, :item_id, :kinds, :first_at, :last_at, :earliest_at,
            :count, 0, :due_at)
    ON CONFLICT (mailbox_id, item_key) DO UPDATE SET
        kinds = hint.kinds | excluded.kinds,
        first_at = CASE WHEN hint.kinds & 7 = 0 OR excluded.first_at < hint.first_at
                        THEN excluded.first_at ELSE hint.first_at END,
        last_at = CASE WHEN excluded.last_at > hint.last_at
                       THEN excluded.last_at ELSE hint.last_at END,
        earliest_at = CASE WHEN hint.kinds & 7 = 0 OR excluded.earliest_at IS NULL
                           THEN excluded.earliest_at
                           WHEN excluded.earliest_at < hint.earliest_at
                           THEN excluded.earliest_at ELSE hint.earliest_at END,
        count = hint.count + excluded.count,
        due_at = CASE WHEN excluded.due_at < hint.due_at
                      THEN excluded.due_at ELSE hint.due_at END
    """
)


@dataclass(slots=True)
class Landed:
    """What one landing did."""

    segments: int = 0
    notifications: int = 0
    lifecycle: int = 0
    hints: int = 0
    refused: int = 0
    mailboxes: set[int] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    """Tenants whose subscriptions need a step at once (`subscriptions.signals`)."""


def land(db: Database, settings: Settings, owner: str) -> Landed:
    """Land every closed segment there is; returns at once when another process is landing."""
    staging = settings.staging
    landed = Landed()
    if settings.receiver.ship_to:
        _collect(settings)
    take_abandoned(staging)
    waiting = ready_segments(staging)
    if not waiting:
        return landed
    for start in range(0, len(waiting), SEGMENTS_AT_ONCE):
        with leases.named(db, "landing", owner, LEASE_S) as held:
            if not held:
                break
            _land_some(db, settings, waiting[start : start + SEGMENTS_AT_ONCE], landed)
    return landed


def _collect(settings: Settings) -> None:
    try:
        bring(settings)
    except StorageError as error:
        # What is here already can be landed meanwhile; the rest waits in the store.
        log.error("shipped segments are left waiting: %s", error)


def _land_some(db: Database, settings: Settings, paths: Sequence[Path], landed: Landed) -> None:
    reads: list[tuple[Path, SegmentRead | None]] = []
    for path in paths:
        try:
            reads.append((path, read_segment(path)))
        except FileNotFoundError:
            continue
        except TornSegmentError:
            reads.append((path, None))
        except StorageError as error:
            # Written by a newer release, or not readable just now: it stays where it is.
            log.error("a segment is left waiting: %s", error)
    with db.write() as connection:
        known = set(
            connection.scalars(
                select(segment_table.c.path).where(
                    segment_table.c.path.in_([path.name for path, _ in reads])
                )
            )
        )
        fresh = [(path, read) for path, read in reads if path.name not in known]
        good = [read for _, read in fresh if read is not None]
        _store_hints(connection, settings, good, landed)
        for path, read in fresh:
            _store_segment(connection, path, read)
    done = settings.staging / "landed"
    done.mkdir(parents=True, exist_ok=True)
    for path, _ in reads:
        with suppress(FileNotFoundError):  # another lander has moved it
            path.replace(done / path.name)
    landed.segments += len(fresh)


def _store_segment(connection: Connection, path: Path, read: SegmentRead | None) -> None:
    times = [n.received_at for n in read.notifications] if read else []
    rejected = sum(entry.count for entry in read.quarantine) if read else 0
    connection.execute(
        segment_table.insert(),
        {
            "path": path.name,
            "receiver": read.header.receiver if read else "",
            "rows": len(times),
            "rejected": rejected,
            "first_at": min(times, default=None),
            "last_at": max(times, default=None),
            "landed_at": clock.machine_us(),
        },
    )
    if read is None:
        quarantine.add(connection, "landing", "torn_segment", path.stat().st_size)


def _store_hints(
    connection: Connection, settings: Settings, reads: Iterable[SegmentRead], landed: Landed
) -> None:
    entries: list[Quarantined] = []
    notifications: list[Notification] = []
    for read in reads:
        notifications += read.notifications
        entries += read.quarantine
    quarantine.merge(connection, entries)
    landed.notifications += len(notifications)
    if not notifications:
        return
    owners = _owners(connection, {n.nonce for n in notifications})
    rows: dict[tuple[int, bytes], dict[str, object]] = {}
    last_notified: dict[str, int] = {}
    events: dict[tuple[str, str], int] = {}
    due_at = clock.machine_us() + int(settings.stream.coalesce_s * 1_000_000)
    pouch = Pouch()
    for note in notifications:
        pouch.hear(note)
        owner = owners.get(note.nonce)
        if owner is None or owner[1] not in (None, note.subscription):
            landed.refused += 1
            reason = "unknown_subscription" if owner is None else "other_subscription"
            quarantine.add(connection, "landing", reason, 0)
            continue
        if note.lifecycle is not None:
            landed.lifecycle += 1
            about = (note.lifecycle, note.nonce)
            events[about] = max(events.get(about, 0), note.received_at)
        elif note.item is not None and note.change is not None:
            last_notified[note.nonce] = max(last_notified.get(note.nonce, 0), note.received_at)
            _coalesce(rows, owner[0], note, due_at)
            pouch.add(owner[0], note)
    if rows:
        connection.execute(UPSERT, list(rows.values()))
        pouch.store(connection)
    lifecycle.heard(connection, last_notified)
    landed.called |= lifecycle.act(connection, events)
    landed.hints += len(rows)
    landed.mailboxes |= {mailbox_id for mailbox_id, _ in rows}


def _coalesce(
    rows: dict[tuple[int, bytes], dict[str, object]], mailbox_id: int, note: Notification, due: int
) -> None:
    if note.item is None or note.change is None:
        return
    key = item_key(note.item)
    at = note.received_at
    vouched = note.vouched_since is not None and note.vouched_since <= at - REDELIVERY_US
    earliest = at - PROMPT_US if vouched else None
    row = rows.get((mailbox_id, key))
    if row is None:
        rows[(mailbox_id, key)] = {
            "mailbox_id": mailbox_id,
            "item_key": key,
            "item_id": note.item,
            "kinds": int(OF_CHANGE[note.change]),
            "first_at": at,
            "last_at": at,
            "earliest_at": earliest,
            "count": 1,
            "due_at": due,
        }
        return
    known = row["earliest_at"]
    row["kinds"] = int(row["kinds"]) | int(OF_CHANGE[note.change])  # type: ignore[call-overload]
    row["first_at"] = min(row["first_at"], at)  # type: ignore[call-overload]
    row["last_at"] = max(row["last_at"], at)  # type: ignore[call-overload]
    row["earliest_at"] = None if known is None or earliest is None else min(known, earliest)  # type: ignore[call-overload]
    row["count"] = int(row["count"]) + 1  # type: ignore[call-overload]


def _owners(connection: Connection, nonces: set[str]) -> dict[str, tuple[int, str | None]]:
    found: dict[str, tuple[int, str | None]] = {}
    wanted = sorted(nonces)
    for start in range(0, len(wanted), 500):
        rows = connection.execute(
            select(
                subscription.c.nonce, subscription.c.mailbox_id, subscription.c.subscription_id
            ).where(subscription.c.nonce.in_(wanted[start : start + 500]))
        )
        found.update({nonce: (int(mailbox_id), sub) for nonce, mailbox_id, sub in rows})
    return found
