"""What the receiver is measured against: `python -m benchmarks.fronts KIND --port P`.

    bare       a raw ASGI callable under uvicorn that reads the body and answers 202
    starlette  the same with Starlette
    floor      an httptools protocol that decodes, proves, strips and commits in groups, with
               the least code that can: what Python could do without any of our promises
    redis      our own front and checks, one XADD a POST to a Redis with appendfsync always
    postgres   the same, one INSERT a POST into PostgreSQL, over 16 connections

All but the floor run under uvicorn with the receiver's own options.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httptools
import msgspec

from outlook_lake.receiver.answers import ACCEPTED, READY, Answer
from outlook_lake.receiver.app import Receiver
from outlook_lake.receiver.intake import Answered, Intake
from outlook_lake.receiver.keyring import Keyring
from outlook_lake.receiver.protocol import Doorkeeper, protocol_of
from outlook_lake.receiver.quick import Quick
from outlook_lake.receiver.sifting import sift
from outlook_lake.settings import Settings

KINDS = ("bare", "starlette", "floor", "redis", "postgres")
POSTGRES_CONNECTIONS = 16

_START = {"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]}
_END = {"type": "http.response.body", "body": b""}
Store = Callable[[bytes], Awaitable[None]]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and answers 202."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await _body(receive)
    await send(_START)
    await send(_END)


def starlette() -> Any:
    """The same, as one writes it with Starlette."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def take(request: Request) -> Response:
        await request.body()
        return Response(status_code=202)

    return Starlette(routes=[Route("/notifications", take, methods=["POST"])])


class Stored(Intake):
    """The receiver's own front and checks, before another store."""

    def __init__(self, open_store: Callable[[], Awaitable[Store]]) -> None:
        settings = Settings.load()
        super().__init__(settings)
        self._open_store = open_store
        self._keys = Keyring(settings.keys)
        self._short_way = Quick(self._keys)
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self) -> None:
        self._store = await self._open_store()

    async def shutdown(self) -> None:
        """Nothing of ours is open."""

    def readiness(self) -> Answer:
        return READY

    def take(self, body: bytes, answered: Answered) -> None:
        now = time.time_ns() // 1000
        sifted = self._short_way.sift(body, now, None) or sift(body, self._keys, now, None)
        task = asyncio.get_running_loop().create_task(self._keep(sifted.line, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, line: bytes, answered: Answered) -> None:
        await self._store(line)
        answered(ACCEPTED)


def receiver_before(open_store: Callable[[], Awaitable[Store]]) -> Receiver:
    """The receiver with another store behind it."""
    made = Receiver(Settings.load())
    made.intake = Stored(open_store)
    made.startup, made.shutdown = made.intake.startup, made.intake.shutdown
    return made


async def redis_store() -> Store:
    """Redis on the Unix socket BENCH_REDIS."""
    from redis.asyncio import Redis

    client = Redis(unix_socket_path=os.environ["BENCH_REDIS"], max_connections=256)

    async def store(line: bytes) -> None:
        await client.xadd("notifications", {"line": line}, maxlen=20_000)

    await store(b"first")
    return store


async def postgres_store() -> Store:
    """PostgreSQL by the connection string BENCH_POSTGRES."""
    from psycopg import AsyncConnection

    dsn = os.environ["BENCH_POSTGRES"]
    free: asyncio.Queue[AsyncConnection[Any]] = asyncio.Queue()
    for _ in range(POSTGRES_CONNECTIONS):
        free.put_nowait(await AsyncConnection.connect(dsn, autocommit=True))

    async def store(line: bytes) -> None:
        connection = await free.get()
        try:
            await connection.execute(
                "INSERT INTO notification (line) VALUES (%s)", (line,), prepare=True
            )
        finally:
            free.put_nowait(connection)

    connection = await free.get()
    await connection.execute("CREATE TABLE IF NOT EXISTS notification (line bytea NOT NULL)")
    free.put_nowait(connection)
    return store


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class _Item(msgspec.Struct, gc=False, rename="camel"):
    subscription_id: str
    client_state: str
    change_type: str
    resource: str
    tenant_id: str


class _Post(msgspec.Struct):
    value: list[_Item]


class _Kept(msgspec.Struct, gc=False):
    subscription: str
    change: str
    resource: str


class Floor(asyncio.Protocol):
    """One connection of the floor."""

    decode = msgspec.json.Decoder(_Post).decode
    encode = msgspec.json.Encoder().encode_lines
    proofs: dict[tuple[str, str], bytes] = {}  # noqa: RUF012 - one for the whole process
    key = b"k" * 32

    def __init__(self, commits: FloorCommits) -> None:
        self._commits = commits
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._body.clear()
        if not body:  # somebody asks whether it is there
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return
        kept = []
        for item in Floor.decode(body).value:
            about = (item.client_state, item.resource[6:42])
            if about not in Floor.proofs:
                text = "|".join(about).encode()
                Floor.proofs[about] = hmac.digest(Floor.key, text, hashlib.sha256)
            kept.append(_Kept(item.subscription_id, item.change_type, item.resource))
        self._commits.add(Floor.encode(kept), self._transport)


class FloorCommits:
    """One file, one thread, one fdatasync for all that waits."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._jobs: queue.SimpleQueue[tuple[list[bytes], list[Any]]] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._waiting: list[Any] = []
        self._busy = False
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, line: bytes, transport: Any) -> None:
        self._lines.append(line)
        self._waiting.append(transport)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._busy = bool(self._lines)
        if self._busy:
            self._jobs.put((self._lines, self._waiting))
            self._lines, self._waiting = [], []

    def _run(self) -> None:
        while True:
            lines, waiting = self._jobs.get()
            os.write(self._fd, b"".join(lines))
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._answer, waiting)

    def _answer(self, waiting: list[Any]) -> None:
        for transport in waiting:
            transport.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        self._next()


async def floor(port: int) -> None:
    """Serve the floor until killed."""
    home = Settings.load().home
    home.mkdir(parents=True, exist_ok=True)
    commits = FloorCommits(home / "floor.log")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Floor(commits), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Serve one kind until killed."""
    import uvicorn
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m benchmarks.fronts")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    if given.kind == "floor":
        uvloop.run(floor(given.port))
        return
    made: dict[str, Callable[[], Any]] = {
        "bare": lambda: bare,
        "starlette": starlette,
        "redis": lambda: receiver_before(redis_store),
        "postgres": lambda: receiver_before(postgres_store),
    }
    app = made[given.kind]()
    own_way = isinstance(app, Receiver)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=given.port,
        loop="uvloop",
        http=protocol_of(Doorkeeper(app.intake, 4096)) if own_way else "httptools",
        ws="none",
        lifespan="on" if own_way else "auto",
        access_log=False,
        server_header=False,
        log_level="warning",
        backlog=4096,
    )


if __name__ == "__main__":
    main()
