"""Inbox rules as events: redacted, by snapshot; what they look for never leaves memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from outlook_lake.settings import Settings
from outlook_lake.state import Database
from tests.support.graph import graph_error
from tests.support.one_mailbox import INBOX, OneMailbox, one_mailbox


@pytest.fixture
async def box(tmp_path: Path, db: Database, settings: Settings) -> AsyncIterator[OneMailbox]:
    async with one_mailbox(tmp_path, db, settings) as made:
        made.folder("AQMkJunk=", "Junk")
        yield made


def rule(number: int = 1, **more: Any) -> dict[str, Any]:
    base = {
        "id": f"AQAA{number}=",
        "displayName": "CANARY-name",
        "sequence": number,
        "isEnabled": True,
        "hasError": False,
        "isReadOnly": False,
        "conditions": {"subjectContains": ["CANARY-invoice"], "sentToMe": False},
        "actions": {"stopProcessingRules": True},
    }
    return base | more


def to(address: str) -> dict[str, Any]:
    return {"emailAddress": {"name": "CANARY-person", "address": address}}


def told(box: OneMailbox) -> list[dict[str, Any]]:
    paths = [path for (path,) in box.rows("SELECT path FROM batch ORDER BY seq")]
    rows = [row for path in paths for row in pq.read_table(box.settings.home / path).to_pylist()]
    return [row for row in rows if row["object_kind"] == "rule"]


async def test_the_first_snapshot_is_silent_and_then_what_differs_is_told(box: OneMailbox):
    box.rules[:] = [rule(1)]
    await box.walk()
    assert told(box) == []
    box.rules.append(rule(2, actions={"forwardTo": [to("spy@elsewhere.example")]}))
    await box.walk(full=False)
    box.rules[1]["isEnabled"] = False
    await box.walk(full=False)
    box.rules.pop(0)
    await box.walk(full=False)
    rows = told(box)
    assert [row["action"] for row in rows] == ["rule_created", "rule_updated", "rule_deleted"]
    made = rows[0]["rule"]
    assert made["actions"] == ["forwardTo"]
    assert made["forward_domains"] == ["elsewhere.example"]
    assert made["external_forward"] is True
    assert made["condition_kinds"] == ["subjectContains"]
    assert len(made["forward_keys"]) == 1
    assert rows[1]["changed"] == ["enabled"]
    assert rows[1]["rule"]["enabled"] is False
    assert rows[2]["rule"]["stops"] is True
    assert {row["time_basis"] for row in rows} == {"bounded"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"sequence": 7}, id="its place in line"),
        pytest.param({"hasError": True}, id="an error Graph found"),
        pytest.param({"@odata.etag": "W/1"}, id="an annotation"),
    ],
)
async def test_what_is_not_part_of_a_rule_does_not_change_it(box: OneMailbox, change: dict):
    box.rules[:] = [rule()]
    await box.walk()
    box.rules[:] = [rule(**change)]
    await box.walk()
    assert told(box) == []


async def test_a_changed_keyword_is_an_update_and_its_words_are_nowhere(box: OneMailbox):
    box.rules[:] = [rule()]
    await box.walk()
    box.rules[:] = [rule(conditions={"subjectContains": ["CANARY-password"]})]
    await box.walk()
    (row,) = told(box)
    assert (row["action"], row["changed"]) == ("rule_updated", ["rule"])
    for path in box.settings.home.rglob("*"):
        if path.is_file():
            assert b"CANARY-" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("actions", "hides"),
    [
        pytest.param({"delete": True}, True, id="deletes"),
        pytest.param({"moveToFolder": "AQMkJunk="}, True, id="into Junk"),
        pytest.param({"moveToFolder": INBOX, "markAsRead": True}, True, id="filed as read"),
        pytest.param({"moveToFolder": INBOX}, False, id="filed in sight"),
        pytest.param({"markAsRead": True}, False, id="only marked read"),
    ],
)
async def test_a_rule_that_puts_mail_out_of_sight_is_said_to_hide(
    box: OneMailbox, actions: dict, hides: bool
):
    await box.walk()
    with box.db.write() as connection:
        from sqlalchemy import text

        connection.execute(text("UPDATE folder SET kind = 'junk' WHERE folder_id = 'AQMkJunk='"))
    box.rules[:] = [rule(actions=actions)]
    await box.walk()
    assert told(box)[0]["rule"]["hides"] is hides


async def test_a_rule_graph_cannot_show_is_opaque_not_harmless(box: OneMailbox):
    await box.walk()
    opaque = rule(isReadOnly=True)
    del opaque["actions"], opaque["conditions"]
    box.rules[:] = [opaque]
    await box.walk()
    assert told(box)[0]["rule"]["opaque"] is True


async def test_one_recipient_as_an_object_is_read_as_a_list_of_one(box: OneMailbox):
    await box.walk()
    box.rules[:] = [rule(actions={"redirectTo": to("spy@elsewhere.example")})]
    await box.walk()
    assert told(box)[0]["rule"]["forward_domains"] == ["elsewhere.example"]


async def test_rules_that_may_not_be_read_leave_the_round_its_proof(box: OneMailbox):
    box.refuse["/messageRules"] = graph_error(403, "ErrorAccessDenied")
    walk = await box.walk()
    assert walk.done
    assert box.rows("SELECT rules_at, complete_through > 0 FROM mailbox") == [(None, True)]
