"""One run over a plan: paced, many in flight, answers written down together.

    actions ─▶ rows committed, some at a time ─▶ [paced requests] ─▶ small transactions
            └▶ recreations of what still lives come last, after a handshake, the first of them
               alone: while Graph cannot reach us, no subscription that works is given up

Refusals are judged when the run is over: what befell one mailbox among others is that
mailbox's, what befell all of them is the tenant's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import Connection

from outlook_lake import clock
from outlook_lake.errors import (
    ConsentError,
    GraphError,
    MailboxGoneError,
    RefusedError,
    TokenRefusedError,
    UnreachableError,
)
from outlook_lake.receiver.client_state import Key, make
from outlook_lake.state import Database
from outlook_lake.subscriptions import answers, endings, records
from outlook_lake.subscriptions.answers import Live
from outlook_lake.subscriptions.desk import Desk, Granted, InTheWay
from outlook_lake.subscriptions.model import Action
from outlook_lake.subscriptions.records import Job
from outlook_lake.tenants.encryption import KeyPair
from outlook_lake.tenants.scope import park

__all__ = ["COUNTS", "IN_FLIGHT", "Run"]

log = logging.getLogger(__name__)

IN_FLIGHT = 16
AT_ONCE = 500
"""Rows made before their requests leave: half a minute of work at the usual pace."""
LEASE_S = 20.0
KEEP_S = 5.0
"""The run's lease, and how often it is prolonged (machine time)."""
RECORD_S = 0.2
"""Answers are written down together this often (machine time)."""
HOPELESS = 5
"""So many refusals of one kind without a success end the run: the rest would fail alike."""
SPREADING_US = 4 * 3600 * 1_000_000
"""Graph time; a permission given or scoped anew takes up to two hours to reach every mailbox."""
STILL_THERE = frozenset({"key", "rotated", "silent", "address", "mode"})
"""Reasons of recreations whose old subscription lives until we delete it."""

COUNTS = (
    "created", "adopted", "renewed", "reauthorized", "recreated", "removed", "checked",
    "parked", "spreading", "failed", "priming",
)  # fmt: skip

Write = Callable[[Connection], None]


class Run:
    """One run; `counts` says what was done, `go` raises what befell the whole tenant."""

    def __init__(
        self,
        db: Database,
        desk: Desk,
        tenant_id: str,
        keys: dict[str, Key],
        key: Key,
        url: str,
        lease: tuple[str, str],
        pair: KeyPair | None = None,
    ) -> None:
        self._db = db
        self._desk = desk
        self._tenant_id = tenant_id
        self._keys = keys
        self._key = key
        self._url = url
        self._lease = lease
        self._pair = pair
        self._cert_id = None if pair is None else pair.cert_id
        self._kept_at = 0.0
        self._limit = desk.limit
        self._over = asyncio.Event()
        self._done: deque[Write] = deque()  # the only thing both threads touch
        self._stopped = False
        self._flushing = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._forbidden: list[tuple[Job, ConsentError]] = []
        self._unwilling: list[tuple[Job, RefusedError]] = []
        self._last: GraphError | None = None
        self._succeeded = 0
        self._written = 0
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)

    async def go(self, actions: Sequence[Action], probe: Action | None) -> None:
        """Work until nothing is left or nothing can succeed.

        `probe` is a renewal of some other mailbox, tried when all that was asked was forbidden:
        whether consent is lost or only has not spread to these mailboxes yet.
        """
        await asyncio.to_thread(self._prime, [one for one in actions if one.kind == "prime"])
        last = [one for one in actions if _gives_up_what_lives(one)]
        first = [one for one in actions if one.kind != "prime" and not _gives_up_what_lives(one)]
        recorder = asyncio.create_task(self._record())
        try:
            await self._through(first, IN_FLIGHT)
            if last and await self._reaches_us(last[0]):
                await self._through(last[:1], 1)
                last = last[1:]
                if self._remade:
                    await self._through(last, IN_FLIGHT)
                    last = []
            self.counts["failed"] += len(last)
            if self._forbidden and not self._succeeded and probe is not None:
                await self._through([probe], 1)
        finally:
            self._over.set()
            await recorder
        self._judge()

    def _prime(self, actions: Sequence[Action]) -> None:
        if actions:
            ids = [one.mailbox_id for one in actions]
            with self._db.write() as connection:
                self.counts["priming"] += answers.begin_without(
                    connection, ids, clock.graph_us() // 1_000_000 * 1_000_000
                )

    async def _reaches_us(self, action: Action) -> bool:
        """Whether Graph can shake hands with our address, asked of one that will be replaced."""
        if self._remade:
            return True
        try:
            await self._desk.renew(str(action.subscription_id), move=True)
        except UnreachableError as error:
            self._last = error
            return False
        except TokenRefusedError:
            raise
        except GraphError:
            return True  # its replacement will say what is wrong
        return True

    @property
    def _remade(self) -> bool:
        return bool(self.counts["recreated"] or self.counts["created"])

    async def _through(self, actions: Sequence[Action], in_flight: int) -> None:
        """Some actions at a time become rows and jobs, then requests."""
        for start in range(0, len(actions), AT_ONCE):
            if self._hopeless or self._stopped:
                break
            some = actions[start : start + AT_ONCE]
            jobs = deque(await asyncio.to_thread(self._prepare, some))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(in_flight, len(jobs))):
                        group.create_task(self._work(jobs))
            except* GraphError as errors:
                raise errors.exceptions[0] from None

    def _prepare(self, actions: Sequence[Action]) -> list[Job]:
        with self._db.write() as connection:
            return records.prepare(connection, actions, self._key, self._cert_id)

    async def _work(self, jobs: deque[Job]) -> None:
        while jobs and not self._hopeless and not self._stopped:
            job = jobs.popleft()
            try:
                await self._carry_out(job)
            except TokenRefusedError:
                raise
            except MailboxGoneError:
                self.counts["parked"] += 1
                self._done.append(_parking(job, "no_mailbox"))
            except GraphError as error:
                self._refused[type(error).__name__] += 1
                self._done.append(_failing(job, str(error)))
                if isinstance(error, ConsentError):
                    self._forbidden.append((job, error))
                elif isinstance(error, RefusedError) and job.kind in ("create", "resume"):
                    self._unwilling.append((job, error))
                else:
                    self.counts["failed"] += 1
                    self._last = error

    @property
    def _hopeless(self) -> bool:
        return not self._succeeded and any(count >= HOPELESS for count in self._refused.values())

    # -- one job ---------------------------------------------------------------------------

    async def _carry_out(self, job: Job) -> None:
        if job.kind in ("create", "resume"):
            await self._create(job)
        elif job.kind == "remove":
            await self._remove(job)
        elif job.kind == "check":
            await self._check(job)
        else:
            await self._renew(job)

    async def _create(self, job: Job) -> None:
        if job.subscription_id is not None and job.fresh:
            await self._desk.remove(job.subscription_id)  # it lives, but not as it should
        state = make(self._keys[job.key_id], self._tenant_id, job.aad_id, job.nonce)
        pair = self._pair if job.mode == "rich" else None
        made = await self._desk.create(job.aad_id, state, pair)
        if isinstance(made, InTheWay):
            if not job.fresh and await asyncio.to_thread(self._may_be, job, made.subscription_id):
                granted = await self._desk.renew(
                    made.subscription_id, move=True, rich=job.mode == "rich", pair=pair
                )
                if granted is not None:
                    self._live(job, granted, "adopted", moved=True, pair=pair)
                    return
            await self._desk.remove(made.subscription_id)
            made = await self._desk.create(job.aad_id, state, pair)
            if isinstance(made, InTheWay):
                raise UnreachableError("a deleted subscription is still in the way", status=409)
        new = job.reason in ("missing", "unfinished")
        self._live(job, made, "created" if new else "recreated", made=True, pair=pair)

    def _may_be(self, job: Job, subscription_id: str) -> bool:
        """Whether a subscription Graph has can be the one an earlier try of this job made."""
        with self._db.read() as connection:
            return records.owner_of(connection, subscription_id) in (None, job.nonce)

    async def _renew(self, job: Job) -> None:
        adopting = job.kind == "adopt"
        if adopting and not await asyncio.to_thread(self._may_be, job, str(job.subscription_id)):
            # The one it was to replace: its notifications carry another proof.
            await self._create(replace(job, kind="create", subscription_id=None))
            return
        move = job.reason == "address" or adopting
        rich = job.mode == "rich"
        pair = self._pair if rich and job.cert_id != self._cert_id else None
        granted = await self._desk.renew(str(job.subscription_id), move=move, rich=rich, pair=pair)
        if granted is None:
            await self._replace(job)
            return
        what = {"adopt": "adopted", "reauthorize": "reauthorized"}.get(job.kind, "renewed")
        self._live(job, granted, what, moved=move, pair=pair)

    async def _check(self, job: Job) -> None:
        granted = await self._desk.ask(str(job.subscription_id))
        if granted is None:
            await self._replace(job)
            return
        self.counts["checked"] += 1
        self._succeeded += 1
        found = granted
        self._done.append(
            lambda connection: answers.prove(connection, job, found.expires_at, found.date)
        )

    async def _replace(self, job: Job) -> None:
        """It is gone at Graph: a gap opens, and it is made again at once."""

        def write() -> Job:
            with self._db.write() as connection:
                if job.kind != "adopt":
                    endings.lose(connection, job.nonce, "removed")
                else:
                    endings.retire(connection, job.nonce, "removed")
                return records.new_row(connection, job, self._key, "removed", self._cert_id)

        await self._create(await asyncio.to_thread(write))

    async def _remove(self, job: Job) -> None:
        gone = job.subscription_id is None or await self._desk.remove(job.subscription_id)
        self.counts["removed"] += 1
        self._succeeded += 1
        if job.nonce:
            why = job.reason if gone else "undeletable"
            end = endings.stop_watching if job.reason == "stream_off" else endings.retire
            self._done.append(lambda connection: end(connection, job.nonce, why))

    def _live(
        self,
        job: Job,
        granted: Granted,
        what: str,
        *,
        made: bool = False,
        moved: bool = False,
        pair: KeyPair | None = None,
    ) -> None:
        self.counts[what] += 1
        self._succeeded += 1
        self._written += 1
        url = self._url if made or moved else None
        cert_id = None if pair is None else pair.cert_id
        live = Live(
            job, granted.subscription_id, granted.expires_at, granted.date, url, made, cert_id
        )

        def write(connection: Connection) -> None:
            self.counts["priming"] += answers.activate(connection, live)

        self._done.append(write)

    # -- what is written down --------------------------------------------------------------

    async def _record(self) -> None:
        """Write answers down and keep the lease until the work is over, then once more."""
        while not self._over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), RECORD_S)
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        with self._flushing:  # the last flush waits for the one before it
            self._write_down()

    def _write_down(self) -> None:
        due = time.monotonic() - self._kept_at >= KEEP_S
        if not self._done and not due:
            return
        with self._db.write() as connection:
            for _ in range(len(self._done)):  # what comes in meanwhile is for the next flush
                self._done.popleft()(connection)
            if self._desk.limit is not None and self._desk.limit != self._limit:
                self._limit = self._desk.limit
                answers.learn_limit(connection, self._tenant_id, self._limit)
            if due:
                self._kept_at = time.monotonic()
                if not records.keep_lease(connection, *self._lease, LEASE_S):
                    self._stopped = True  # somebody else has taken over: finish what is in flight

    # -- what it means ---------------------------------------------------------------------

    def _judge(self) -> None:
        """Whose trouble the refusals are; raises what is the tenant's."""
        if self._forbidden and not self._succeeded:
            raise self._forbidden[-1][1]
        if not self._succeeded and len(self._unwilling) >= HOPELESS:
            raise self._unwilling[-1][1]
        writes = self._park_the_forbidden()
        for job, error in self._unwilling:
            self.counts["parked"] += 1
            writes.append(_parking(job, "quota" if error.status == 403 else "refused"))
        if writes:
            with self._db.write() as connection:
                for write in writes:
                    write(connection)
        if self._last is not None:
            if not self._written:
                raise self._last
            log.warning("%d subscription(s) failed: %s", self.counts["failed"], self._last)

    def _park_the_forbidden(self) -> list[Write]:
        """A permission may still be spreading: only who waited for it long enough is parked."""
        writes: list[Write] = []
        now = clock.graph_us()
        for job, _ in self._forbidden:
            late = job.kind in ("create", "resume") and now - job.since > SPREADING_US
            self.counts["parked" if late else "spreading"] += 1
            if late:
                writes.append(_parking(job, "no_permission"))
        if self._forbidden:
            log.warning(
                "%d mailbox(es) refuse this application while others do not: a permission that "
                "is still spreading, or a scope that leaves them out",
                len(self._forbidden),
            )
        return writes


def _gives_up_what_lives(action: Action) -> bool:
    return action.kind == "recreate" and action.reason in STILL_THERE


def _parking(job: Job, reason: str) -> Write:
    def write(connection: Connection) -> None:
        endings.retire(connection, job.nonce, reason)
        park(connection, [job.mailbox_id], reason, clock.graph_us())

    return write


def _failing(job: Job, error: str) -> Write:
    return lambda connection: answers.fail(connection, job, error)
