"""One live mailbox of one tenant: a real state database, and a small real Graph before it.

The test says what Graph answers; walks, drains and applies are the product's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from aiohttp import web
from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.events.apply import Applier
from outlook_lake.graph.client import GraphClient
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.decode import Decoder
from outlook_lake.looks.drain import Drain
from outlook_lake.looks.walk import Walk
from outlook_lake.looks.walker import STREAMS, Walker
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from outlook_lake.state.kinds import HintKind, item_key
from outlook_lake.tenants.directory import ensure_key
from tests.support.graph import GRAPH_TIME, TENANT, USER, SmallGraph, graph_error, json_body
from tests.support.graph import small_graph as serve

INBOX = "AQMkADAwATM3="
GRAPH_US = clock.to_us(GRAPH_TIME)
DAY_US = 86_400_000_000

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class OneMailbox:
    """The home, the server and what a test asks about them."""

    db: Database
    settings: Settings
    server: SmallGraph
    client: GraphClient
    decoder: Decoder
    messages: dict[str, Any]
    """What Graph has: id → the message, or a (status, code) to refuse it with."""
    pages: list[web.Response | dict[str, Any]]
    """What the inbox's delta answers, one after the other; the last one for ever."""
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Graph's folders: id → row. The tree's delta shows those whose id is in `changed`."""
    changed: list[str] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    listed: list[dict[str, Any]] = field(default_factory=list)
    """What the plain list of messages answers, of a folder and of the mailbox."""
    refuse: dict[str, web.Response] = field(default_factory=dict)
    """Part of a path → what it is answered with."""
    asked: list[str] = field(default_factory=list)
    """Paths of all requests, items of batches as well."""

    def hint(self, item_id: str, kinds: HintKind, *, count: int = 1, due_at: int = 0) -> None:
        """A hint, as landing or a round makes it."""
        with self.db.write() as connection:
            connection.execute(
                text(
                    "INSERT INTO hint (mailbox_id, item_key, item_id, kinds, first_at, last_at, "
                    "count, attempts, due_at) VALUES (1, :key, :id, :kinds, :at, :at, :count, 0, "
                    ":due_at)"
                ),
                {
                    "key": item_key(item_id),
                    "id": item_id,
                    "kinds": int(kinds),
                    "at": GRAPH_US,
                    "count": count,
                    "due_at": due_at,
                },
            )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the state database."""
        with self.db.read() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def hints(self) -> list[tuple[str, int, int]]:
        """Hints left: item id, kinds, attempts."""
        return self.rows("SELECT item_id, kinds, attempts FROM hint ORDER BY item_id")

    def events(self) -> list[str]:
        """Actions of all committed events."""
        paths = [path for (path,) in self.rows("SELECT path FROM batch ORDER BY seq")]
        tables = [pq.read_table(self.settings.home / path) for path in paths]
        return [row["action"] for table in tables for row in table.to_pylist()]

    def drain(self) -> Drain:
        """A drain that serves this tenant."""
        return Drain(
            self.db,
            self.settings,
            {TENANT: (self.client, self.decoder)},
            b"k" * 32,
            owner="test",
        )

    async def walk(
        self,
        *,
        times: int = 1,
        walk: Walk | None = None,
        full: bool = True,
        streams: frozenset[str] = STREAMS,
    ) -> Walk:
        """A round (or `walk`, gone on with), `times` leases long."""
        applier = Applier(self.db, self.settings, lane="rounds", run_id="test")
        async with Committer(applier, 5000) as committer:
            walker = Walker(
                *(self.client, self.decoder, self.db, self.settings, b"k" * 32),
                commit=committer.commit,
                streams=streams,
            )
            walk = walk or Walk(walker, priming=False, full=full)
            for _ in range(times):
                with self.db.write() as connection:  # whatever Graph asked to wait is over
                    connection.execute(text("UPDATE mailbox SET pause_until = 0"))
                (lease,) = leases.claim_these(self.db, "test", 30, [1])
                await walk.go_on(lease)
                if walk.done or walk.gave_up:
                    break
        return walk

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Graph: the folder tree, the inbox's delta, and messages in batches."""
        if request.path.endswith("$batch"):
            asked = msgspec.json.decode(await request.read())["requests"]
            return json_body({"responses": [self._item(one) for one in asked]})
        path = request.path.partition("?")[0].removeprefix(f"/v1.0/users/{USER}")
        self.asked.append(path)
        for part, refusal in self.refuse.items():
            if part in path:
                return _again(refusal)
        known = self._folders(request, path)
        if known is not None:
            return json_body(known)
        if "/messages/delta" in request.path:
            page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
            if isinstance(page, web.Response):
                return _again(page)
            return json_body(page)
        return graph_error(404, "ErrorItemNotFound")

    def link(self, token: str) -> str:
        """A link into the inbox's delta."""
        path = f"/v1.0/users/{USER}/mailFolders/{INBOX}/messages/delta"
        return f"{self.server.graph_url}{path}?$deltatoken={token}"

    def _folders(self, request: web.Request, path: str) -> dict[str, Any] | None:
        """The tree by delta and level by level, rules, and plain lists of messages."""
        if path == "/mailFolders/delta":
            return self._tree(anew="$deltatoken" not in request.query)
        if path == "/mailFolders":
            return {"value": [f for f in self.folders.values() if _at_root(f)]}
        if path.endswith("/childFolders"):
            parent = path.split("/")[2]
            return {"value": [f for f in self.folders.values() if f["parentFolderId"] == parent]}
        if path.endswith("/messageRules"):
            return {"value": self.rules}
        return {"value": self.listed} if path.endswith("/messages") else None

    def _tree(self, *, anew: bool) -> dict[str, Any]:
        shown = [f for f in self.folders.values() if not f.get("isHidden")]
        if not anew:
            shown = [f for f in shown if f["id"] in self.changed]
            gone = [name for name in self.changed if name not in self.folders]
            shown += [{"id": name, "@removed": {"reason": "deleted"}} for name in gone]
        return {
            "value": shown,
            "@odata.deltaLink": f"{self.server.graph_url}/v1.0/users/{USER}/mailFolders/delta"
            "?$deltatoken=1",
        }

    def folder(self, folder_id: str, name: str, *, parent: str = "root", **more: Any) -> None:
        """Graph has this folder from now on, and the tree's delta shows it."""
        row = {"id": folder_id, "displayName": name, "parentFolderId": parent}
        self.folders[folder_id] = row | more
        self.changed.append(folder_id)

    def _item(self, asked: dict[str, Any]) -> dict[str, Any]:
        path = asked["url"].partition("?")[0]
        self.asked.append(path.removeprefix(f"/users/{USER}"))
        for part, refusal in self.refuse.items():
            if part in path:
                error = msgspec.json.decode(refusal.body)
                return {"id": asked["id"], "status": refusal.status, "body": error}
        if "/mailFolders/" in path:
            name = path.rpartition("/")[2]
            known = self.folders.get(INBOX if name == "inbox" else name)
            if known is not None:
                return {"id": asked["id"], "status": 200, "body": known}
        known = self.messages.get(path.rpartition("/")[2])
        if isinstance(known, dict):
            return {"id": asked["id"], "status": 200, "body": known}
        status, code = known or (404, "ErrorItemNotFound")
        return {"id": asked["id"], "status": status, "body": {"error": {"code": code}}}


def _at_root(folder: dict[str, Any]) -> bool:
    return bool(folder["parentFolderId"] == "root")


def _again(answer: web.Response) -> web.Response:
    """An answer can be sent once."""
    return web.Response(body=answer.body, status=answer.status, content_type="application/json")


@asynccontextmanager
async def one_mailbox(folder: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    """The mailbox, live and watched for a day, with its inbox known and a delta link."""
    async with serve(folder) as server, server.client(settings) as client:
        made = OneMailbox(db, settings, server, client, Decoder(ensure_key(settings.keys)), {}, [])
        server.handler = made.answer
        made.folders[INBOX] = {"id": INBOX, "displayName": "Inbox", "parentFolderId": "root"}
        made.pages.append({"value": [], "@odata.deltaLink": made.link("end")})
        with db.write() as connection:
            connection.execute(
                text(
                    "INSERT INTO tenant (tenant_id, domain_id, conn_id, cloud, internal_domains, "
                    "state) VALUES (:tenant, 'contoso', 'c', 'global', '[]', 'live')"
                ),
                {"tenant": TENANT},
            )
            connection.execute(
                text(
                    "INSERT INTO mailbox (mailbox_id, tenant_id, aad_id, tuid, shard, state, "
                    "watch_from, primed_at) VALUES (1, :tenant, :user, 'tuid-1', 0, 'live', "
                    ":watched, :watched)"
                ),
                {"tenant": TENANT, "user": USER, "watched": GRAPH_US - DAY_US},
            )
            connection.execute(
                text(
                    "INSERT INTO folder (mailbox_id, folder_no, folder_id, kind, link, "
                    "link_state, hidden) VALUES (1, 1, :inbox, 'inbox', :link, 'live', false)"
                ),
                {"inbox": INBOX, "link": made.link("start")},
            )
        yield made
