"""Looks that go wrong: a hint is answered, asked again or given up in words, never just gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import HintKind
from tests.support.graph import graph_error, message_row
from tests.support.one_mailbox import OneMailbox, one_mailbox


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        yield made


async def test_an_id_that_may_not_enter_a_url_stops_no_neighbour(box: OneMailbox):
    good = message_row(1)
    box.messages[good["id"]] = good
    box.hint("../../users/other", HintKind.REMOVED, count=0)
    box.hint(good["id"], HintKind.CREATED)

    await box.drain().turn()

    assert box.events() == ["email_received"]
    assert box.hints() == []
    assert box.rows("SELECT kind FROM outcome") == [("untrusted",)]


async def test_a_look_that_does_not_say_everything_is_asked_again(box: OneMailbox):
    good = message_row(1, isRead=True)
    box.messages[good["id"]] = good
    box.hint(good["id"], HintKind.CREATED)
    await box.drain().turn()
    box.messages[good["id"]] = {"id": good["id"], "parentFolderId": good["parentFolderId"]}
    box.hint(good["id"], HintKind.UPDATED)

    await box.drain().turn()

    assert box.events() == ["email_received"]
    assert [item for item, *_ in box.hints()] == [good["id"]]


async def test_an_answer_that_is_no_message_is_asked_again_before_it_is_given_up(box: OneMailbox):
    box.messages["AAkALg0001="] = {"id": 5}
    box.hint("AAkALg0001=", HintKind.CREATED)

    await box.drain().turn()

    assert [(item, attempts) for item, _, attempts in box.hints()] == [("AAkALg0001=", 1)]


@pytest.mark.parametrize(
    ("status", "code"), [(404, "ResourceNotFound"), (400, "BadRequest"), (404, "")]
)
async def test_a_refused_batch_parks_no_mailbox_and_gives_no_hint_up(
    box: OneMailbox, status: int, code: str
):
    async def refuse(_: web.Request) -> web.Response:
        return graph_error(status, code)

    box.server.handler = refuse
    box.hint("AAkALg0001=", HintKind.CREATED)
    for _ in range(8):
        with box.db.write() as connection:
            connection.execute(text("UPDATE hint SET due_at = 0"))
            connection.execute(text("UPDATE mailbox SET pause_until = 0"))
        await box.drain().turn()

    assert [item for item, *_ in box.hints()] == ["AAkALg0001="]
    assert box.rows("SELECT state FROM mailbox") == [("live",)]


async def test_a_folder_tree_that_cannot_be_read_keeps_its_mailboxes_hints(box: OneMailbox):
    elsewhere = message_row(1, parentFolderId="AQMkADAwNEW=")
    box.messages[elsewhere["id"]] = elsewhere
    box.hint(elsewhere["id"], HintKind.CREATED)
    usual = box.answer

    async def torn(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("mailFolders/delta"):
            return web.Response(body=b'{"value": [{"id": null}]', content_type="application/json")
        return await usual(request)

    box.server.handler = torn
    await box.drain().turn()

    assert box.events() == []
    assert [item for item, *_ in box.hints()] == [elsewhere["id"]]


def test_an_error_of_the_database_shows_no_address(db: Database):
    with pytest.raises(IntegrityError) as caught, db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO directory (tenant_id, address_key, address, domain, first_seen, "
                "last_seen) VALUES ('t', :key, :address, NULL, 0, 0)"
            ),
            {"key": b"k" * 16, "address": "ann@contoso.example"},
        )
    assert "ann@" not in str(caught.value)
