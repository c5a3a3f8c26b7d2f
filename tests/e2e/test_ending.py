"""A tenant's end with real Airflow: form, preview, approval, receipt; after all other tests."""

from __future__ import annotations

import json
import subprocess
import time
from urllib.parse import quote

import pytest

from tests.support.demo import READS_S, RunningDemo, ended_run, eventually, task_states

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

DAG = "outlook_disconnect"


def test_a_tenant_is_disconnected_after_a_person_approved_and_stays_so(demo: RunningDemo):
    if demo.process.poll() is not None:
        demo.process = demo.start(demo.home)
        demo.wait_said("first event can be queried", 240)
    api = demo.stage.airflow
    wish = {"tenant": "contoso.example", "reason": "the test ends", "data": "keep"}
    made = api.call("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "conf": wish})
    run_id = quote(made["dag_run_id"], safe="")
    asked: list[dict[str, str]] = []

    def is_asked() -> bool:
        path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/hitlDetails"
        asked.extend(api.call("GET", path)["hitl_details"])
        return bool(asked)

    eventually(is_asked, 60, demo.said)
    assert "| subscriptions at Graph | 20 | removed |" in asked[0]["body"]
    assert len(demo.stage.simulator.call("GET", "/simulator/subscriptions")["subscriptions"]) == 20

    time.sleep(READS_S)
    answer = {"chosen_options": ["Approve"], "params_input": {}}
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    api.call("PATCH", path, answer)
    eventually(lambda: api.run_state(DAG, made["dag_run_id"]) in ("success", "failed"), 180)

    assert api.run_state(DAG, made["dag_run_id"]) == "success"
    assert demo.stage.simulator.call("GET", "/simulator/subscriptions")["subscriptions"] == []
    (receipt,) = (demo.home / "receipts").glob("disconnect-contoso.example-*.json")
    told = json.loads(receipt.read_text())
    assert (told["subscriptions_removed"], told["data"]) == (20, "kept")
    assert told["reason"] == "the test ends"

    # The connection is still there: the next run does not bring the tenant back.
    run = ended_run(demo, "outlook_subscriptions", {}, 90)
    assert run["state"] == "success"
    assert task_states(demo, "outlook_subscriptions", run)["subscribe"] == "success"
    assert demo.stage.simulator.call("GET", "/simulator/subscriptions")["subscriptions"] == []


def test_no_secret_token_or_address_is_in_a_log_a_note_an_xcom_or_a_rendered_field(
    demo: RunningDemo,
):
    simulator = demo.stage.simulator
    tenant = simulator.call("GET", "/simulator/tenants")["tenants"][0]
    someone = tenant["users"][0]["address"].partition("@")[0]
    places = [
        name
        for name in ("airflow", "run", "receipts", "log", "lake", "staging")
        if (demo.home / name).exists()
    ]
    for what, words in {
        "the client secret": ["-F", tenant["client_secret"]],
        "an access token": ["-E", r"eyJ[A-Za-z0-9_-]+\.eyJ"],
        "an address": ["-E", rf"{someone[:6]}[A-Za-z0-9.-]*@"],
    }.items():
        # In a process of its own: closing a database file here would drop this process's locks.
        found = subprocess.run(
            ["grep", "-rla", *words, *places],
            cwd=demo.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 1, f"{what} is in {found.stdout}"
    directory = subprocess.run(
        ["grep", "-rlaE", rf"{someone[:6]}[A-Za-z0-9.-]*@", "state"], cwd=demo.home, check=False
    )
    assert directory.returncode == 0, "where they belong there is something to be found"
