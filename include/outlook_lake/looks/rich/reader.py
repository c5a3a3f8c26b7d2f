"""What the stream does with pushed states: takes them, opens them in threads, makes rows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from outlook_lake.errors import StateError
from outlook_lake.events.observation import Person, Row
from outlook_lake.hints import quarantine
from outlook_lake.hints import rich as waiting
from outlook_lake.hints.rich import Sealed
from outlook_lake.looks.decode import Decoder
from outlook_lake.looks.items import DueHint
from outlook_lake.looks.rich.opening import PrivateKeys, Unusable, open_sealed
from outlook_lake.looks.rich.states import State, is_told_whole, latest
from outlook_lake.looks.rich.tokens import SigningKeys, TokenCheck, fetch_from
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.leases import Lease
from outlook_lake.tenants.credentials import Credentials
from outlook_lake.tenants.encryption import load_pairs

__all__ = ["Pushed", "RichReader", "pushed_states"]

log = logging.getLogger(__name__)

THREADS = 2
"""RSA lets other threads run; more than two gained nothing on two cores."""
AGAIN_S = 2.0
"""Machine time between two readings of the key files for certificates nobody knows."""
STAGE = "rich"

Outcome = State | Unusable | None


class RichReader:
    """Opens the rich notifications of one tenant. Use from one event loop."""

    def __init__(self, settings: Settings, credentials: Credentials, tenant_id: str) -> None:
        self._folder = settings.keys / "rich"
        self._check = TokenCheck(
            SigningKeys(fetch_from(credentials)),
            tenant_id,
            credentials.client_id,
            credentials.cloud,
        )
        self._keys = PrivateKeys({}, {})
        self._loaded_at = float("-inf")  # monotonic seconds

    def state(self, sealed: Sequence[Sealed]) -> Outcome:
        """The youngest state among what came of one item; None when that cannot be told."""
        try:
            opened = []
            for one in sealed:
                self._check.check(one.token)
                opened.append((one, open_sealed(one, self._private(one))))
        except Unusable as unusable:
            return unusable
        return latest(opened)

    def _private(self, sealed: Sealed) -> PrivateKeys:
        unknown = self._keys.of(sealed.certificate, sealed.thumbprint) is None
        if unknown and time.monotonic() - self._loaded_at > AGAIN_S:
            self._loaded_at = time.monotonic()
            self._keys = self._load()
        return self._keys

    def _load(self) -> PrivateKeys:
        try:
            pairs = load_pairs(self._folder)
        except StateError as error:
            log.error("rich notifications are looked at instead: %s", error)
            pairs = []
        return PrivateKeys(
            {pair.cert_id: pair.private for pair in pairs},
            {pair.thumbprint: pair.private for pair in pairs},
        )


@dataclass(frozen=True, slots=True)
class _Job:
    lease: Lease
    hint: DueHint
    sealed: list[Sealed]
    reader: RichReader
    decoder: Decoder


@dataclass(slots=True)
class Pushed:
    """Rows that need no look, by mailbox; the hints they answer were taken out of the list."""

    rows: dict[int, list[Row]] = field(default_factory=dict)
    people: dict[int, dict[bytes, Person]] = field(default_factory=dict)
    answered: int = 0
    doubted: int = 0
    """Hints with pushed states of which nobody can tell that they are enough."""
    unusable: Counter[str] = field(default_factory=Counter)


async def pushed_states(
    db: Database,
    readers: Mapping[str, RichReader],
    decoders: Mapping[str, Decoder],
    leases: Sequence[Lease],
    hints: dict[int, list[DueHint]],
) -> Pushed:
    """Use what waits beside due hints; `hints` keeps those that are to be looked at.

    What cannot be used is counted in the quarantine by reason.
    """
    pushed = Pushed()
    if not hints or not readers:
        return pushed
    keys = {mailbox_id: [hint.item_key for hint in some] for mailbox_id, some in hints.items()}
    taken = await asyncio.to_thread(waiting.take, db, keys)
    if not taken:
        return pushed
    jobs = _jobs(readers, decoders, leases, hints, taken, pushed)
    outcomes = await _in_threads(jobs)
    sizes: Counter[str] = Counter()
    done: dict[int, set[bytes]] = {}
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, Unusable):
            pushed.unusable[outcome.reason] += 1
            sizes[outcome.reason] += sum(one.size for one in job.sealed)
        elif outcome is None:
            pushed.doubted += 1
        else:
            _take_row(pushed, job, outcome)
            done.setdefault(job.lease.mailbox_id, set()).add(job.hint.item_key)
    for mailbox_id, keys_done in done.items():
        kept = [hint for hint in hints.pop(mailbox_id) if hint.item_key not in keys_done]
        if kept:
            hints[mailbox_id] = kept
    await _count(db, pushed.unusable, sizes)
    return pushed


def _jobs(
    readers: Mapping[str, RichReader],
    decoders: Mapping[str, Decoder],
    leases: Sequence[Lease],
    hints: Mapping[int, list[DueHint]],
    taken: Mapping[tuple[int, bytes], list[Sealed]],
    pushed: Pushed,
) -> list[_Job]:
    """What is worth opening."""
    jobs: list[_Job] = []
    for lease in leases:
        reader, decoder = readers.get(lease.tenant_id), decoders.get(lease.tenant_id)
        if reader is None or decoder is None:
            continue
        for hint in hints.get(lease.mailbox_id, ()):
            sealed = taken.get((lease.mailbox_id, hint.item_key))
            if sealed is None:
                continue
            if is_told_whole(hint, sealed):
                jobs.append(_Job(lease, hint, sealed, reader, decoder))
            else:
                pushed.doubted += 1
    return jobs


async def _in_threads(jobs: Sequence[_Job]) -> list[Outcome]:
    parts = await asyncio.gather(
        *(asyncio.to_thread(_open_all, jobs[start::THREADS]) for start in range(THREADS))
    )
    outcomes: list[Outcome] = [None] * len(jobs)
    for start, part in enumerate(parts):
        outcomes[start::THREADS] = part
    return outcomes


def _open_all(jobs: Sequence[_Job]) -> list[Outcome]:
    return [job.reader.state(job.sealed) for job in jobs]


def _take_row(pushed: Pushed, job: _Job, state: State) -> None:
    mailbox_id = job.lease.mailbox_id
    rows = pushed.rows.setdefault(mailbox_id, [])
    rows.append(
        job.decoder.row(
            job.lease,
            state.message,
            pushed.people.setdefault(mailbox_id, {}),
            ordinal=len(rows),  # before every look of this turn
            seen_at=state.known_by,
            sighting="rich",
            hint=job.hint.columns,
        )
    )
    pushed.answered += 1


async def _count(db: Database, reasons: Counter[str], sizes: Counter[str]) -> None:
    if not reasons:
        return
    log.log(
        logging.ERROR if reasons["bad_signature"] else logging.WARNING,
        "rich notifications that cannot be used, looked at instead: %s",
        ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())),
    )

    def write() -> None:
        with db.write() as connection:
            for reason, count in reasons.items():
                quarantine.add(connection, STAGE, reason, sizes[reason], count)

    await asyncio.to_thread(write)
