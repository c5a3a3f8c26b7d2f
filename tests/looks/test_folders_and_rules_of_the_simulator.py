"""Folders and rules against a whole simulated Graph: acts in, events out, the journal balanced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outlook_lake.clock import HOUR, graph_now, hour_name, hour_start
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from tests.support.seeds import differences
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path, mailboxes=2, back="PT20H") as made:
        made.run("subscriptions")
        made.run("prime")
        made.advance("PT5S")
        yield made


def told(alive: Stage, kind: str) -> list[str]:
    with open_lake(Settings.load(alive.environ)) as lake:
        rows: list[Any] = lake.execute(
            "SELECT action FROM events_live WHERE object_kind = ? ORDER BY tuid, seq", [kind]
        ).fetchall()
    return [action for (action,) in rows]


def an_hour_later(alive: Stage) -> dict[str, Any]:
    alive.advance("PT1H5M")
    counts = alive.run("catch_up")
    assert counts["unproven"] == 0
    verdict = alive.audit()
    assert differences(verdict) == 0, verdict
    return counts


def test_folders_that_people_make_rename_move_and_delete_are_events(alive: Stage):
    project = alive.act(0, "create_folder", name="CANARY-project")["item"]
    other = alive.act(0, "create_folder", name="CANARY-other", parent=project)["item"]
    an_hour_later(alive)
    assert told(alive, "folder") == ["folder_created", "folder_created"]
    alive.act(0, "rename_folder", folder=project, name="CANARY-renamed")
    alive.act(0, "move_folder", folder=other, to="archive")
    an_hour_later(alive)
    alive.act(0, "delete_folder", folder=other, hard=True)
    an_hour_later(alive)
    assert told(alive, "folder") == [
        *("folder_created", "folder_created"),
        *("folder_renamed", "folder_moved", "folder_deleted"),
    ]


@pytest.mark.parametrize("hard", [False, True], ids=["to Deleted Items", "for good"])
@pytest.mark.parametrize("dropped", [False, True], ids=["told", "untold"])
def test_what_lay_in_a_deleted_folder_is_deleted_or_purged_once(
    alive: Stage, hard: bool, dropped: bool
):
    project = alive.act(0, "create_folder", name="CANARY-project")["item"]
    mails = [alive.act(0, "receive", to=[alive.address(0)])["item"] for _ in range(3)]
    alive.settle()
    alive.advance("PT2M")
    for mail in mails:
        alive.act(0, "move", item=mail, to=project)
    alive.settle()
    an_hour_later(alive)
    if dropped:
        alive.fault("drop", rate=1.0)
    alive.advance("PT2M")
    alive.act(0, "delete_folder", folder=project, hard=hard)
    alive.settle()
    an_hour_later(alive)
    last = told(alive, "message")[-3:]
    assert last == (["email_purged"] if hard else ["email_deleted"]) * 3


def test_rules_that_people_make_change_and_delete_are_events(alive: Stage):
    an_hour_later(alive)
    made = alive.act(
        0,
        "create_rule",
        name="CANARY-rule",
        conditions={"subjectContains": ["CANARY-invoice"]},
        actions={"forwardTo": [{"emailAddress": {"address": "spy@elsewhere.example"}}]},
    )["item"]
    an_hour_later(alive)
    alive.act(0, "update_rule", rule=made, enabled=False)
    an_hour_later(alive)
    alive.act(0, "delete_rule", rule=made)
    an_hour_later(alive)
    assert told(alive, "rule") == ["rule_created", "rule_updated", "rule_deleted"]
    for path in alive.home.rglob("*"):
        inside_simulator = (alive.home / "simulator") in path.parents
        if path.is_file() and not inside_simulator and path.name != "simulator.log":
            assert b"CANARY-" not in path.read_bytes(), path


def test_a_quiet_mailbox_costs_eight_requests_an_hour(alive: Stage):
    # Five past, as a schedule would have it: whoever comes late wants proof.
    five_past = hour_start(graph_now()) + HOUR + timedelta(minutes=5)
    alive.advance(f"PT{(five_past - graph_now()).seconds}S")
    alive.run("catch_up")
    counts = []
    for _ in range(12):
        alive.advance("PT1H")
        hour = hour_name(hour_start(graph_now()) - HOUR)
        counts.append(alive.run("catch_up", hour=hour))
    assert sum(one["full"] for one in counts) == 4
    # Tree, rules and four hot folders every hour; thirteen others every six; the root every
    # twelve: 8.25, and 100,000 mailboxes stay under 230 requests a second.
    assert sum(one["requests"] for one in counts) / 24 == 6 + 13 / 6 + 1 / 12
