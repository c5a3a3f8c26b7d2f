"""Rounds that go wrong: a watermark needs proof, an absence too, and no round ends its run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import text

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import HintKind
from tests.support.graph import graph_error, message_row
from tests.support.one_mailbox import DAY_US, GRAPH_US, OneMailbox, one_mailbox

OLD = {"createdDateTime": "2026-11-20T05:59:00Z", "lastModifiedDateTime": "2026-11-20T05:59:00Z"}


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        yield made


async def knowing(box: OneMailbox, *rows: dict) -> None:
    """A first round that shows these old messages, then Graph's clock an hour on."""
    box.pages[:] = [page(box, *rows)]
    await box.walk()
    assert len(box.rows("SELECT 1 FROM item")) == len(rows)
    box.server.now = box.server.now.replace(hour=box.server.now.hour + 1)


def page(box: OneMailbox, *rows: dict, token: str = "end") -> dict:
    return {"value": list(rows), "@odata.deltaLink": box.link(token)}


def proven(box: OneMailbox) -> int | None:
    ((complete, pending),) = box.rows("SELECT complete_through, pending_through FROM mailbox")
    return pending or complete


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"value": []}', id="no link at all"),
        pytest.param(b'{"value": [{"id":', id="cut off"),
        pytest.param(b"null", id="null"),
        pytest.param(b"<html>sign in</html>", id="a proxy's page"),
    ],
)
async def test_a_page_that_is_none_ends_neither_the_run_nor_in_a_circle(
    box: OneMailbox, body: bytes
):
    box.pages[:] = [web.Response(body=body)]
    async with asyncio.timeout(5):
        walk = await box.walk()
    assert not walk.done
    assert proven(box) is None
    assert box.rows("SELECT lease_until FROM mailbox") == [(0,)]


async def test_pages_that_lead_in_a_circle_leave_the_mailbox_unproven(box: OneMailbox):
    box.pages[:] = [{"value": [], "@odata.nextLink": box.link("again")}]
    async with asyncio.timeout(5):
        walk = await box.walk(times=3)
    assert not walk.done
    assert proven(box) is None


async def test_a_row_that_cannot_be_read_but_has_an_id_is_looked_at(box: OneMailbox):
    bad = message_row(1, categories=[None])
    box.pages[:] = [page(box, bad, message_row(2))]
    await box.walk()
    assert box.events() == ["email_received"]
    assert [item for item, *_ in box.hints()] == [bad["id"]]
    assert box.rows("SELECT complete_through FROM mailbox") == [(None,)]


async def test_a_row_without_an_id_proves_nothing_and_is_asked_for_again(box: OneMailbox):
    box.pages[:] = [page(box, message_row(1, id=None), message_row(2))]
    await box.walk()
    assert box.events() == ["email_received"]
    assert proven(box) is None
    assert box.rows("SELECT link FROM folder") == [(box.link("start"),)]

    box.pages[:] = [page(box, message_row(1), message_row(2))]
    await box.walk()
    assert box.events() == ["email_received", "email_received"]
    assert proven(box) is not None


async def test_an_unreadable_row_of_a_new_listing_is_not_taken_for_an_absence(box: OneMailbox):
    await knowing(box, message_row(1, **OLD))
    gone = graph_error(410, "SyncStateNotFound")
    box.pages[:] = [gone, page(box, message_row(1, **OLD) | {"id": None})]
    await box.walk()
    assert box.events() == []


async def test_an_unreadable_row_anywhere_leaves_absences_elsewhere_open(box: OneMailbox):
    await knowing(box, message_row(1, **OLD))
    gone = graph_error(410, "SyncStateNotFound")
    # The second pass, when what is missing is looked for everywhere, meets a row without an id.
    box.pages[:] = [gone, page(box), page(box, message_row(1, **OLD) | {"id": None})]
    await box.walk()
    assert box.events() == []
    box.pages[:] = [page(box)]
    await box.walk()
    assert box.events() == ["email_purged"]


async def test_an_absence_with_a_hint_waiting_is_left_to_the_hint(box: OneMailbox):
    await knowing(box, message_row(1, **OLD))
    box.hint("AAkALg0001=", HintKind.DELETED, due_at=2**62)
    box.pages[:] = [graph_error(410, "SyncStateNotFound"), page(box)]
    walk = await box.walk()
    assert walk.done
    assert box.events() == []
    assert [item for item, *_ in box.hints()] == ["AAkALg0001="]


async def test_a_walk_that_dies_between_listing_and_absence_loses_no_purge(box: OneMailbox):
    await knowing(box, message_row(1, **OLD))
    box.hint("AAkALg0009=", HintKind.UPDATED)  # due: the walk yields after each page
    box.pages[:] = [graph_error(410, "SyncStateNotFound"), page(box)]
    walk = await box.walk(times=2)
    assert not walk.done
    with box.db.write() as connection:
        connection.execute(text("DELETE FROM hint"))

    await box.walk()
    assert box.events() == ["email_purged"]


async def test_a_folder_that_was_away_for_a_round_is_compared_when_it_is_back(box: OneMailbox):
    await knowing(box, message_row(1, **OLD))
    box.pages[:] = [graph_error(404, "ErrorFolderNotFound")]
    await box.walk()
    box.pages[:] = [page(box)]
    await box.walk()
    assert box.events() == ["email_purged"]


async def test_a_watermark_never_goes_back(box: OneMailbox):
    with box.db.write() as connection:
        connection.execute(text(f"UPDATE mailbox SET complete_through = {GRAPH_US + DAY_US}"))
    await box.walk()
    assert box.rows("SELECT complete_through FROM mailbox") == [(GRAPH_US + DAY_US,)]


async def test_a_mailbox_that_fails_for_long_is_left_for_the_next_round(box: OneMailbox):
    box.pages[:] = [graph_error(500, "InternalServerError")]
    async with asyncio.timeout(30):
        walk = await box.walk(times=20)
    assert walk.gave_up
    assert not walk.done
