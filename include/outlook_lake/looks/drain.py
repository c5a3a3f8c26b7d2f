"""The drain: land, claim, look, apply, in a loop, over one lane's mailboxes.

    land     segments → hints (one lander at a time)
    claim    mailboxes of this lane with a hint due, under lease
    pushed   states that came with rich notifications and need no look
    look     their due hints, twenty in a batch
    apply    what was seen, one transaction; the leases go back with it
    beside   a few rounds that somebody wants, of mailboxes that have nothing due

The folder and the tables are the work list; nothing is handed from turn to turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import bindparam, text

from outlook_lake import clock
from outlook_lake.errors import (
    GraphError,
    LeaseLostError,
    MailboxGoneError,
    ThrottledError,
    is_transient,
)
from outlook_lake.events.apply import Applied, Applier
from outlook_lake.events.observation import OBSERVATION_SCHEMA, Observed
from outlook_lake.graph.client import GraphClient
from outlook_lake.hints.land import Landed, land
from outlook_lake.looks.decode import Decoder
from outlook_lake.looks.folders import refresh_tree
from outlook_lake.looks.holding import renewing
from outlook_lake.looks.items import due_hints, look_at
from outlook_lake.looks.rich.reader import Pushed, RichReader, pushed_states
from outlook_lake.looks.walker import STREAMS, Walker
from outlook_lake.looks.wanted import WantedRounds
from outlook_lake.receiver.segments import ready_segments
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.leases import Lease

__all__ = ["Drain", "Drained"]

FOLDER_ID = OBSERVATION_SCHEMA.get_field_index("folder_id")
MAILBOXES_PER_TURN = 400
SOON_US = 45 * 1_000_000
"""What `until_idle` still waits for (machine time)."""
TREE_WAIT_S = 2.0
REFUSED_WAIT_S = 60.0


@dataclass(slots=True)
class Drained:
    """What a drain did so far."""

    turns: int = 0
    segments: int = 0
    notifications: int = 0
    refused: int = 0
    looks: int = 0
    pushed: int = 0
    rounds: int = 0
    applied: Applied = field(default_factory=Applied)

    def counts(self) -> dict[str, int]:
        """As small numbers for a task's note."""
        return {
            "turns": self.turns,
            "segments": self.segments,
            "notifications": self.notifications,
            "refused": self.refused,
            "looks": self.looks,
            "pushed": self.pushed,
            "rounds": self.rounds,
            "events": self.applied.events,
            "gone_unseen": self.applied.gone_unseen,
            "asked_again": self.applied.once_more,
            "leases_lost": len(self.applied.lost),
        }


class Drain:
    """One lane's drain; `tenants` maps tenant ids to their client and decoder.

    `streams` says which of `walker.STREAMS` a tenant is watched for; default: all. `rich` opens
    the rich notifications of a tenant; without one they lead to looks like any other.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        tenants: Mapping[str, tuple[GraphClient, Decoder]],
        name_key: bytes,
        *,
        owner: str,
        lane: int = 0,
        streams: Mapping[str, frozenset[str]] | None = None,
        rich: Mapping[str, RichReader] | None = None,
    ) -> None:
        self.db = db
        self.settings = settings
        self.tenants = tenants
        self.name_key = name_key
        self.owner = owner
        self.lane = lane
        self.drained = Drained()
        self.streams = streams or {}
        self.rich = rich or {}
        self._applying = asyncio.Lock()
        self._applier = Applier(db, settings, lane=f"stream{lane}", run_id=owner)

    async def run(self, *, stop: Callable[[], bool], until_idle: bool) -> Drained:
        """Drain until `stop`, until idle for `stream.idle_s`, or for `stream.run_s` at most.

        `until_idle`: end as soon as no hint is left that is due within 45 s, and not before.
        """
        stream = self.settings.stream
        began = busy_at = time.monotonic()
        async with (
            renewing(self.db, self.owner, self.settings),
            self._wanted_rounds() as rounds,
        ):
            while not stop():
                turn_began = time.monotonic()
                busy = await self.turn()
                # After the hints: a round starts only where nothing is due.
                if await rounds.go_on() or busy:
                    busy_at = turn_began
                elif until_idle:
                    if not await asyncio.to_thread(self._left, rounds):
                        break
                elif turn_began - busy_at > stream.idle_s:
                    break
                if not until_idle and turn_began - began > stream.run_s:
                    break
                spent = time.monotonic() - turn_began
                await asyncio.sleep(max(0.0, stream.beat_s - spent))
        self.drained.rounds = rounds.done
        self.drained.applied.add(rounds.applied)
        return self.drained

    async def turn(self) -> bool:
        """One turn; whether there was anything to do."""
        landed = await asyncio.to_thread(land, self.db, self.settings, self.owner)
        self._count(landed)
        held = await asyncio.to_thread(
            leases.claim_due,
            self.db,
            self.owner,
            self.settings.stream.lease_s,
            lane=self.lane,
            lanes=self.settings.stream.lanes,
            most=MAILBOXES_PER_TURN,
            tenants=self.tenants,
        )
        if held:
            await self.look(held)
        self.drained.turns += 1
        return bool(held) or landed.segments > 0

    def _wanted_rounds(self) -> WantedRounds:
        served = {
            tenant_id: Walker(
                client,
                decoder,
                self.db,
                self.settings,
                self.name_key,
                streams=self.streams.get(tenant_id, STREAMS),
            )
            for tenant_id, (client, decoder) in self.tenants.items()
        }
        return WantedRounds(self.db, self.settings, served, owner=self.owner, lane=self.lane)

    async def look(self, held: list[Lease]) -> Applied:
        """Look at what is due in leased mailboxes and apply it; the leases go back."""
        hints = await asyncio.to_thread(due_hints, self.db, held)
        decoders = {tenant_id: decoder for tenant_id, (_, decoder) in self.tenants.items()}
        pushed = await pushed_states(self.db, self.rich, decoders, held, hints)
        self.drained.looks += sum(len(some) for some in hints.values())
        by_tenant: dict[str, list[Lease]] = {}
        for lease in held:
            by_tenant.setdefault(lease.tenant_id, []).append(lease)
        observed: list[Observed] = []
        for tenant_id, some in by_tenant.items():
            work = self.tenants.get(tenant_id)
            if work is None:  # not ours to serve: give it back untouched
                observed += [Observed(lease) for lease in some]
                continue
            client, decoder = work
            seen = await look_at(client, decoder, self.settings, some, hints)
            _join(seen, pushed)
            await self._know_folders(client, seen)
            observed += seen
        total = Applied()
        for batch in _in_batches(observed, self.settings.stream.apply_rows):
            total.add(await asyncio.to_thread(self._applier.apply, batch))
        # What apply put off is looked at next: those states saved nothing.
        self.drained.pushed += max(0, pushed.answered - total.postponed)
        self.drained.applied.add(total)
        return total

    async def _know_folders(self, client: GraphClient, seen: list[Observed]) -> None:
        """An unknown parentFolderId refreshes the folder tree in the same lease first."""
        wanted = {
            one.lease.mailbox_id: {row[FOLDER_ID] for row in one.rows if row[FOLDER_ID]}
            for one in seen
            if one.rows
        }
        known = await asyncio.to_thread(self._folder_ids, list(wanted))
        unknown = {
            mailbox_id: folders - known.get(mailbox_id, set())
            for mailbox_id, folders in wanted.items()
        }
        await asyncio.gather(
            *(
                self._refresh(client, one, unknown[one.lease.mailbox_id])
                for one in seen
                if unknown.get(one.lease.mailbox_id)
            )
        )

    async def _refresh(self, client: GraphClient, one: Observed, unknown: set[str]) -> None:
        try:
            await refresh_tree(
                client,
                self.db,
                one.lease,
                self.name_key,
                self._commit,
                also=unknown,
                events="folders" in self.streams.get(one.lease.tenant_id, STREAMS),
            )
        except (GraphError, LeaseLostError) as error:
            # Nothing of this mailbox is applied now; its hints stay and are asked again.
            one.rows = []
            if isinstance(error, MailboxGoneError):
                one.parked = error.code or "no usable mailbox"
            one.pause_until = clock.machine_us() + int(_wait_s(error) * 1_000_000)

    async def _commit(self, observed: Observed) -> bool:
        async with self._applying:
            applied = await asyncio.to_thread(self._applier.apply, [observed])
        self.drained.applied.add(applied)
        return not applied.lost

    def _folder_ids(self, mailbox_ids: list[int]) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        with self.db.read() as connection:
            for start in range(0, len(mailbox_ids), 500):
                some = ",".join(str(int(number)) for number in mailbox_ids[start : start + 500])
                for mailbox_id, folder_id in connection.execute(
                    text(
                        "SELECT mailbox_id, folder_id FROM folder "
                        f"WHERE mailbox_id IN ({some}) AND gone_at IS NULL"
                    )
                ):
                    found.setdefault(mailbox_id, set()).add(folder_id)
        return found

    def _left(self, rounds: WantedRounds) -> int:
        """Segments to land, wanted rounds, and hints that can be looked at soon.

        What waits for longer (consent is lost, Graph asked for patience) is the next run's.
        """
        if ready_segments(self.settings.staging) or rounds.left():
            return 1
        with self.db.read() as connection:
            return int(
                connection.execute(
                    text(
                        "SELECT count(*) FROM hint JOIN mailbox "
                        "ON mailbox.mailbox_id = hint.mailbox_id "
                        "WHERE mailbox.state IN ('priming', 'live') "
                        "AND hint.due_at <= :soon AND mailbox.pause_until <= :soon "
                        "AND mailbox.tenant_id IN :tenants"
                    ).bindparams(bindparam("tenants", expanding=True)),
                    {"tenants": list(self.tenants), "soon": clock.machine_us() + SOON_US},
                ).scalar_one()
            )

    def _count(self, landed: Landed) -> None:
        self.drained.segments += landed.segments
        self.drained.notifications += landed.notifications
        self.drained.refused += landed.refused


def _join(seen: list[Observed], pushed: Pushed) -> None:
    """What was pushed goes before what was looked at: its states are the older ones."""
    for one in seen:
        one.rows[:0] = pushed.rows.get(one.lease.mailbox_id, ())
        one.people.update(pushed.people.get(one.lease.mailbox_id, {}))


def _wait_s(error: GraphError | LeaseLostError) -> float:
    """How long a mailbox waits (machine time) whose tree could not be read."""
    if isinstance(error, ThrottledError):
        return error.retry_after
    lasting = isinstance(error, GraphError) and not is_transient(error)
    return REFUSED_WAIT_S if lasting else TREE_WAIT_S


def _in_batches(observed: list[Observed], rows: int) -> list[list[Observed]]:
    batches: list[list[Observed]] = []
    count = rows
    for one in observed:
        if count + len(one.rows) > rows or not batches:
            batches.append([])
            count = 0
        batches[-1].append(one)
        count += len(one.rows)
    return batches
