"""`kill -9` of a worker at each step of landing and apply: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlook_lake import clock
from outlook_lake.lake.views import open_lake
from outlook_lake.settings import Settings
from outlook_lake.state.kinds import item_key
from tests.support.seeds import CRASH_PLACES, differences
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def one_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(
        tmp_path_factory.mktemp("kills"),
        OUTLOOK_LAKE_STREAM_LEASE_S="1",
        OUTLOOK_LAKE_GRAPH_RETRY_WAIT_S="0.5",
        OUTLOOK_LAKE_STREAM_RENEW_S="0.3",
    ) as made:
        made.run("subscriptions")
        made.run("prime")
        yield made


# After one step is before the next; after the last one everything is done.
@pytest.mark.parametrize(
    ("when", "place"),
    [*(("before", place) for place in CRASH_PLACES), ("after", CRASH_PLACES[-1])],
)
def test_a_worker_killed_here_loses_and_doubles_nothing(one_stage: Stage, when: str, place: str):
    item = one_stage.act(0, "receive", to=[one_stage.address(0)])["item"]
    one_stage.act(1, "send", to=[one_stage.address(2)])
    one_stage.settle()
    one_stage.advance("PT3M")
    one_stage.act(0, "read", item=item)
    one_stage.act(1, "receive", to=[one_stage.address(1)])
    one_stage.wait_delivered()

    began = clock.machine_us()
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.killer", when, place, "stream"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]

    one_stage.settle()
    verdict = one_stage.audit([(began, clock.machine_us())])
    assert differences(verdict) == 0, verdict
    assert verdict["journal"] == verdict["events"] + verdict["excused"]


@pytest.mark.parametrize(
    "place",
    [
        "outlook_lake.events.objects:events_of",
        "outlook_lake.events.mailboxes:_tree",
        "outlook_lake.looks.absences:gone_row",
    ],
)
def test_a_round_killed_here_tells_a_gone_folder_and_its_items_once(one_stage: Stage, place: str):
    folder = one_stage.act(2, "create_folder", name=f"Folder {place}")["item"]
    one_stage.advance("PT10M")
    one_stage.run("catch_up")
    item = one_stage.act(2, "receive", to=[one_stage.address(2)])["item"]
    one_stage.settle()
    one_stage.advance("PT3M")
    one_stage.act(2, "move", item=item, to=folder)
    one_stage.settle()
    one_stage.advance("PT10M")
    one_stage.run("catch_up")  # the Inbox has told that it left
    one_stage.advance("PT10M")
    one_stage.fault("drop", rate=1.0)
    one_stage.act(2, "delete_folder", folder=folder, hard=True)
    one_stage.call("DELETE", "faults")

    began = clock.machine_us()
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.killer", "before", place, "catch_up"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]

    one_stage.advance("PT2M")
    one_stage.run("catch_up")
    verdict = one_stage.audit([(began, clock.machine_us())])
    assert differences(verdict) == 0, verdict
    with open_lake(Settings.load(one_stage.environ)) as lake:
        told = lake.execute(
            "SELECT action, count(*) FROM events_live WHERE platform_event_id = ? "
            "OR item_key = ? AND action = 'email_purged' GROUP BY ALL ORDER BY ALL",
            [folder, item_key(item)],
        ).fetchall()
    assert told == [("email_purged", 1), ("folder_created", 1), ("folder_deleted", 1)]
