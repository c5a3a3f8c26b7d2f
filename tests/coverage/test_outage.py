"""An outage from beginning to end, against a real simulator: seen, proven, named, received."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from outlook_lake.clock import graph_now, hour_name, hour_start
from outlook_lake.coverage.page import list_gaps, overview
from outlook_lake.steps import reprocess_preview
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.slow


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
        assert made.run("witness", again_s=0.1)["agreed"] == 3
        with made.app() as app, app.db.write() as connection:
            connection.exec_driver_sql(
                "DELETE FROM item WHERE item_key = (SELECT max(item_key) FROM item)"
            )
        made.advance("PT1H")
        doubted = made.run("witness", again_s=0.1)
        made.advance("PT1M")
        made.run("stream", until_idle=True)
        made.advance("PT1M")
        trusted = made.run("witness", again_s=0.1)

        assert (doubted["differed"], doubted["gaps"], doubted["agreed"]) == (1, 1, 2)
        assert (trusted["agreed"], trusted["gaps"]) == (3, 0)
        with made.app() as app:
            assert [
                (row["cause"], row["state"], row["closed_by"]) for row in list_gaps(app.db)
            ] == [("witness", "partial", "witness")]
        assert made.audit()["doubled"] == 0
