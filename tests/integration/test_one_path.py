"""A mail arrives, the steps run, an analyst queries it; and the journal agrees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from tests.support.seeds import differences
from tests.support.stage import DOMAIN, Stage, stage

pytestmark = pytest.mark.slow


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path) as made:
        made.run("subscriptions")
        made.run("prime")
        made.advance("PT5S")  # acts in the second of the watch may go either way
        yield made


def sealed_files(home: Path) -> list[Path]:
    return sorted((home / "lake" / "events").rglob("events.parquet"))


def test_what_people_do_is_in_the_lake_once_in_its_hour_and_the_journal_agrees(alive: Stage):
    mail = alive.act(0, "receive", to=[alive.address(0)])["item"]
    alive.settle()
    alive.advance("PT20M")
    alive.act(0, "read", item=mail)
    alive.act(0, "flag", item=mail)
    alive.act(1, "send", to=[alive.address(2), "someone@partner.example"])
    alive.settle()
    alive.advance("PT2H")
    alive.act(0, "delete", item=mail)
    alive.settle()
    alive.advance("PT1H5M")
    counts = alive.run("export")

    verdict = alive.audit()
    assert differences(verdict) == 0, verdict
    assert verdict["journal"] == 6
    assert verdict["excused"] == 0
    assert counts["rows"] == 6
    files = sealed_files(alive.home)
    assert [path.name for path in files] == ["events.parquet"] * len(counts["sealed"])
    assert sum(pq.read_metadata(path).num_rows for path in files) == 6
    assert f"domain_id={DOMAIN}" in str(files[0])


def test_a_dropped_notification_is_found_by_the_next_round(alive: Stage):
    alive.fault("drop", rate=1.0)
    mail = alive.act(0, "receive", to=[alive.address(0)])["item"]
    alive.settle()
    alive.advance("PT10M")
    alive.act(0, "read", item=mail)
    assert alive.audit()["lost"] == 2
    alive.call("DELETE", "faults")
    alive.advance("PT1H10M")
    counts = alive.run("catch_up")
    assert counts["unproven"] == 0
    verdict = alive.audit()
    assert differences(verdict) == 0, verdict


def test_lost_delta_states_take_a_moved_item_for_moved_and_a_purged_one_for_purged(alive: Stage):
    moved = alive.act(0, "send", to=["someone@partner.example"])["item"]
    purged = alive.act(0, "receive", to=[alive.address(0)])["item"]
    alive.settle()
    alive.fault("drop", rate=1.0)
    alive.advance("PT10M")
    alive.act(0, "delete", item=moved)
    alive.act(0, "purge", item=purged, hard=True)
    alive.advance("PT1H10M")
    alive.fault("410", rate=1.0)
    alive.run("catch_up")
    assert alive.audit()["wrong_action"] == 0
    alive.call("DELETE", "faults")
    alive.run("catch_up")
    verdict = alive.audit()
    assert differences(verdict) == 0, verdict
    assert verdict["events"] == 4


def test_notifications_that_precede_the_201_find_their_mailbox(tmp_path: Path):
    with stage(tmp_path) as made:
        made.fault("early_notification", rate=1.0)
        made.run("subscriptions")
        made.run("prime")
        made.advance("PT5S")
        made.act(0, "receive", to=[made.address(0)])
        settled = made.settle()
        assert settled["refused"] == 0
        assert differences(made.audit()) == 0


def test_a_restart_of_everything_goes_on_where_it_stopped(alive: Stage):
    mail = alive.act(0, "receive", to=[alive.address(0)])["item"]
    alive.wait_delivered()
    alive.kill("receiver")
    alive.act(0, "read", item=mail)
    alive.start_receiver()
    alive.settle()
    assert differences(alive.audit()) == 0


def test_the_simulator_restarts_with_its_state_and_nothing_is_lost(alive: Stage):
    alive.act(0, "receive", to=[alive.address(0)])
    alive.wait_delivered()
    alive.kill("simulator")
    alive.start_simulator(3, history=10, back="PT6H", speed=1.0)
    alive.act(1, "receive", to=[alive.address(1)])
    alive.settle()
    verdict = alive.audit()
    assert differences(verdict) == 0, verdict
    assert verdict["journal"] == 2


def test_an_hour_that_is_not_over_is_answered_so_and_left_alone(alive: Stage):
    alive.act(0, "receive", to=[alive.address(0)])
    alive.settle()
    from outlook_lake.clock import graph_now, hour_name

    running = hour_name(graph_now())
    assert alive.run("export", hour=running)["not_over"] == [running]
    assert alive.run("catch_up", hour=running) == {"not_over": True, "hour": running}
    assert sealed_files(alive.home) == []


def test_the_same_hour_has_the_same_bytes_whatever_way_its_batches_came(alive: Stage):
    for user in (0, 1, 2):
        alive.act(user, "receive", to=[alive.address(user)])
        alive.settle()
    alive.advance("PT1H5M")
    alive.run("export")
    before = {path: path.read_bytes() for path in sealed_files(alive.home)}
    with alive.app() as app, app.db.write() as connection:
        connection.execute(text("UPDATE hour SET sealed_seq = -1"))
    alive.run("export")
    assert {path: path.read_bytes() for path in sealed_files(alive.home)} == before


def test_a_next_link_to_another_host_is_not_followed_and_the_round_does_not_prove(alive: Stage):
    alive.environ["OUTLOOK_LAKE_GRAPH_PAGE_SIZE"] = "1"
    for user in (0, 1, 2):
        alive.act(user, "receive", to=[alive.address(user)])
        alive.act(user, "receive", to=[alive.address(user)])
    alive.fault("foreign_next_link", rate=1.0)
    alive.advance("PT1H10M")
    assert alive.run("catch_up")["unproven"] == 3
    assert alive.stats()["foreign_links"] > 0
    alive.call("DELETE", "faults")
    with alive.app() as app, app.db.write() as connection:
        connection.execute(text("UPDATE mailbox SET pause_until = 0"))
    assert alive.run("catch_up")["unproven"] == 0
    assert differences(alive.audit()) == 0


def test_nothing_the_product_asks_for_or_keeps_holds_content(alive: Stage):
    mail = alive.act(0, "receive", to=[alive.address(0)], has_attachments=True)["item"]
    alive.settle()
    alive.act(0, "read", item=mail)
    alive.settle()
    alive.advance("PT1H5M")
    alive.run("catch_up")
    alive.run("export")
    for path in alive.home.rglob("*"):
        inside_simulator = (alive.home / "simulator") in path.parents
        if path.is_file() and not inside_simulator and path.name != "simulator.log":
            assert b"CANARY-" not in path.read_bytes(), path
    for request in alive.call("GET", "requests?last=1000")["requests"]:
        line = str(request).lower()
        assert "body" not in line
        assert "subject" not in line
        assert "attachment" not in line.replace("hasattachments", "")
