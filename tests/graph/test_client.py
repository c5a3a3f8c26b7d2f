"""The Graph client: one request, one answer, and a token that never leaves for elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from outlook_lake import clock
from outlook_lake.errors import (
    ConsentError,
    DeltaExpiredError,
    DeltaUnavailableError,
    FolderGoneError,
    ItemGoneError,
    MailboxGoneError,
    RefusedError,
    ThrottledError,
    TokenRefusedError,
    UnreachableError,
    UntrustedLinkError,
)
from outlook_lake.graph.messages import decode_message
from outlook_lake.graph.resources import message_delta_path, message_path, paged
from outlook_lake.settings import GraphSettings, Settings
from tests.support.graph import (
    GRAPH_TIME,
    OTHER_USER,
    USER,
    answering,
    graph_error,
    json_body,
    message_row,
    small_graph,
)

ITEM = message_path(USER, "AAkALg0001=")
DELTA = message_delta_path(USER, "inbox")


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch):
    monkeypatch.delenv(clock.CLOCK_ENV, raising=False)
    yield
    clock.set_offset(0.0)


async def test_an_answer_carries_graph_time_and_the_order_of_sending(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(json_body(message_row()))) as graph,
        graph.client() as client,
    ):
        first = await client.get(ITEM, mailbox=USER)
        second = await client.get(ITEM, mailbox=USER)

    assert first.date == GRAPH_TIME
    assert second.sent > first.sent
    assert decode_message(first.body).id == "AAkALg0001="
    asked = graph.asked[0]
    assert asked.headers["Prefer"] == 'IdType="ImmutableId"'
    assert "$select=id,changeKey," in asked.rel_url.raw_query_string


async def test_page_size_and_id_format_travel_in_one_prefer_header(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(json_body({"value": []}))) as graph,
        graph.client() as client,
    ):
        await client.get(DELTA, mailbox=USER, prefer=paged(200))

    assert graph.asked[0].headers.getall("Prefer") == [
        'IdType="ImmutableId", odata.maxpagesize=200'
    ]


async def test_graphs_clock_is_learnt_from_its_answers(tmp_path: Path):
    async with small_graph(tmp_path, answering(json_body({}))) as graph:
        graph.now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
        async with graph.client() as client:
            await client.get(ITEM, mailbox=USER)

            assert client.offset_s == pytest.approx(-3 * 3600, abs=3)
    assert abs((clock.graph_now() - graph.now).total_seconds()) < 5


async def test_a_clock_file_outranks_what_answers_say(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(clock.CLOCK_ENV, str(tmp_path / "clock.json"))
    async with (
        small_graph(tmp_path, answering(json_body({}))) as graph,
        graph.client() as client,
    ):
        await client.get(ITEM, mailbox=USER)

        assert client.offset_s is None


async def test_a_short_retry_after_is_waited_out_once(tmp_path: Path):
    throttled = graph_error(429, "ApplicationThrottled", headers={"Retry-After": "0.3"})
    async with (
        small_graph(tmp_path, answering(throttled, json_body({}))) as graph,
        graph.client() as client,
    ):
        before = asyncio.get_running_loop().time()
        answer = await client.get(ITEM, mailbox=USER)
        waited = asyncio.get_running_loop().time() - before

    assert answer.status == 200
    assert waited >= 0.3
    assert len(graph.asked) == 2


async def test_a_second_throttling_is_handed_to_the_caller(tmp_path: Path):
    throttled = graph_error(429, "ApplicationThrottled", headers={"Retry-After": "0.05"})
    async with small_graph(tmp_path, answering(throttled)) as graph, graph.client() as client:
        with pytest.raises(ThrottledError):
            await client.get(ITEM, mailbox=USER)

    assert len(graph.asked) == 2


async def test_a_long_retry_after_is_never_slept_through(tmp_path: Path):
    throttled = graph_error(503, "", headers={"Retry-After": "17"})
    async with small_graph(tmp_path, answering(throttled)) as graph, graph.client() as client:
        with pytest.raises(ThrottledError) as caught:
            await client.get(ITEM, mailbox=USER)

    assert caught.value.retry_after == 17.0
    assert len(graph.asked) == 1


async def test_an_empty_503_is_a_throttling(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(web.Response(status=503))) as graph,
        graph.client() as client,
    ):
        with pytest.raises(ThrottledError):
            await client.get(ITEM, mailbox=USER)


async def test_a_refused_token_is_dropped_and_asked_for_once(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(json_body({}))) as graph,
        graph.client() as client,
    ):
        await client.get(ITEM, mailbox=USER)
        graph.good_tokens.clear()
        answer = await client.get(ITEM, mailbox=USER)

    assert answer.status == 200
    assert graph.tokens_given == 2
    assert [request.headers["Authorization"] for request in graph.asked] == [
        "Bearer token-1",
        "Bearer token-1",
        "Bearer token-2",
    ]


async def test_a_401_that_stays_is_not_asked_for_ever(tmp_path: Path):
    async with (
        small_graph(tmp_path, answering(graph_error(401, "InvalidAuth"))) as graph,
        graph.client() as client,
    ):
        with pytest.raises(TokenRefusedError):
            await client.get(ITEM, mailbox=USER)

    assert len(graph.asked) == 2


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("https://evil.example/v1.0/users", id="another host"),
        pytest.param("http://127.0.0.1:1/v1.0/users", id="another port"),
        pytest.param("{base}/beta/users", id="another version"),
        pytest.param("{base}/v1.0/../simulator/journal", id="up and out"),
        pytest.param("{base}/v1.0/%2e%2e/simulator", id="up and out, escaped"),
        pytest.param("{base}/v1.0/%252e%252e/simulator", id="up and out, escaped twice"),
        pytest.param("{userinfo}/v1.0/users", id="our host as a user name"),
        pytest.param("{base}\\@evil.example/v1.0/users", id="backslash"),
        pytest.param("{base}/v1.0/users\r\nX: y", id="header injection"),
        pytest.param("//evil.example/v1.0/users", id="no scheme"),
        pytest.param("ftp://127.0.0.1/v1.0/users", id="another scheme"),
        pytest.param("http://[bad/v1.0/users", id="no URL at all"),
    ],
)
async def test_a_link_to_elsewhere_is_refused_before_anything_is_sent(tmp_path: Path, link: str):
    async with small_graph(tmp_path, answering(json_body({}))) as graph:
        text = link.format(base=graph.graph_url, userinfo=f"{graph.graph_url}@evil.example")
        async with graph.client() as client:
            with pytest.raises(UntrustedLinkError) as caught:
                await client.get(text, mailbox=USER)

    assert graph.asked == []
    assert graph.tokens_given == 0
    assert "evil" not in str(caught.value)


async def test_a_next_link_of_graphs_own_is_followed_letter_by_letter(tmp_path: Path):
    async with small_graph(tmp_path, answering(json_body({"value": []}))) as graph:
        link = f"{graph.graph_url}/v1.0/users/{USER}/x/delta?$skiptoken=a%2Bb%3d%3D&$x=('y')"
        async with graph.client() as client:
            await client.get(link, mailbox=USER)

    assert graph.asked[0].raw_path == link.removeprefix(graph.graph_url)


async def test_a_redirect_is_not_followed(tmp_path: Path):
    away = web.Response(status=302, headers={"Location": "https://evil.example/"})
    async with small_graph(tmp_path, answering(away)) as graph, graph.client() as client:
        with pytest.raises(RefusedError):
            await client.get(ITEM, mailbox=USER)


@pytest.mark.parametrize(
    ("status", "code", "message", "path", "kind"),
    [
        pytest.param(404, "ErrorItemNotFound", "", ITEM, ItemGoneError, id="item gone"),
        pytest.param(404, "ErrorItemNotFound", "", DELTA, FolderGoneError, id="folder gone"),
        pytest.param(404, "ErrorSyncFolderNotFound", "", DELTA, FolderGoneError, id="sync folder"),
        pytest.param(
            404, "MailboxNotEnabledForRESTAPI", "", ITEM, MailboxGoneError, id="no mailbox"
        ),
        pytest.param(404, "ResourceNotFound", "", DELTA, MailboxGoneError, id="no mailbox, other"),
        pytest.param(404, "UnknownError", "", ITEM, RefusedError, id="a 404 that proves nothing"),
        pytest.param(410, "SyncStateNotFound", "", DELTA, DeltaExpiredError, id="delta expired"),
        pytest.param(400, "syncstateinvalid", "", DELTA, DeltaExpiredError, id="delta invalid"),
        pytest.param(410, "", "", DELTA, DeltaExpiredError, id="any 410"),
        pytest.param(403, "ErrorQuotaExceeded", "", DELTA, DeltaUnavailableError, id="full"),
        pytest.param(403, "ErrorAccessDenied", "", ITEM, ConsentError, id="no consent"),
        pytest.param(400, "BadRequest", "", ITEM, RefusedError, id="bad request"),
        pytest.param(500, "ErrorCorruptData", "", ITEM, UnreachableError, id="graph failed"),
        pytest.param(
            400,
            "ExtensionError",
            "Operation: Create; Exception: [Status Code: Forbidden; Reason: x]",
            ITEM,
            ConsentError,
            id="a 403 hidden in an ExtensionError",
        ),
    ],
)
async def test_every_refusal_becomes_its_class(
    tmp_path: Path, status: int, code: str, message: str, path: str, kind: type[Exception]
):
    refusal = graph_error(status, code, message + " CANARY")
    async with small_graph(tmp_path, answering(refusal)) as graph, graph.client() as client:
        with pytest.raises(kind) as caught:
            await client.get(path, mailbox=USER)

    assert type(caught.value) is kind
    assert "CANARY" not in str(caught.value)
    assert USER not in str(caught.value)
    assert "request-id aa-11" in str(caught.value)


async def test_a_code_that_is_no_code_does_not_reach_a_message(tmp_path: Path):
    refusal = graph_error(400, "Re: our CANARY merger")
    async with small_graph(tmp_path, answering(refusal)) as graph, graph.client() as client:
        with pytest.raises(RefusedError) as caught:
            await client.get(ITEM, mailbox=USER)

    assert "CANARY" not in str(caught.value)


async def test_a_silent_graph_is_given_up_after_the_time_out(tmp_path: Path):
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        return json_body({})

    settings = replace(Settings(), graph=GraphSettings(timeout_s=0.2))
    async with small_graph(tmp_path, silent) as graph, graph.client(settings) as client:
        with pytest.raises(UnreachableError):
            await client.get(ITEM, mailbox=USER)

    assert len(graph.asked) == 1


async def test_a_connection_cut_in_the_middle_is_tried_once_more(tmp_path: Path):
    cut: list[int] = []

    async def cutting(request: web.Request) -> web.StreamResponse:
        if not cut:
            cut.append(1)
            assert request.transport is not None
            request.transport.abort()
        return json_body({"id": "x"})

    async with small_graph(tmp_path, cutting) as graph, graph.client() as client:
        answer = await client.get(ITEM, mailbox=USER)

    assert answer.status == 200


async def test_a_post_is_never_sent_twice_on_a_cut_connection(tmp_path: Path):
    async def cutting(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return json_body({})

    async with small_graph(tmp_path, cutting) as graph, graph.client() as client:
        with pytest.raises(UnreachableError):
            await client.post("/subscriptions", {"changeType": "created"})

    assert len(graph.asked) == 1


async def test_a_mailbox_never_sees_more_than_three_requests_at_once(tmp_path: Path):
    running: dict[str, int] = {USER: 0, OTHER_USER: 0}
    highest: dict[str, int] = {USER: 0, OTHER_USER: 0}

    async def counting(request: web.Request) -> web.StreamResponse:
        user = request.path.split("/")[3]
        running[user] += 1
        highest[user] = max(highest[user], running[user])
        await asyncio.sleep(0.02)
        running[user] -= 1
        return json_body({})

    async with small_graph(tmp_path, counting) as graph, graph.client() as client:
        await asyncio.gather(
            *(
                client.get(message_path(user, "AAk="), mailbox=user)
                for user in (USER, OTHER_USER)
                for _ in range(12)
            )
        )

    assert highest == {USER: 3, OTHER_USER: 3}
