"""Rich subscriptions under traffic: the journal balances, looks are saved, no content is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.seeds import differences
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow


def in_mode(made: Stage, mode: str) -> None:
    """Let the connection ask for `basic` or `rich` notifications."""
    connection = json.loads(made.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"])
    connection["extra"]["mode"] = mode
    made.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"] = json.dumps(connection)
    os.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"] = json.dumps(connection)


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path) as made:
        in_mode(made, "rich")
        made.run("subscriptions")
        made.run("prime")
        made.advance("PT5S")  # acts in the second of the watch may go either way
        yield made


def looks(made: Stage) -> int:
    """Messages asked for one by one so far."""
    return sum(
        count
        for kind, count in made.stats()["requests"].items()
        if kind in ("message", "batch:message", "get_message", "batch:get_message")
    )


def quarantine(made: Stage) -> dict[str, int]:
    with made.app() as app, app.db.read() as connection:
        rows = connection.execute(text("SELECT reason, count FROM quarantine WHERE stage = 'rich'"))
        found: dict[str, int] = {}
        for reason, count in rows:
            found[reason] = found.get(reason, 0) + count
        return found


def test_an_arrival_and_its_flag_are_events_without_a_look(alive: Stage):
    mail = alive.act(0, "receive", to=[alive.address(0)])["item"]
    first = alive.settle()
    alive.advance("PT10M")
    alive.act(0, "flag", item=mail)
    second = alive.settle()
    assert (first["looks"], first["pushed"], first["events"]) == (0, 1, 1)
    assert (second["looks"], second["pushed"], second["events"]) == (0, 1, 1)
    assert differences(alive.audit()) == 0
    assert quarantine(alive) == {}
