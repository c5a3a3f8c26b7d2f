"""Past hours in a real Airflow: seen, selected again, cleared, reprocessed after an approval."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from outlook_lake import clock
from outlook_lake.demo.rest import RestError
from tests.support.demo import READS_S, RunningDemo, eventually

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

CATCH_UP, EXPORT, REPROCESS = "outlook_catch_up", "outlook_export", "outlook_reprocess"


@pytest.fixture(scope="module")
def hours(demo: RunningDemo) -> list[datetime]:
    """Two hours that are over and sealed."""
    found: list[str] = []

    def sealed() -> bool:
        with demo.stage.database.read() as connection:
            rows = connection.execute(
                text("SELECT hour FROM hour WHERE sealed_seq >= dirty_seq ORDER BY hour LIMIT 2")
            )
            found[:] = [row.hour for row in rows]
        return len(found) == 2

    eventually(sealed, 200, demo.said)
    return [clock.parse_hour(name) for name in found]


def digests(demo: RunningDemo, hours: list[datetime]) -> dict[str, str]:
    names = [clock.hour_name(hour) for hour in hours]
    with demo.stage.database.read() as connection:
        rows = connection.execute(text("SELECT hour, digest FROM hour")).all()
    return {row.hour: row.digest for row in rows if row.hour in names}


def runs_of(demo: RunningDemo, dag_id: str, hours: list[datetime]) -> list[dict[str, Any]]:
    span = f"logical_date_gte={_z(hours[0])}&logical_date_lte={_z(hours[-1])}"
    found = demo.stage.airflow.call("GET", f"/api/v2/dags/{dag_id}/dagRuns?{span}")
    return list(found["dag_runs"])


def backfill(demo: RunningDemo, dag_id: str, hours: list[datetime]) -> list[dict[str, Any]]:
    """Select these hours again, as the UI does; the runs, once they are green."""
    wish = {"dag_id": dag_id, "from_date": _z(hours[0]), "to_date": _z(hours[-1])}

    def is_made() -> bool:
        try:
            demo.stage.airflow.call(
                "POST", "/api/v2/backfills", {**wish, "reprocess_behavior": "completed"}
            )
        except RestError as error:
            assert error.status in (409, 503), error  # another one ends, or SQLite is busy
            return False
        return True

    eventually(is_made, 60)

    def are_green() -> bool:
        runs = runs_of(demo, dag_id, hours)
        green = [r for r in runs if r["run_type"] == "backfill" and r["state"] == "success"]
        return len(green) == len(hours)

    eventually(are_green, 180, lambda: runs_of(demo, dag_id, hours))
    return runs_of(demo, dag_id, hours)


def clear(demo: RunningDemo, dag_id: str, run: dict[str, Any]) -> None:
    """Clear every task of a run: it is queued again at once."""
    wish = {"dag_run_id": run["dag_run_id"], "dry_run": False, "only_failed": False}

    def is_cleared() -> bool:
        try:
            demo.stage.airflow.call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", wish)
        except RestError as error:
            assert error.status in (409, 500, 503), error
            return False
        return True

    eventually(is_cleared, 30)


def test_hours_selected_and_cleared_twice_leave_the_lake_as_it_was(
    demo: RunningDemo, hours: list[datetime]
):
    api = demo.stage.airflow
    proving = backfill(demo, CATCH_UP, hours)
    before = digests(demo, hours)
    writing = backfill(demo, EXPORT, hours)
    for run in proving:
        assert "20 of 20 mailboxes proven" in run["note"], run["note"]
    for run in writing:
        assert "written again: contoso.example" in run["note"], run["note"]
        assert run["note"].endswith("as before")
    for _ in range(2):
        chosen = [(CATCH_UP, run) for run in proving] + [(EXPORT, run) for run in writing]
        for dag_id, run in chosen:
            clear(demo, dag_id, run)
        for dag_id, run in chosen:
            run_id = run["dag_run_id"]
            eventually(lambda d=dag_id, r=run_id: api.run_state(d, r) == "success", 180)
    assert digests(demo, hours) == before


def test_the_coverage_page_shows_the_hours_and_the_runs_that_worked_on_them(
    demo: RunningDemo, hours: list[datetime]
):
    api = demo.stage.airflow
    assert b"<title>Coverage</title>" in api.raw("GET", "/outlook-coverage/")
    first, end = clock.hour_name(hours[0]), clock.hour_name(hours[-1] + clock.HOUR)
    told = api.call("GET", f"/outlook-coverage/data?from={first}&to={end}")
    cells = told["cells"]["contoso.example"]
    assert [cell["hour"] for cell in cells] == [clock.hour_name(hour) for hour in hours]
    assert all(cell["complete"] == cell["mailboxes"] == 20 for cell in cells)
    assert told["runs"][first][CATCH_UP]["state"] == "success"
    views = api.call("GET", "/api/v2/plugins")["plugins"][0]["external_views"]
    assert [view["name"] for view in views] == ["Coverage"]


def test_a_window_is_reprocessed_after_a_person_approved_with_a_receipt_in_the_note(
    demo: RunningDemo, hours: list[datetime]
):
    api = demo.stage.airflow
    before = digests(demo, hours)
    run_id = start_reprocess(demo, hours[0], hours[-1] + clock.HOUR, "an outage drill")
    path = f"/api/v2/dags/{REPROCESS}/dagRuns/{quote(run_id, safe='')}"
    asked: list[dict[str, str]] = []

    def is_asked() -> bool:
        asked.extend(api.call("GET", f"{path}/hitlDetails")["hitl_details"])
        return bool(asked)

    eventually(is_asked, 90, demo.said)
    assert "| mailboxes | 20, of which 20 can be read now |" in asked[0]["body"]
    assert not list((demo.home / "receipts").glob("reprocess-*"))
    time.sleep(READS_S)
    answer = {"chosen_options": ["Approve"], "params_input": {}}
    api.call("PATCH", f"{path}/taskInstances/approve/-1/hitlDetails", answer)
    eventually(lambda: api.run_state(REPROCESS, run_id) in ("success", "failed"), 180)

    run = api.call("GET", path)
    assert run["state"] == "success"
    assert "20 of 20 mailboxes read" in run["note"], run["note"]
    told = [run["note"].find(part) for part in ("about", "Approve by", "mailboxes read")]
    assert -1 < told[0] < told[1] < told[2], run["note"]
    (receipt,) = (demo.home / "receipts").glob("reprocess-contoso.example-*.json")
    assert json.loads(receipt.read_text())["reason"] == "an outage drill"
    assert digests(demo, hours) == before
    latest = api.call("GET", "/outlook-coverage/data")["reprocesses"][0]
    assert (latest["run_id"], latest["state"]) == (run_id, "success")


def test_a_window_that_is_not_over_is_refused_before_anybody_is_asked(demo: RunningDemo):
    api = demo.stage.airflow
    later = clock.graph_now() + timedelta(days=1)
    run_id = start_reprocess(demo, later, later + clock.HOUR, "too early")
    eventually(lambda: api.run_state(REPROCESS, run_id) in ("success", "failed"), 90)
    path = f"/api/v2/dags/{REPROCESS}/dagRuns/{quote(run_id, safe='')}/taskInstances"
    states = {one["task_id"]: one["state"] for one in api.call("GET", path)["task_instances"]}
    assert states["preview"] == "failed"
    assert states["work"] == "upstream_failed"


def start_reprocess(demo: RunningDemo, first: datetime, end: datetime, reason: str) -> str:
    conf = {"first_hour": _z(first), "end_hour": _z(end), "reason": reason}
    conf["tenant"] = "contoso.example"
    made = demo.stage.airflow.call(
        "POST", f"/api/v2/dags/{REPROCESS}/dagRuns", {"logical_date": None, "conf": conf}
    )
    return str(made["dag_run_id"])


def _z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
