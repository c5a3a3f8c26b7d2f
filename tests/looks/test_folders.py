"""Folders as events: what differs between two looks at the tree, and nothing at the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from outlook_lake.state.kinds import item_key
from tests.support.graph import graph_error, message_row
from tests.support.one_mailbox import DAY_US, GRAPH_US, INBOX, OneMailbox, one_mailbox

OLD = {"createdDateTime": "2026-11-20T05:59:00Z", "lastModifiedDateTime": "2026-11-20T05:59:00Z"}
PROJECTS = "AQMkFolderA="
HIDDEN = "AQMkFolderH="


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        made.folder(PROJECTS, "CANARY-projects")
        yield made


async def seen(box: OneMailbox) -> None:
    """A first round; then Graph's clock an hour on, and nothing of the tree has changed."""
    await box.walk()
    box.changed.clear()
    box.asked.clear()
    box.server.now = box.server.now.replace(hour=box.server.now.hour + 1)


def told(box: OneMailbox) -> list[dict[str, Any]]:
    paths = [path for (path,) in box.rows("SELECT path FROM batch ORDER BY seq")]
    rows = [row for path in paths for row in pq.read_table(box.settings.home / path).to_pylist()]
    return [row for row in rows if row["object_kind"] == "folder"]


def rounds(box: OneMailbox) -> int:
    """How many folders were asked for what changed."""
    return sum(path.endswith("/messages/delta") for path in box.asked)


def actions(box: OneMailbox) -> list[str]:
    return [row["action"] for row in told(box)]


async def test_the_first_look_is_the_baseline_and_silent(box: OneMailbox):
    await box.walk()
    assert box.events() == []
    assert len(box.rows("SELECT 1 FROM folder WHERE gone_at IS NULL")) == 2


async def test_a_new_folder_a_new_name_and_a_new_place_are_told_with_the_polls_around(
    box: OneMailbox,
):
    await seen(box)
    box.folder("AQMkFolderB=", "CANARY-new")
    box.folder(PROJECTS, "CANARY-renamed", parent=INBOX)
    await box.walk(full=False)
    rows = told(box)
    assert [row["action"] for row in rows] == ["folder_renamed", "folder_moved", "folder_created"]
    moved = rows[1]
    assert moved["item_key"] == item_key(PROJECTS)
    assert moved["folder_kind"] == "inbox"
    assert moved["time_basis"] == "bounded"
    assert [row["seq"] for row in rows] == [1, 2, 3]
    hour = (rows[0]["timestamp"] - rows[0]["earliest_at"]).total_seconds()
    assert hour == 3600

    await box.walk(full=False)
    assert len(told(box)) == 3


async def test_counts_that_changed_are_no_event_but_the_folder_is_read(box: OneMailbox):
    await seen(box)
    box.changed.append(PROJECTS)
    await box.walk(full=False)
    assert told(box) == []
    assert rounds(box) == 2


async def test_a_quiet_hot_round_costs_tree_rules_and_the_hot_folders(box: OneMailbox):
    await seen(box)
    await box.walk(full=False)
    assert box.asked == [
        "/mailFolders/delta",
        "/mailFolders/inbox/messageRules",
        f"/mailFolders/{INBOX}/messages/delta",
    ]
    assert box.rows("SELECT complete_through FROM mailbox") == [(GRAPH_US,)]


async def test_a_full_round_reads_all_and_moves_the_watermark(box: OneMailbox):
    await seen(box)
    await box.walk()
    assert rounds(box) == 2
    assert box.rows("SELECT complete_through FROM mailbox") == [(GRAPH_US + DAY_US // 24,)]


async def test_a_folder_that_is_gone_gives_its_items_their_purge_in_any_round(box: OneMailbox):
    await seen(box)
    with box.db.write() as connection:  # one item of old in the folder
        connection.execute(
            text(
                "INSERT INTO item (shard, mailbox_id, item_key, folder_no, bits, recipients, "
                "origin, seen_at) SELECT 0, 1, :key, folder_no, 0, 0, 0, 1 FROM folder "
                "WHERE folder_id = :folder"
            ),
            {"key": item_key("AAkLost="), "folder": PROJECTS},
        )
    del box.folders[PROJECTS]
    box.changed.append(PROJECTS)
    await box.walk(full=False)
    assert sorted(box.events()) == ["email_purged", "folder_deleted"]
    assert box.rows("SELECT link_state FROM folder WHERE gone_at IS NOT NULL") == [("none",)]
    await box.walk()
    assert len(box.events()) == 2


async def test_items_of_a_gone_folder_that_show_elsewhere_were_moved(box: OneMailbox):
    row = message_row(1, **OLD) | {"parentFolderId": PROJECTS}
    box.pages[:] = [{"value": [row], "@odata.deltaLink": box.link("end")}]
    await seen(box)
    del box.folders[PROJECTS]
    box.changed.append(PROJECTS)
    moved = row | {"parentFolderId": INBOX}
    box.pages[:] = [{"value": [moved], "@odata.deltaLink": box.link("end")}]
    await box.walk(full=False)
    assert sorted(box.events()) == ["email_moved", "folder_deleted"]


async def test_a_folder_the_tree_forgets_but_graph_still_has_is_not_gone(box: OneMailbox):
    await seen(box)
    known = box.folders[PROJECTS]
    box.refuse["/mailFolders/delta"] = graph_error(403, "ErrorAccessDenied")
    box.folders[PROJECTS] = known | {"parentFolderId": "nowhere"}  # no listing reaches it
    await box.walk()
    assert "folder_deleted" not in actions(box)


async def test_without_the_right_to_the_tree_delta_folders_are_listed(box: OneMailbox):
    box.refuse["/mailFolders/delta"] = graph_error(403, "ErrorAccessDenied")
    await seen(box)
    box.folder("AQMkFolderB=", "CANARY-new", parent=PROJECTS)
    walk = await box.walk()
    assert walk.done
    assert actions(box) == ["folder_created"]
    assert told(box)[0]["sighting"] == "snapshot"


async def test_a_listing_looks_only_below_folders_that_have_some(box: OneMailbox):
    box.refuse["/mailFolders/delta"] = graph_error(403, "ErrorAccessDenied")
    box.folders[INBOX]["childFolderCount"] = 0
    box.folders[PROJECTS]["childFolderCount"] = 1
    await seen(box)
    await box.walk(full=False)
    assert [path for path in box.asked if path.endswith("/childFolders")] == [
        f"/mailFolders/{PROJECTS}/childFolders"
    ]


async def test_a_hidden_folder_is_known_at_once_and_a_new_one_by_the_next_full_round(
    box: OneMailbox,
):
    box.folder("AQMkOldHidden=", "CANARY-old", isHidden=True)
    await seen(box)
    assert box.rows("SELECT count(*) FROM folder WHERE hidden") == [(1,)]
    box.folder(HIDDEN, "CANARY-hidden", isHidden=True)
    await box.walk()
    assert actions(box) == ["folder_created"]
    del box.folders[HIDDEN]
    await box.walk()
    assert actions(box) == ["folder_created", "folder_deleted"]


async def test_search_folders_are_left_out(box: OneMailbox):
    await seen(box)
    kind = {"@odata.type": "#microsoft.graph.mailSearchFolder"}
    box.folder("AQMkSearch=", "CANARY-search", **kind)
    await box.walk()
    assert told(box) == []


async def test_a_lost_tree_state_is_enumerated_again_without_an_event(box: OneMailbox):
    await seen(box)
    with box.db.write() as connection:
        connection.execute(text("UPDATE mailbox SET tree_link = 'https://other.example/v1.0/x'"))
    walk = await box.walk()
    assert walk.done
    assert told(box) == []


async def test_a_well_known_folder_that_may_not_be_read_stops_no_other(box: OneMailbox):
    box.refuse["/mailFolders/archive"] = graph_error(403, "ErrorAccessDenied")
    walk = await box.walk()
    assert walk.done


async def test_folder_names_leave_no_trace(box: OneMailbox):
    await seen(box)
    box.folder("AQMkFolderB=", "CANARY-new")
    await box.walk()
    assert actions(box) == ["folder_created"]
    for path in box.settings.home.rglob("*"):
        if path.is_file():
            assert b"CANARY-" not in path.read_bytes(), path


async def test_a_mailbox_whose_delta_is_refused_is_listed_and_compared(box: OneMailbox):
    first = [message_row(1, **OLD), message_row(2, **OLD)]
    box.pages[:] = [{"value": first, "@odata.deltaLink": box.link("end")}]
    await seen(box)
    box.refuse["/messages/delta"] = graph_error(403, "ErrorQuotaExceeded")
    box.listed = first[:1]
    walk = await box.walk()
    assert walk.done
    assert box.events() == ["email_purged"]
    assert box.rows("SELECT DISTINCT link_state FROM folder") == [("unavailable",)]
