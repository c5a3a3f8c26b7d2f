"""Mounted in another application, the receiver is the same receiver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import uvicorn
from fastapi import FastAPI

from outlook_lake.receiver.mount import create_fastapi
from tests.support.ports import free_port
from tests.support.receiver import JSON, item, key_of, landed, post_of, settings_of


@asynccontextmanager
async def hosted(home: Path) -> AsyncIterator[str]:
    """A host application as Airflow's: it enters the lifespan of its FastAPI mounts."""
    mounted = create_fastapi(settings_of(home))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mounted.router.lifespan_context(mounted):
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/outlook", mounted)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(host, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/outlook"
    finally:
        server.should_exit = True
        await serving


async def test_under_a_mount_it_shakes_hands_stores_and_closes_at_the_end(tmp_path: Path) -> None:
    async with hosted(tmp_path) as url, aiohttp.ClientSession() as session:
        async with session.post(
            f"{url}/notifications?validationToken=a%2Bb", headers={"content-type": "text/plain"}
        ) as answer:
            assert await answer.text() == "a+b"
        async with session.post(
            f"{url}/notifications", data=post_of(item(key_of(tmp_path), "one")), headers=JSON
        ) as answer:
            assert answer.status == 202
        async with session.get(f"{url}/ready") as answer:
            assert answer.status == 200

    assert not list((settings_of(tmp_path).staging / "open").iterdir())
    assert landed(tmp_path).items() == ["one"]


async def test_unusable_keys_are_answered_503_and_do_not_stop_the_host(tmp_path: Path) -> None:
    settings_of(tmp_path).keys.mkdir(parents=True)
    (settings_of(tmp_path).keys / "client_state.json").write_text("{")

    async with (
        hosted(tmp_path) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/notifications", data=b"{}", headers=JSON) as answer,
    ):
        assert answer.status == 503


def test_making_the_mount_opens_nothing(tmp_path: Path) -> None:
    create_fastapi(settings_of(tmp_path))

    assert list(tmp_path.iterdir()) == []
