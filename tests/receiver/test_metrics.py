"""What the receiver says about itself is true, and the dashboards ask for what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from outlook_lake.receiver.metrics import Metrics
from outlook_lake.receiver.quarantine import REASONS
from tests.support.receiver import RunningReceiver, item, key_of, post_of, running

OPERATE = Path(__file__).resolve().parents[2] / "docs" / "operate"
PREFIX = "outlook_receiver_"


def figures(receiver: RunningReceiver) -> dict[str, float]:
    """The page: name with its labels → value."""
    answer = receiver.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    found = [line.rpartition(" ") for line in lines]
    return {name.removeprefix(PREFIX): float(value) for name, _, value in found}


def test_it_counts_what_came_what_was_durable_and_what_was_refused(tmp_path: Path) -> None:
    with running(tmp_path) as receiver:
        key = key_of(tmp_path)
        receiver.post(post_of(item(key, "one"), item(key, "two"), {"clientState": "x"}))
        receiver.post(b"{")
        receiver.post(b"", path="/notifications?validationToken=hello")
        found = figures(receiver)

    assert found["notifications_received_total"] == 3
    assert found["notifications_acknowledged_total"] == 2
    assert found['answers_total{status="202"}'] == 1
    assert found['answers_total{status="400"}'] == 1
    assert found['quarantined_total{reason="malformed_json"}'] == 1
    assert found['handshakes_total{result="answered"}'] == 1
    assert found["ack_seconds_count"] == 2
    assert found['ack_seconds_bucket{le="+Inf"}'] == 2
    assert found["fsync_seconds_count"] >= 1
    assert found["ready"] == 1
    assert found["slow_answers_share"] == 0
    assert found["last_acknowledged_timestamp_seconds"] > found["start_timestamp_seconds"]


def test_the_drop_state_risk_is_the_share_of_slow_answers() -> None:
    metrics = Metrics()
    for seconds in (0.01, 2.4, 2.6, 9.0):
        metrics.answered(202, seconds)

    assert metrics.slow_share() == 0.5


def test_no_flood_makes_the_page_grow(tmp_path: Path) -> None:
    with running(tmp_path) as receiver:
        sizes = []
        for turn in range(2):
            for number in range(30):
                noise = {"clientState": f"1.k{turn}.{number}.a.b", "tenantId": f"t{number}"}
                receiver.post(post_of({**noise, "subscriptionId": f"s{turn}-{number}"}))
            sizes.append(len(figures(receiver)))

    assert sizes[0] == sizes[1]


def names_of(page: str) -> set[str]:
    """Names without prefix and without what a histogram adds."""
    found = re.findall(rf"{PREFIX}([a-z_]+)", page)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name a receiver shows."""
    home = tmp_path_factory.mktemp("shown")
    with running(home, ship_to=f"file://{home}/store") as receiver:
        page = receiver.get("/metrics").body.decode()
    return set(re.findall(rf"^# TYPE {PREFIX}([a-z_]+) ", page, re.MULTILINE))


@pytest.mark.parametrize(
    "name", ["grafana/outlook-receiver.json", "grafana/outlook-receiver.rules.yml"]
)
def test_dashboard_and_alerts_ask_for_names_that_exist(shown: set[str], name: str) -> None:
    asked = names_of((OPERATE / name).read_text())

    assert asked
    assert asked - shown == set()


def test_every_name_is_on_the_operators_page_and_no_other(shown: set[str]) -> None:
    page = (OPERATE / "receivers.md").read_text()
    table = page.partition("| name | type | what |")[2].partition("\n\n")[0]

    assert set(re.findall(r"^\| `([a-z_]+)", table, re.MULTILINE)) == shown


def test_every_reason_is_on_the_operators_page() -> None:
    page = (OPERATE / "receivers.md").read_text().partition("## Reasons in the quarantine")[2]

    assert {reason for reason in REASONS if f"`{reason}`" not in page} == set()


def test_the_dashboard_shows_everything_the_product_shows(shown: set[str]) -> None:
    dashboard = json.loads((OPERATE / "grafana/outlook-receiver.json").read_text())
    boxes = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in dashboard["panels"]]

    assert names_of(json.dumps(dashboard)) == shown
    assert len(set(boxes)) == len(boxes)
