"""Batches: twenty requests in one, each answered in its own right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from outlook_lake import clock
from outlook_lake.errors import ItemGoneError, ThrottledError, UnreachableError, UsageError
from outlook_lake.graph.client import BatchRequest
from outlook_lake.graph.messages import decode_message
from outlook_lake.graph.resources import message_path
from tests.support.graph import (
    GRAPH_TIME,
    OTHER_USER,
    USER,
    answering,
    json_body,
    message_row,
    small_graph,
    wait_until,
)

ITEM = message_path(USER, "AAkALg0001=")


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(clock.CLOCK_ENV, raising=False)
    yield
    clock.set_offset(0.0)


async def test_a_batch_about_one_mailbox_holds_all_its_places(tmp_path: Path):
    seen: list[str] = []
    release = asyncio.Event()

    async def holding(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        if request.path.endswith("$batch"):
            await release.wait()
            return json_body({"responses": []})
        return json_body({})

    requests = [BatchRequest(str(n), message_path(USER, f"AAk{n}")) for n in range(3)]
    async with small_graph(tmp_path, holding) as graph, graph.client() as client:
        batch = asyncio.create_task(client.batch(requests))
        await wait_until(lambda: len(seen) == 1)
        single = asyncio.create_task(client.get(ITEM, mailbox=USER))
        await client.get(message_path(OTHER_USER, "AAk="), mailbox=OTHER_USER)
        await asyncio.sleep(0.05)
        waiting = not single.done()
        release.set()
        await asyncio.gather(batch, single)

    assert waiting
    assert len(seen) == 3


async def test_a_batch_answers_each_request_in_its_own_right(tmp_path: Path):
    async def batch(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["requests"]
        assert all(part["headers"]["Prefer"] == 'IdType="ImmutableId"' for part in asked)
        assert all(part["url"].startswith("/users/") for part in asked)
        return json_body(
            {
                "responses": [
                    {
                        "id": "2",
                        "status": 429,
                        "headers": {"Retry-After": "9"},
                        "body": {"error": {"code": "ApplicationThrottled", "message": ""}},
                    },
                    {"id": "0", "status": 200, "headers": {}, "body": message_row(7)},
                    {
                        "id": "1",
                        "status": 404,
                        "body": {"error": {"code": "ErrorItemNotFound", "message": ""}},
                    },
                ]
            }
        )

    requests = [BatchRequest(str(n), message_path(USER, f"AAk{n}")) for n in range(4)]
    async with small_graph(tmp_path, batch) as graph, graph.client() as client:
        answer = await client.batch(requests)

    assert answer.date == GRAPH_TIME
    assert [(item.id, item.status, item.code) for item in answer.items] == [
        ("0", 200, ""),
        ("1", 404, "ErrorItemNotFound"),
        ("2", 429, "ApplicationThrottled"),
        ("3", 504, ""),  # Graph left it out: it is asked again, not taken for gone
    ]
    assert decode_message(answer.items[0].body).id == "AAkALg0007="
    assert isinstance(answer.items[1].error(requests[1].path), ItemGoneError)
    throttled = answer.items[2].error(requests[2].path)
    assert isinstance(throttled, ThrottledError)
    assert throttled.retry_after == 9.0


async def test_a_token_that_ends_inside_a_batch_is_renewed_once(tmp_path: Path):
    turns: list[int] = []

    async def batch(request: web.Request) -> web.StreamResponse:
        turns.append(1)
        status = 401 if len(turns) == 1 else 200
        return json_body({"responses": [{"id": "0", "status": status, "body": {"id": "x"}}]})

    async with small_graph(tmp_path, batch) as graph, graph.client() as client:
        answer = await client.batch([BatchRequest("0", ITEM)])

    assert answer.items[0].status == 200
    assert graph.tokens_given == 2


async def test_a_batch_of_more_than_twenty_is_refused_in_words(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(json_body({}))) as graph,
        graph.client() as client,
    ):
        with pytest.raises(UsageError, match="1 to 20"):
            await client.batch([BatchRequest(str(n), ITEM) for n in range(21)])

    assert graph.asked == []


async def test_an_answer_to_a_batch_that_is_none_is_a_passing_fault(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(json_body(["x"]))) as graph,
        graph.client() as client,
    ):
        with pytest.raises(UnreachableError):
            await client.batch([BatchRequest("0", ITEM)])
