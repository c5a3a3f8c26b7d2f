"""From the interruption at Graph to the recorded gap and a balanced journal: whole and real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Stage]:
    """Two mailboxes, subscribed and primed."""
    with stage(tmp_path, mailboxes=2, history=3, back="P1D") as made:
        made.run("subscriptions")
        made.run("prime")
        yield made


def gaps(of: Stage) -> list[Any]:
    with of.app() as app, app.db.read() as connection:
        return list(
            connection.execute(
                text("SELECT mailbox_id, cause, note, from_at, to_at FROM gap ORDER BY gap_id")
            )
        )


def watched(of: Stage) -> set[str]:
    rows = of.call("GET", "subscriptions")["subscriptions"]
    return {row["mailbox"] for row in rows if not row.get("dead") and not row.get("paused")}


def balanced(of: Stage) -> dict[str, Any]:
    of.advance("PT1H10M")
    of.run("catch_up")
    of.settle()
    of.run("export")
    verdict = of.audit()
    return {name: verdict[name] for name in ("lost", "doubled", "wrong_action", "wrong_hour")}


def test_a_subscription_that_never_delivers_is_found_by_the_rounds_and_replaced(alive: Stage):
    mailbox = alive.users[0]["id"]
    alive.fault("dead_201", match={"mailbox": mailbox})
    alive.fault("remove_subscription", match={"mailbox": mailbox}, tell=0)
    alive.advance("PT1H10M")
    alive.run("subscriptions")  # asks for the quiet one: gone; makes another, which is dead
    alive.call("DELETE", "faults?kind=dead_201")
    assert mailbox not in watched(alive)
    alive.settle()  # the round that follows a new subscription
    alive.advance("PT1M")
    for _ in range(3):
        alive.act(0, "receive")
    alive.advance("PT1H10M")
    alive.run("catch_up")

    did = alive.run("subscriptions")

    assert did["recreated"] == 1
    assert watched(alive) == {user["id"] for user in alive.users}
    assert [row.cause for row in gaps(alive)] == ["lapsed", "silent"]
    assert all(row.to_at is not None and row.from_at <= row.to_at for row in gaps(alive))
    assert alive.run("subscriptions")["recreated"] == 0
    assert balanced(alive) == {"lost": 0, "doubled": 0, "wrong_action": 0, "wrong_hour": 0}


def test_what_lapsed_while_nobody_ran_is_back_after_one_run(alive: Stage):
    alive.act(0, "receive")
    alive.settle()
    # Longer than Graph grants, without a run of ours; the clock began a day back only.
    with alive.app() as app, app.db.write() as connection:
        connection.execute(text("UPDATE subscription SET expires_at = created_at + 1"))
    alive.fault("remove_subscription", tell=0)
    alive.advance("PT2H")
    alive.act(0, "receive")

    did = alive.run("subscriptions")

    assert did["recreated"] == 2
    assert watched(alive) == {user["id"] for user in alive.users}
    assert [row.note for row in gaps(alive)] == ["lapsed", "lapsed"]
    assert balanced(alive) == {"lost": 0, "doubled": 0, "wrong_action": 0, "wrong_hour": 0}


def test_missed_notifications_are_a_gap_and_found_at_once(alive: Stage):
    alive.fault("missed", match={"mailbox": alive.users[0]["id"]})
    alive.act(0, "receive")
    alive.settle()
    alive.call("DELETE", "faults?kind=missed")

    assert [(row.cause, row.to_at is not None) for row in gaps(alive)] == [("missed", True)]
    with alive.app() as app, app.db.read() as connection:
        wanted = connection.execute(text("SELECT round_wanted_at FROM mailbox")).scalars().all()
    assert wanted == [None, None]  # carried out by the stream already
    assert balanced(alive) == {"lost": 0, "doubled": 0, "wrong_action": 0, "wrong_hour": 0}
