"""An outage from beginning to end, against a real simulator: seen, proven, named, received."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from outlook_lake.application import Application
from outlook_lake.clock import graph_now, hour_name, hour_start
from outlook_lake.coverage.page import list_gaps, overview
from outlook_lake.steps import reprocess_preview
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow

ROLES = [
    "Mail.ReadBasic.All",
    "MailboxSettings.Read",
    "User.Read.All",
    "ExchangeMessageTrace.Read.All",
]


def watched(made: Stage) -> list[str]:
    """Everybody is subscribed, primed and has had a message; these."""
    made.run("subscriptions")
    made.run("prime")
    made.advance("PT10S")
    items = [made.act(user, "receive")["item"] for user in range(len(made.users))]
    made.settle()
    return items


def test_hours_without_a_receiver_are_proven_by_a_reprocess_and_the_receipt_says_so(
    tmp_path: Path,
):
    with stage(tmp_path, back="PT20H") as made:
        known = watched(made)
        made.advance("PT1H")
        first = hour_start(graph_now())
        asyncio.run(asyncio.sleep(6))  # a beat of the receiver
        made.kill("receiver")
        for number in range(6):
            made.act(number % 3, "receive")
            if number < 3:
                made.act(number, "flag", item=known[number])
            purged = made.act(number % 3, "receive")
            made.act(number % 3, "purge", item=purged["item"])
            made.advance("PT1H")
        last = hour_start(graph_now())
        made.advance("PT3M")
        made.start_receiver()
        asyncio.run(asyncio.sleep(1.5))
        made.settle()
        assert made.run("export")["gaps"]["opened"] == 3

        asked = {
            "from_hour": hour_name(first),
            "to_hour": hour_name(last),
            "reason": "the receiver was down",
        }
        with made.app() as app:
            told = reprocess_preview(app, **asked)
            causes = {row["cause"] for row in list_gaps(app.db)}
        assert told["gaps_open"]
        assert (told["mailboxes"], told["proven_already"]) == (3, 0)
        assert "receiver_down" in causes

        receipt = made.run("reprocess", **asked)
        kept = json.loads(Path(receipt["receipt"]).read_text())
        with made.app() as app:
            after = overview(app.db, hour_name(first), hour_name(last))
            again = made.run("reprocess", **asked)

        assert (receipt["walked"], receipt["left"], receipt["troubles"]) == (3, 0, [])
        assert receipt["gaps_open"] == 0
        assert receipt["gaps_partial"] >= 3
        assert kept["events_added"] == receipt["events_added"] > 0
        assert {one["action"] for one in receipt["events"]} >= {"email_received", "email_flagged"}
        assert {cell["maturity"] for cell in after["cells"]["contoso.example"]} == {"settled"}
        assert again["events_added"] == 0
        assert made.audit()["lost"] == 0


def test_what_the_inventory_lost_is_found_again_by_the_witness_and_a_round(tmp_path: Path):
    with stage(tmp_path, back="PT6H") as made:
        watched(made)
        assert made.run("witness")["agreed"] == 3
        with made.app() as app, app.db.write() as connection:
            connection.exec_driver_sql(
                "DELETE FROM item WHERE item_key = (SELECT max(item_key) FROM item)"
            )
        made.advance("PT1H")
        made.run("witness")
        made.advance("PT11M")
        doubted = made.run("witness")
        made.advance("PT1M")
        made.run("stream", until_idle=True)
        made.advance("PT1M")
        trusted = made.run("witness")

        assert (doubted["differed"], doubted["gaps"], doubted["agreed"]) == (1, 1, 2)
        assert (trusted["agreed"], trusted["gaps"]) == (3, 0)
        with made.app() as app:
            assert [
                (row["cause"], row["state"], row["closed_by"]) for row in list_gaps(app.db)
            ] == [("witness", "partial", "witness")]
        assert made.audit()["doubled"] == 0


def test_mail_that_came_and_was_purged_unseen_is_told_by_the_message_trace(tmp_path: Path):
    with stage(tmp_path, back="PT8H", OUTLOOK_LAKE_LOOKS_MESSAGE_TRACE="on") as made:
        watched(made)
        made.advance("PT5M")
        made.fault("drop", rate=1.0)
        sent = made.act(0, "send", to=[made.address(1), made.address(2)])
        (copy,) = [one for one in sent["delivered"] if one["mailbox"] == made.users[1]["id"]]
        made.act(1, "purge", item=copy["item"], hard=True)
        made.call("DELETE", "faults")
        made.advance("PT2H")
        made.run("catch_up")
        made.run("export")

        refused = made.run("witness")
        tenant = json.loads(made.environ["OUTLOOK_LAKE_CONN_OUTLOOK_DEFAULT"])["extra"]["tenant_id"]
        made.call("POST", "roles", {"tenant": tenant, "roles": ROLES})
        told = made.run("witness")
        again = made.run("witness")

        assert "message trace could not be read" in refused["troubles"][0]["what"]
        assert told["troubles"] == []
        assert (told["traced"]["missing"], told["traced"]["mailboxes"]) == (1, 1)
        assert told["traced"]["rows"] > 1  # what others got is known
        assert again["traced"]["hours"] == 0
        with made.app() as app:
            (found,) = [row for row in list_gaps(app.db) if row["cause"] == "witness"]
        assert found["loss"] == "created_and_purged"


def test_a_reprocess_that_is_killed_goes_on_where_it_stopped(tmp_path: Path):
    with stage(tmp_path, back="PT9H", mailboxes=6, history=120) as made:
        known = watched(made)
        made.fault("drop", rate=1.0)
        first = hour_start(graph_now())
        for user, item in enumerate(known):
            made.act(user, "flag", item=item)
            made.act(user, "receive")
        made.call("DELETE", "faults")
        made.advance("PT2H")
        asked = {
            "from_hour": hour_name(first),
            "to_hour": hour_name(hour_start(graph_now())),
            "reason": "notifications were dropped",
        }
        made.advance("PT3M")
        command = [
            *(sys.executable, "-m", "outlook_lake.cli", "reprocess", "--reason", asked["reason"]),
            *("--from", asked["from_hour"], "--to", asked["to_hour"]),
        ]
        process = subprocess.Popen(
            command, env={**os.environ, **made.environ}, stderr=subprocess.DEVNULL
        )
        with made.app() as app:
            while not _held(app):
                assert process.poll() is None
                time.sleep(0.02)
            time.sleep(0.2)
            process.kill()
            process.wait(10)
            with app.db.write() as connection:  # its lease would last a minute
                connection.exec_driver_sql("UPDATE lease SET lease_until = 0")
                connection.exec_driver_sql("UPDATE mailbox SET lease_until = 0")

        receipt = made.run("reprocess", **asked)
        verdict = made.audit()

        assert (receipt["walked"], receipt["left"], receipt["gave_up"]) == (6, 0, 0)
        assert (verdict["lost"], verdict["doubled"], verdict["out_of_order"]) == (0, 0, 0)
        assert verdict["events"] >= 18


def test_parked_mailboxes_are_asked_for_again_and_read_when_they_are_back(tmp_path: Path):
    with stage(tmp_path, back="PT9H") as made:
        watched(made)
        first = hour_start(graph_now())
        made.act(0, "remove_licence")
        made.advance("PT1H")
        made.run("catch_up")
        with made.app() as app:
            (parked,) = [row for row in list_gaps(app.db) if row["cause"] == "parked"]
        assert parked["to_at"] is None
        made.act(0, "restore_licence")
        made.act(0, "receive")
        made.advance("PT2H")
        asked = {
            "from_hour": hour_name(first),
            "to_hour": hour_name(hour_start(graph_now())),
            "reason": "the licence is back",
            "mailboxes": "parked",
        }
        made.advance("PT3M")
        receipt = made.run("reprocess", **asked)

        assert (receipt["mailboxes"], receipt["came_back"], receipt["walked"]) == (1, 1, 1)
        with made.app() as app:
            (closed,) = [row for row in list_gaps(app.db) if row["cause"] == "parked"]
        assert (closed["state"], closed["closed_by"]) == ("partial", "round")
        assert made.audit()["lost"] == 0


def _held(app: Application) -> bool:
    with app.db.read() as connection:
        return bool(
            connection.exec_driver_sql(
                "SELECT count(*) FROM lease WHERE name LIKE 'reprocess:%' AND lease_until > 0"
            ).scalar()
        )
