"""Do what `plan` says: create, adopt, renew; paced, many in flight, killed anywhere.

    plan → rows committed → [paced: POST | PATCH] → answers recorded in small transactions

A process that dies between Graph's 201 and our commit leaves a row `creating`; the next run
asks again with the same nonce, Graph says 409, and the subscription is adopted. A 409 about a
nonce Graph cannot know means somebody else's state database made it: that one is deleted,
since its notifications would carry proofs we cannot check.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection

from outlook_lake import clock
from outlook_lake.errors import (
    GraphError,
    MailboxGoneError,
    RefusedError,
    ThrottledError,
    TokenRefusedError,
    UnreachableError,
    UsageError,
)
from outlook_lake.graph import refusals
from outlook_lake.graph.client import Answer, GraphClient
from outlook_lake.graph.resources import subscription_path, subscription_resource
from outlook_lake.receiver.client_state import Key, ensure_keys, make, newest
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.subscriptions import records
from outlook_lake.subscriptions.pace import Pace
from outlook_lake.subscriptions.plan import plan
from outlook_lake.subscriptions.records import Job, Live
from outlook_lake.tenants.credentials import is_loopback_host
from outlook_lake.tenants.registry import Tenant
from outlook_lake.tenants.scope import park

__all__ = ["subscribe"]

IN_FLIGHT = 16
WAIT_S = 75.0
"""How long a run waits for another one to end, longer than a dead one's lease (machine time)."""
LEASE_S = 20.0
KEEP_S = 5.0
"""The run's lease, and how often it is prolonged (machine time)."""
RECORD_S = 0.2
"""Answers are written down together this often (machine time)."""
ATTEMPTS = 3
HOPELESS = 5
"""So many refusals of one kind without a success end the run: the rest would fail alike."""

_MINUTES = re.compile(r"can only be (\d+) minutes in the future")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FRACTION = re.compile(r"\.\d+")


class _Subscription(msgspec.Struct, rename="camel"):
    id: str
    expiration_date_time: str
    resource: str = ""


class _SubscriptionPage(msgspec.Struct):
    value: list[_Subscription]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)


async def subscribe(
    db: Database, client: GraphClient, settings: Settings, tenant: Tenant
) -> dict[str, int]:
    """Give every mailbox of a tenant in scope a live subscription; returns counts.

    Counts: `planned`, `created`, `adopted`, `renewed`, `recreated`, `parked`, `failed`,
    `priming` (mailboxes that now wait for their first enumeration), `busy` (1: another run
    is at it). Raises UsageError without a usable notification URL, UnreachableError when
    Graph cannot validate it, ConsentError and TokenRefusedError when the tenant refuses.
    """
    url = _notification_url(settings)
    name = f"subscriptions:{tenant.tenant_id}"
    owner = f"subscriptions-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    patience = asyncio.get_running_loop().time() + WAIT_S
    while True:
        with leases.named(db, name, owner) as held:
            if held:
                key = newest(ensure_keys(settings.keys))
                jobs = _plan(db, tenant, key)
                run = _Run(db, client, settings, tenant, key, url, jobs, (name, owner))
                await run.go()
                return {"planned": len(jobs), **run.counts}
        if asyncio.get_running_loop().time() > patience:
            return {"busy": 1}
        # Another run is at it, or died and its lease has to end first.
        await asyncio.sleep(1.0)


def _plan(db: Database, tenant: Tenant, key: Key) -> list[Job]:
    with db.read() as connection:
        mailboxes, rows = records.read_rows(connection, tenant.tenant_id)
    actions = plan(mailboxes, rows, clock.graph_us())
    if not actions:
        return []
    with db.write() as connection:
        return records.prepare(connection, actions, key)


class _Run:
    """One run over the jobs of one tenant."""

    def __init__(
        self,
        db: Database,
        client: GraphClient,
        settings: Settings,
        tenant: Tenant,
        key: Key,
        url: str,
        jobs: list[Job],
        lease: tuple[str, str],
    ) -> None:
        self._db = db
        self._client = client
        self._tenant = tenant
        self._keys = {**ensure_keys(settings.keys), key.key_id: key}
        self._key = key
        self._url = url
        self._left = deque(jobs)
        self._lease = lease
        self._kept_at = 0.0
        self._over = asyncio.Event()
        self._pace = Pace(settings.subscriptions.writes_per_s)
        self._lifetime = timedelta(minutes=settings.subscriptions.lifetime_minutes)
        self._done: list[Callable[[Connection], None]] = []
        self._flushing = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._last: GraphError | None = None
        names = ("created", "adopted", "renewed", "recreated", "parked", "failed", "priming")
        self.counts: dict[str, int] = dict.fromkeys(names, 0)

    async def go(self) -> None:
        """Work until nothing is left or nothing can succeed."""
        if not self._left:
            return
        self._client.widen(IN_FLIGHT)
        recorder = asyncio.create_task(self._record())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, len(self._left))):
                    group.create_task(self._work())
        except* GraphError as errors:
            raise errors.exceptions[0] from None
        finally:
            self._over.set()
            await recorder
        if self._last is not None and not self._succeeded:
            raise self._last

    @property
    def _succeeded(self) -> int:
        return sum(self.counts[name] for name in ("created", "adopted", "renewed", "recreated"))

    async def _work(self) -> None:
        while self._left and not self._hopeless:
            job = self._left.popleft()
            try:
                await self._carry_out(job)
            except TokenRefusedError:
                raise
            except MailboxGoneError:
                self.counts["parked"] += 1
                self._done.append(_parking(job))
            except GraphError as error:
                self.counts["failed"] += 1
                self._refused[type(error).__name__] += 1
                self._last = error
                self._done.append(_failing(job, str(error)))

    @property
    def _hopeless(self) -> bool:
        return not self._succeeded and any(count >= HOPELESS for count in self._refused.values())

    async def _carry_out(self, job: Job) -> None:
        for attempt in range(ATTEMPTS):
            await self._pace.turn()
            try:
                await (self._create(job) if job.subscription_id is None else self._renew(job))
                return
            except ThrottledError as error:
                self._pace.hold(error.retry_after * (attempt + 1))
                if attempt + 1 == ATTEMPTS:
                    raise

    async def _create(self, job: Job) -> None:
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": self._url,
            "lifecycleNotificationUrl": self._url,
            "resource": subscription_resource(job.aad_id),
            "clientState": make(
                self._keys[job.key_id], self._tenant.tenant_id, job.aad_id, job.nonce
            ),
        }
        answer = await self._write("POST", "/subscriptions", body, accept=(400, 409))
        if answer.status == 409:
            existing = await self._existing(job, answer)
            if not job.fresh:
                await self._adopt(job, existing)
                return
            await self._client.delete(subscription_path(existing), accept=(404,))
            answer = await self._write("POST", "/subscriptions", body, accept=(400,))
        self._live(job, answer, "recreated" if job.reason == "lapsed" else "created")

    async def _adopt(self, job: Job, subscription_id: str) -> None:
        answer = await self._write("PATCH", subscription_path(subscription_id), {}, accept=(400,))
        self._live(job, answer, "adopted")

    async def _renew(self, job: Job) -> None:
        path = subscription_path(str(job.subscription_id))
        answer = await self._write("PATCH", path, {}, accept=(400, 404))
        if answer.status != 404:
            self._live(job, answer, "renewed")
            return
        again = await asyncio.to_thread(self._replace, job)
        await self._create(again)

    async def _write(
        self, method: str, path: str, body: dict[str, str], accept: tuple[int, ...]
    ) -> Answer:
        """POST or PATCH with an expiry; a shorter limit Graph names is taken once and kept."""
        for _ in range(2):
            asked = self._lifetime
            until = clock.graph_now() + asked
            payload = {**body, "expirationDateTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
            send = self._client.post if method == "POST" else self._client.patch
            answer = await send(path, payload, accept=accept)
            if answer.status != 400:
                return answer
            refusal = refusals.read(answer.body)
            limit = _MINUTES.search(refusal.message)
            # 2 % less: the limit is checked against Microsoft's clock (docs#2988).
            shorter = timedelta(minutes=int(limit.group(1)) * 0.98) if limit else asked
            if shorter >= asked:
                raise _refusal(refusal)
            self._lifetime = min(self._lifetime, shorter)
        raise _refusal(refusal)

    def _live(self, job: Job, answer: Answer, what: str) -> None:
        try:
            made = msgspec.json.decode(answer.body, type=_Subscription)
            expires_at = clock.to_us(_moment(made.expiration_date_time))
            subscription_path(made.id)
        except (msgspec.DecodeError, ValueError):
            raise RefusedError(
                "Graph's answer about a subscription could not be read", status=answer.status
            ) from None
        self.counts[what] += 1
        live = Live(job, made.id, expires_at, clock.to_us(answer.date))
        self._done.append(self._activating(live))

    def _activating(self, live: Live) -> Callable[[Connection], None]:
        def write(connection: Connection) -> None:
            self.counts["priming"] += records.activate(connection, live)

        return write

    def _replace(self, job: Job) -> Job:
        with self._db.write() as connection:
            records.lose(connection, job.nonce, "removed")
            return records.new_job(connection, job.mailbox_id, job.aad_id, self._key, "lapsed")

    async def _existing(self, job: Job, answer: Answer) -> str:
        """The id of the subscription a 409 speaks of: in its words, or in the list."""
        found = _GUID.search(refusals.read(answer.body).message)
        if found:
            return found.group(0)
        wanted = subscription_resource(job.aad_id).lower()
        link: str | None = "/subscriptions"
        while link:
            listed = await self._client.get(link, prefer="")
            page = msgspec.json.decode(listed.body, type=_SubscriptionPage)
            for entry in page.value:
                if entry.resource.lower().strip("/") == wanted:
                    return entry.id
            link = page.next_link
        raise UnreachableError("Graph refuses a second subscription but does not show the first")

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
            done, self._done = self._done, []  # what comes in meanwhile is for the next flush
            for write in done:
                write(connection)
            if due:
                self._kept_at = time.monotonic()
                if not records.keep_lease(connection, *self._lease, LEASE_S):
                    self._left.clear()  # somebody else has taken over: finish what is in flight


def _parking(job: Job) -> Callable[[Connection], None]:
    def write(connection: Connection) -> None:
        records.retire(connection, job, "no_mailbox")
        park(connection, [job.mailbox_id], "no_mailbox", clock.graph_us())

    return write


def _failing(job: Job, error: str) -> Callable[[Connection], None]:
    return lambda connection: records.fail(connection, job, error)


def _refusal(refusal: refusals.Refusal) -> GraphError:
    if "validation" in refusal.message.lower():
        return UnreachableError(
            "Graph could not reach the notification address: check that the receiver runs and "
            "that OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL is its public address",
            status=400,
            code=refusal.code,
        )
    return refusals.error_for(400, refusal, "subscription")


def _notification_url(settings: Settings) -> str:
    url = settings.receiver.notification_url
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(parts.hostname)):
        return url
    raise UsageError(
        "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL has to be the public https address of the "
        "receiver's /notifications (plain http on loopback only)"
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(_FRACTION.sub("", text))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
