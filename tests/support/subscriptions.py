"""Graph's desk for subscriptions, and a company whose mailboxes are to be watched."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import select, update

from outlook_lake import clock
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.tables import mailbox
from outlook_lake.subscriptions.carry_out import subscribe
from outlook_lake.subscriptions.model import Plan
from outlook_lake.tenants.registry import Tenant, register_tenant
from tests.support.graph import SmallGraph, graph_error, json_body, small_graph

URL = "https://hooks.contoso.example/notifications"


class Desk:
    """Graph's side of subscriptions, with its refusals."""

    def __init__(self) -> None:
        self.alive: dict[str, dict[str, Any]] = {}
        self.longest_min = 10_080
        self.name_ids_in_409 = True
        self.answers_first: list[Callable[[], web.Response]] = []
        """Given to the next POSTs instead of an answer."""
        self.refuses: Callable[[str, str], web.Response | None] = lambda method, about: None
        """(method, user or subscription id) → a refusal, or None."""
        self.asked: list[tuple[str, str]] = []
        """(method, subscription id or empty), in order."""
        self.page_size = 100
        self.hidden: set[str] = set()
        """Ids that the list does not show although they live (docs#5603)."""
        self.posts: list[float] = []
        self.may_answer = asyncio.Event()
        """Cleared: requests come in and wait."""
        self.may_answer.set()
        self.in_flight = self.highest = 0
        self.base = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.highest = max(self.highest, self.in_flight)
        try:
            await asyncio.sleep(0.01)
            if request.method == "POST":
                self.posts.append(time.monotonic())
            await self.may_answer.wait()
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        subscription_id = request.path.rpartition("/")[2]
        subscription_id = "" if subscription_id == "subscriptions" else subscription_id
        self.asked.append((request.method, subscription_id))
        if request.method == "POST":
            if self.answers_first:
                return self.answers_first.pop(0)()
            body = await request.json()
            refused = self.refuses("POST", body["resource"].split("/")[1])
            return refused or self.create(body)
        refused = self.refuses(request.method, subscription_id)
        if refused is not None:
            return refused
        if not subscription_id:
            return self._page(request)
        if subscription_id not in self.alive:
            return graph_error(404, "ResourceNotFound")
        if request.method == "GET":
            return json_body(self.alive[subscription_id])
        if request.method == "DELETE":
            del self.alive[subscription_id]
            return web.Response(status=204)
        entry, changes = self.alive[subscription_id], await request.json()
        refused = self._granted(entry, changes)
        if refused is None and "notificationUrl" in changes:
            entry["notificationUrl"] = changes["notificationUrl"]
        return refused or json_body(entry)

    def _page(self, request: web.Request) -> web.Response:
        shown = [entry for key, entry in self.alive.items() if key not in self.hidden]
        start = int(request.query.get("$skiptoken", 0))
        body: dict[str, Any] = {"value": shown[start : start + self.page_size]}
        if start + self.page_size < len(shown):
            link = request.url.with_query({"$skiptoken": start + self.page_size})
            body["@odata.nextLink"] = str(link)
        return json_body(body)

    def writes(self, method: str) -> list[str]:
        """Ids (empty for POST) of the requests of one method."""
        return [about for asked, about in self.asked if asked == method]

    def create(self, body: dict[str, Any]) -> web.Response:
        for known in self.alive.values():
            if known["resource"] == body["resource"]:
                told = f"Existing subscription id: {known['id']}" if self.name_ids_in_409 else ""
                return graph_error(409, "InvalidRequest", told)
        entry = {**body, "id": str(uuid.uuid4())}
        refused = self._granted(entry, body)
        if refused is not None:
            return refused
        self.alive[entry["id"]] = entry
        return web.json_response(entry, status=201)

    def _granted(self, entry: dict[str, Any], body: dict[str, Any]) -> web.Response | None:
        until = datetime.fromisoformat(body["expirationDateTime"])
        if until > datetime.now(UTC) + timedelta(minutes=self.longest_min):
            text = f"Subscription expiration can only be {self.longest_min} minutes in the future."
            return graph_error(400, "ExtensionError", text)
        entry["expirationDateTime"] = until.strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
        return None


def add_mailboxes(db: Database, tenant_id: str, count: int, first: int = 0) -> None:
    with db.write() as connection:
        connection.execute(
            mailbox.insert(),
            [
                {
                    "tenant_id": tenant_id,
                    "aad_id": user_id(n),
                    "tuid": f"tuid-{n}",
                    "shard": n % 256,
                    "state": "new",
                }
                for n in range(first, first + count)
            ],
        )


def user_id(number: int) -> str:
    """Object id of person `number`."""
    return f"7a1e5c00-1111-4222-8333-{number:012d}"


class Company:
    """A tenant, its mailboxes and Graph's desk; `run` is one run of the step."""

    def __init__(self, db: Database, settings: Settings, folder: Path) -> None:
        self.db, self.settings, self.folder = db, settings, folder
        self.desk = Desk()
        self.tenant: Tenant | None = None
        self.plan: Plan | None = None
        """Of the last run."""

    async def run(self, **how: Any) -> dict[str, int]:
        async with small_graph(self.folder, self.desk) as graph:
            return await self.run_with(graph, **how)

    async def run_with(
        self, graph: SmallGraph, more_mailboxes: int = 0, **how: Any
    ) -> dict[str, int]:
        graph.now = datetime.now(UTC).replace(microsecond=0)
        self.began = clock.to_us(graph.now)
        if self.tenant is None:
            self.tenant = register_tenant(self.db, "acme", graph.credentials, "acme")
            add_mailboxes(self.db, self.tenant.tenant_id, 3 + more_mailboxes)
        async with graph.client() as client:
            done = await subscribe(self.db, client, self.settings, self.tenant, **how)
            self.plan = done.plan
            return done.counts

    def rows(self, table: Any) -> Any:
        with self.db.read() as connection:
            return connection.execute(select(table)).all()

    def change(self, table: Any, **values: Any) -> None:
        with self.db.write() as connection:
            connection.execute(update(table).values(**values))


def counted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count and name != "listed"}
