"""Many walks side by side: one tenant's trouble stays its own, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from outlook_lake.errors import StateError, TokenRefusedError
from outlook_lake.looks.running import run_walks
from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.leases import Lease
from tests.support.one_mailbox import INBOX, OneMailbox, one_mailbox


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        yield made


@pytest.fixture
def two_tenants(db: Database) -> None:
    with db.write() as connection:
        for number, tenant in ((1, "good"), (2, "bad"), (3, "bad"), (4, "good")):
            connection.execute(
                text(
                    "INSERT INTO mailbox (mailbox_id, tenant_id, aad_id, tuid, shard, state) "
                    "VALUES (:number, :tenant, :name, :name, 0, 'live')"
                ),
                {"number": number, "tenant": tenant, "name": f"m{number}"},
            )


@dataclass
class Steps:
    """Ends after so many leases, or fails with this."""

    left: int = 1
    error: Exception | None = None
    done: bool = False
    gave_up: bool = False
    resume_at: int = 0

    async def go_on(self, lease: Lease) -> None:
        if self.error is not None:
            raise self.error
        self.left -= 1
        self.done = self.left <= 0


TENANTS = {1: "good", 2: "bad", 3: "bad", 4: "good"}


@pytest.mark.usefixtures("two_tenants")
async def test_refused_credentials_end_their_own_tenants_walks_only(
    db: Database, settings: Settings
):
    refused = TokenRefusedError("Graph refused the token")
    walks = {1: Steps(), 2: Steps(error=refused), 3: Steps(left=9), 4: Steps(left=3)}
    ran = await run_walks(db, settings, "test", walks, TENANTS, stop=lambda: False, limit_s=10)
    assert ran.done == {1, 4}
    assert ran.gave_up == 2
    assert list(ran.troubles) == ["bad"]
    assert "refused the token" in ran.troubles["bad"]


@pytest.mark.usefixtures("two_tenants")
async def test_what_is_no_tenants_trouble_ends_the_run(db: Database, settings: Settings):
    walks = {1: Steps(error=StateError("the disk is full"))}
    with pytest.raises(StateError):
        await run_walks(db, settings, "test", walks, TENANTS, stop=lambda: False, limit_s=10)


@pytest.mark.usefixtures("two_tenants")
async def test_a_run_that_is_out_of_time_says_what_is_left(db: Database, settings: Settings):
    walks = {1: Steps(left=10**9)}
    ran = await run_walks(db, settings, "test", walks, TENANTS, stop=lambda: False, limit_s=0.2)
    assert (ran.done, ran.left) == (set(), 1)


@dataclass
class Last(Steps):
    """Is done when another has ended."""

    other: asyncio.Event = field(default_factory=asyncio.Event)

    async def go_on(self, lease: Lease) -> None:
        await self.other.wait()
        self.done = True


@dataclass
class Other(Last):
    """The one that is waited for."""

    async def go_on(self, lease: Lease) -> None:
        self.left -= 1
        self.done = self.left <= 0
        if self.done:
            self.other.set()


@pytest.mark.usefixtures("two_tenants")
async def test_nobody_waits_for_the_slowest_walk(db: Database, settings: Settings):
    slowest = Last()
    walks = {1: slowest, 2: Steps(), 3: Steps(), 4: Other(left=3, other=slowest.other)}
    async with asyncio.timeout(10):
        ran = await run_walks(
            *(db, settings, "test", walks, TENANTS), stop=lambda: False, limit_s=20, at_once=2
        )
    assert ran.done == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("streams", "asked"),
    [
        pytest.param({"messages"}, {"delta", "messages"}, id="messages"),
        pytest.param({"messages", "rules"}, {"delta", "messages", "rules"}, id="and rules"),
        pytest.param({"folders", "rules"}, {"delta", "rules"}, id="no messages"),
    ],
)
async def test_a_tenant_is_asked_for_the_streams_it_is_watched_for(
    box: OneMailbox, streams: set[str], asked: set[str]
):
    walk = await box.walk(full=False, streams=frozenset(streams))
    assert walk.done
    kinds = {
        "/mailFolders/delta": "delta",
        f"/mailFolders/{INBOX}/messages/delta": "messages",
        "/mailFolders/inbox/messageRules": "rules",
    }
    assert {kinds[path] for path in box.asked if path in kinds} == asked


async def test_without_the_stream_folders_change_in_silence(box: OneMailbox):
    await box.walk()
    box.folder("AQMkFolderB=", "New")
    await box.walk(streams=frozenset({"messages"}))
    assert box.events() == []
    assert len(box.rows("SELECT 1 FROM folder WHERE gone_at IS NULL")) == 2
