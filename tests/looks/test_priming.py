"""Priming a mailbox: pages share commits, and what was committed is not read again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outlook_lake.events.apply import Applier
from outlook_lake.looks.commit import Committer
from outlook_lake.looks.walk import COMMIT_PAGES, Walk
from outlook_lake.looks.walker import Walker
from outlook_lake.settings import Settings
from outlook_lake.state import Database, leases
from tests.support.graph import graph_error, message_row
from tests.support.one_mailbox import INBOX, OneMailbox, one_mailbox

PAGES = 12


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    one_a_page = replace(settings, graph=replace(settings.graph, page_size=1))
    async with one_mailbox(tmp_path, db, one_a_page) as made:
        with db.write() as connection:
            connection.exec_driver_sql("UPDATE mailbox SET state = 'priming', primed_at = NULL")
            connection.exec_driver_sql("UPDATE folder SET link = NULL, link_state = 'none'")
        yield made


def pages(box: OneMailbox) -> list[Any]:
    rows: list[dict[str, Any]] = [
        {"value": [message_row(n, parentFolderId=INBOX)]} for n in range(PAGES)
    ]
    for n, row in enumerate(rows):
        kind = "deltaLink" if n == PAGES - 1 else "nextLink"
        row[f"@odata.{kind}"] = box.link(f"page{n + 1}")
    return rows


async def prime(box: OneMailbox, *, dies_after: int | None = None) -> int:
    """Prime until done or dead; how many commits brought rows."""
    commits = 0
    applier = Applier(box.db, box.settings, lane="prime", run_id="test")
    async with Committer(applier, 5000) as committer:

        async def commit(observed: Any) -> bool:
            nonlocal commits
            if dies_after is not None and commits >= dies_after:
                raise KeyboardInterrupt
            commits += bool(observed.rows)
            return await committer.commit(observed)

        walker = Walker(*(box.client, box.decoder, box.db, box.settings, b"k" * 32), commit=commit)
        (lease,) = leases.claim_these(box.db, "test", 30, [1])
        await Walk(walker, priming=True).go_on(lease)
    return commits


async def test_some_pages_share_a_commit(box: OneMailbox):
    box.pages[:] = pages(box)
    assert await prime(box) == -(-PAGES // COMMIT_PAGES)
    assert box.rows("SELECT count(*) FROM item") == [(PAGES,)]
    assert box.rows("SELECT state FROM mailbox") == [("live",)]


async def test_a_killed_priming_reads_again_only_what_was_not_committed(box: OneMailbox):
    box.pages[:] = pages(box)
    with pytest.raises(KeyboardInterrupt):
        await prime(box, dies_after=1)
    assert box.rows("SELECT count(*) FROM item") == [(COMMIT_PAGES,)]
    ((link,),) = box.rows("SELECT link FROM folder WHERE folder_no = 1")
    assert link == box.link(f"page{COMMIT_PAGES}")
    box.pages[:] = pages(box)[COMMIT_PAGES:]
    await prime(box)
    assert box.rows("SELECT count(*) FROM item") == [(PAGES,)]


async def test_the_pages_before_a_refused_one_are_not_read_again(box: OneMailbox):
    box.pages[:] = [*pages(box)[:2], graph_error(503, "ServiceUnavailable")]
    await prime(box)
    assert box.rows("SELECT count(*) FROM item") == [(2,)]
    assert box.rows("SELECT link FROM folder WHERE folder_no = 1") == [(box.link("page2"),)]
