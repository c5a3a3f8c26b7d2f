"""Looks at what hints point at: up to twenty items in a batch, a mailbox's in order.

due hints of leased mailboxes → batches → rows, absences, hints that stay → Observed
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.errors import (
    ConsentError,
    FolderGoneError,
    GraphError,
    ItemGoneError,
    MailboxGoneError,
    RefusedError,
    ThrottledError,
    TokenRefusedError,
    UntrustedLinkError,
)
from outlook_lake.events.observation import HintLater, Observed, Row, gone_row
from outlook_lake.graph.batch import BATCH_LIMIT, BatchAnswer, BatchItem, BatchRequest
from outlook_lake.graph.client import GraphClient
from outlook_lake.graph.messages import decode_message
from outlook_lake.graph.resources import message_path
from outlook_lake.looks.decode import Decoder, is_whole
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import HintKind
from outlook_lake.state.leases import Lease

__all__ = ["DueHint", "due_hints", "look_at"]

PER_TURN = 100
"""Hints of one mailbox in one turn: five batches one after the other, well inside a lease."""

AT_MOST = 5000
"""Hints read at once for all leased mailboxes; beyond it each is asked for its own."""

DUE = """
    SELECT mailbox_id, item_key, item_id, kinds, first_at, earliest_at, count, attempts, absent_at
    FROM hint WHERE due_at <= :now AND
"""

GIVE_UP_AFTER = 5
"""Refusals of one item (400 and the like) before its hint becomes an outcome."""

LONGEST_WAIT_S = 300.0
FORBIDDEN_WAIT_S = 60.0
"""Consent or credentials are lost: asked again after this (machine time)."""

GONE_AT_ONCE = HintKind.DELETED | HintKind.REMOVED


@dataclass(frozen=True, slots=True)
class DueHint:
    """One hint as counted when its look is sent. Times: `absent_at` machine, others Graph."""

    mailbox_id: int
    item_key: bytes
    item_id: str
    kinds: int
    first_at: int
    earliest_at: int | None
    count: int
    attempts: int
    absent_at: int | None

    @property
    def columns(self) -> Row:
        """The hint columns of an observation."""
        return (self.kinds, self.first_at, self.earliest_at, self.count, self.attempts)


def due_hints(db: Database, leases: Sequence[Lease]) -> dict[int, list[DueHint]]:
    """The due hints of leased mailboxes, at most `PER_TURN` each, oldest first.

    A flood in one mailbox is read a turn at a time, not whole.
    """
    found: dict[int, list[DueHint]] = {}
    ids = [lease.mailbox_id for lease in leases]
    now = clock.machine_us()
    with db.read() as connection:
        for start in range(0, len(ids), 500):
            some = ",".join(str(int(mailbox_id)) for mailbox_id in ids[start : start + 500])
            rows = connection.execute(
                text(f"{DUE} mailbox_id IN ({some}) LIMIT :most"), {"now": now, "most": AT_MOST}
            ).all()
            if len(rows) == AT_MOST:
                rows = [
                    row
                    for mailbox_id in ids[start : start + 500]
                    for row in connection.execute(
                        text(f"{DUE} mailbox_id = :mailbox_id LIMIT :most"),
                        {"now": now, "most": PER_TURN, "mailbox_id": mailbox_id},
                    )
                ]
            for row in sorted(rows, key=lambda row: row.first_at):
                hints = found.setdefault(row.mailbox_id, [])
                if len(hints) < PER_TURN:
                    hints.append(DueHint(*row))
    return found


async def look_at(
    client: GraphClient,
    decoder: Decoder,
    settings: Settings,
    leases: Sequence[Lease],
    hints: dict[int, list[DueHint]],
) -> list[Observed]:
    """Look at the hints of one tenant's mailboxes; every leased mailbox comes back."""
    observed = {lease.mailbox_id: Observed(lease) for lease in leases}
    units = _units([(observed[m], h) for m, h in hints.items() if m in observed])
    await asyncio.gather(*(_look_unit(client, decoder, settings, unit) for unit in units))
    return list(observed.values())


Work = list[tuple[Observed, list[DueHint]]]


def _units(work: Work) -> list[Work]:
    """Pack mailboxes into batches of twenty; a mailbox is never in two at a time."""
    units: list[Work] = []
    room = 0
    for one, hints in sorted(work, key=lambda pair: len(pair[1]), reverse=True):
        if len(hints) > room:
            units.append([])
            room = BATCH_LIMIT
        units[-1].append((one, hints))
        room -= len(hints)
    return units


async def _look_unit(client: GraphClient, decoder: Decoder, settings: Settings, unit: Work) -> None:
    flat: list[tuple[Observed, DueHint, str]] = []
    for one, hints in unit:
        for hint in hints:
            try:
                flat.append((one, hint, message_path(one.lease.aad_id, hint.item_id)))
            except UntrustedLinkError:
                one.refused.append((hint.item_key, hint.count, "untrusted"))
    for start in range(0, len(flat), BATCH_LIMIT):
        some = flat[start : start + BATCH_LIMIT]
        requests = [BatchRequest(str(n), path) for n, (_, _, path) in enumerate(some)]
        try:
            answer = await client.batch(requests)
        except GraphError as error:
            # A batch refused as a whole says nothing about any one item or mailbox in it.
            for one, hint, _ in flat[start:]:
                _ask_again(one, hint, error)
            return
        _take(answer, [(one, hint) for one, hint, _ in some], requests, decoder, settings)


def _take(
    answer: BatchAnswer,
    asked: list[tuple[Observed, DueHint]],
    requests: list[BatchRequest],
    decoder: Decoder,
    settings: Settings,
) -> None:
    seen_at = clock.to_us(answer.date)
    for n, ((one, hint), item) in enumerate(zip(asked, answer.items, strict=True)):
        ordinal = answer.sent * BATCH_LIMIT + n
        if item.status == 200:
            _seen(one, hint, item, decoder, ordinal, seen_at)
        else:
            _not_seen(one, hint, item, requests[n].path, settings, ordinal, seen_at)


def _seen(
    one: Observed, hint: DueHint, item: BatchItem, decoder: Decoder, ordinal: int, seen_at: int
) -> None:
    try:
        message = decode_message(item.body)
    except msgspec.DecodeError:
        _unusable(one, hint, "not_a_message")
        return
    if message.id != hint.item_id:
        _unusable(one, hint, "another_id")
        return
    if not is_whole(message):  # what it leaves out would look like a change
        _unusable(one, hint, "not_whole")
        return
    notified = hint.kinds & int(HintKind.CREATED | HintKind.UPDATED | HintKind.DELETED)
    one.rows.append(
        decoder.row(
            one.lease,
            message,
            one.people,
            ordinal=ordinal,
            seen_at=seen_at,
            sighting="notification" if notified else "delta",
            hint=hint.columns,
        )
    )


def _not_seen(
    one: Observed,
    hint: DueHint,
    item: BatchItem,
    path: str,
    settings: Settings,
    ordinal: int,
    seen_at: int,
) -> None:
    error = item.error(path)
    if isinstance(error, ItemGoneError):
        wait_us = int(settings.stream.absence_s * 1_000_000)
        now = clock.machine_us()
        twice = hint.absent_at is not None and hint.absent_at + wait_us <= now
        if twice or HintKind(hint.kinds) & GONE_AT_ONCE:
            one.rows.append(
                gone_row(
                    one.lease,
                    hint.item_key,
                    hint.item_id,
                    ordinal=ordinal,
                    seen_at=seen_at,
                    hint=hint.columns,
                )
            )
            return
        first = hint.absent_at or now
        one.later.append(
            HintLater(hint.item_key, first + wait_us, HintKind.DOUBT, "absent once", first, 0)
        )
        return
    _later(one, hint, settings, error)


def _later(one: Observed, hint: DueHint, settings: Settings, error: GraphError) -> None:
    """What an error means for a hint: wait, try again, or give it up in words."""
    if isinstance(error, MailboxGoneError):
        one.parked = error.code or "no usable mailbox"
        now = clock.machine_us()
        one.later.append(HintLater(hint.item_key, now, HintKind.RETRY, "parked", attempts=0))
    elif isinstance(error, UntrustedLinkError):
        one.refused.append((hint.item_key, hint.count, "untrusted"))
    elif isinstance(error, RefusedError | FolderGoneError) and hint.attempts >= GIVE_UP_AFTER:
        # One bad item must not be asked for ever; the next round still covers its mailbox.
        one.refused.append((hint.item_key, hint.count, "refused"))
    else:
        _ask_again(one, hint, error)


def _unusable(one: Observed, hint: DueHint, reason: str) -> None:
    """A good status with a bad body: once may be chance, many times is an outcome."""
    if hint.attempts >= GIVE_UP_AFTER:
        one.refused.append((hint.item_key, hint.count, reason))
    else:
        _back_off(one, hint, reason)


def _ask_again(one: Observed, hint: DueHint, error: GraphError) -> None:
    """Nothing was learnt: the hint stays."""
    if isinstance(error, ThrottledError):
        now = clock.machine_us()
        one.pause_until = max(one.pause_until or 0, now + int(error.retry_after * 1_000_000))
        one.later.append(
            HintLater(hint.item_key, one.pause_until, HintKind.RETRY, "throttled", attempts=0)
        )
    elif isinstance(error, ConsentError | TokenRefusedError):
        # Nothing to do with this item: asked again slowly, until somebody lets us in again.
        due_at = clock.machine_us() + int(FORBIDDEN_WAIT_S * 1_000_000)
        one.later.append(HintLater(hint.item_key, due_at, HintKind.RETRY, "forbidden", attempts=0))
    else:
        _back_off(one, hint, error.code or type(error).__name__)


def _back_off(one: Observed, hint: DueHint, reason: str) -> None:
    wait_s = min(LONGEST_WAIT_S, 2.0 ** min(hint.attempts, 8))
    due_at = clock.machine_us() + int(wait_s * 1_000_000)
    one.later.append(HintLater(hint.item_key, due_at, HintKind.RETRY, reason))
