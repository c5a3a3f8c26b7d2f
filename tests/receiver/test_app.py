"""Whatever goes wrong inside, Graph is told to send again and no content is told to anyone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outlook_lake.receiver.app import Message, create_app
from tests.support.receiver import settings_of

CANARY = "canary-in-an-error-message"


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + "\n"


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("outlook_lake.receiver")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def test_an_unexpected_error_is_answered_503_and_logged_without_its_message(
    tmp_path: Path, lines: Lines
) -> None:
    app = create_app(settings_of(tmp_path))
    sent: list[Message] = []

    async def receive() -> Message:
        raise RuntimeError(CANARY)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/notifications",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await app(scope, receive, send)

    assert sent[0]["status"] == 503
    assert "RuntimeError" in lines.text
    assert CANARY not in lines.text


async def test_a_client_that_goes_away_gets_no_answer_and_leaves_nothing(tmp_path: Path) -> None:
    app = create_app(settings_of(tmp_path))
    messages = [
        {"type": "http.request", "body": b'{"value":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/notifications",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await app(scope, receive, send)

    assert sent == []


async def test_a_request_before_the_start_is_answered_503(tmp_path: Path) -> None:
    app = create_app(settings_of(tmp_path))
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing to read")

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": "/ready"}, receive, send)

    assert sent[0]["status"] == 503
    assert b"not started" in sent[1]["body"]
