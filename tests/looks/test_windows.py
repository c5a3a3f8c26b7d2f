"""Window looks find what came or changed in a span, once, and prove nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from outlook_lake.errors import UsageError
from outlook_lake.events.apply import Applier
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.walker import Walker
from outlook_lake.looks.windows import WindowLook, look_at_window
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from tests.support.graph import graph_error, message_row
from tests.support.one_mailbox import GRAPH_US, OneMailbox, one_mailbox

HOUR_US = 3_600_000_000


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        yield made


async def look(box: OneMailbox) -> dict[str, int]:
    applier = Applier(box.db, box.settings, lane="windows", run_id="test")
    async with Committer(applier, 5000) as committer:
        walker = Walker(box.client, box.decoder, box.db, box.settings, b"k" * 32, committer.commit)
        (lease,) = leases.claim_these(box.db, "test", 30, [1])
        return await look_at_window(walker, lease, GRAPH_US - HOUR_US, GRAPH_US)


async def test_what_the_window_shows_is_an_event_once_and_no_watermark_moves(box: OneMailbox):
    box.listed = [message_row(1)]
    assert await look(box) == {"requests": 2, "messages": 2, "whole": 1}
    assert box.events() == ["email_received"]
    await look(box)
    assert box.events() == ["email_received"]
    assert box.rows("SELECT complete_through, pending_through, lease_until FROM mailbox") == [
        (None, None, 0)
    ]
    assert box.asked.count("/messages") == 4


async def test_a_folder_nobody_knew_is_learnt_before_its_message_is_applied(box: OneMailbox):
    box.folder("AQMkFolderB=", "New")
    box.listed = [message_row(1) | {"parentFolderId": "AQMkFolderB="}]
    await look(box)
    assert box.rows(
        "SELECT f.folder_id FROM item i JOIN folder f ON f.folder_no = i.folder_no"
    ) == [("AQMkFolderB=",)]


async def test_a_refused_window_says_that_it_is_not_whole(box: OneMailbox):
    box.refuse["/messages"] = graph_error(403, "ErrorAccessDenied")
    assert (await look(box))["whole"] == 0
    assert box.rows("SELECT lease_until FROM mailbox") == [(0,)]


async def test_a_window_without_time_in_it_is_refused_in_words(box: OneMailbox):
    with pytest.raises(UsageError, match="end after it begins"):
        WindowLook(Walker(box.client, box.decoder, box.db, box.settings, b""), 5, 5)


async def test_a_flood_of_hints_in_one_mailbox_is_read_a_turn_at_a_time(box: OneMailbox):
    from outlook_lake.looks.items import PER_TURN, due_hints

    with box.db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO hint (mailbox_id, item_key, item_id, kinds, first_at, last_at, count, "
                "due_at) VALUES (1, :key, :id, 1, :at, :at, 1, 0)"
            ),
            [{"key": n.to_bytes(16), "id": f"AAk{n}=", "at": n} for n in range(5500)],
        )
    (lease,) = leases.claim_these(box.db, "test", 30, [1])
    (some,) = due_hints(box.db, [lease]).values()
    assert len(some) == PER_TURN
    assert [hint.first_at for hint in some] == sorted(hint.first_at for hint in some)
