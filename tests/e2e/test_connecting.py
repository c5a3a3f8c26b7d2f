"""A tenant's beginning with real Airflow: the doctor is green, and a plan is only a plan."""

from __future__ import annotations

import pytest

from tests.support.demo import RunningDemo, ended_run, task_states

pytestmark = [pytest.mark.airflow, pytest.mark.slow]


def test_the_doctor_is_green_has_a_task_for_each_check_and_hears_the_canary(demo: RunningDemo):
    run = ended_run(demo, "outlook_doctor", {}, 120)

    assert run["state"] == "success"
    states = task_states(demo, "outlook_doctor", run)
    checks = {name: state for name, state in states.items() if name.startswith("check ")}
    assert len(checks) >= 20
    assert set(checks.values()) == {"success"}
    assert states["canary"] == "success"
    assert "a notification came at" in run["note"]
    assert "ok, " in run["note"]


def test_plan_only_shows_the_plan_and_touches_nothing(demo: RunningDemo):
    run = ended_run(demo, "outlook_subscriptions", {"plan_only": True}, 90)

    assert run["state"] == "success"
    states = task_states(demo, "outlook_subscriptions", run)
    assert (states["show_plan"], states["subscribe"]) == ("success", "skipped")
    assert "20 of 20 watched" in run["note"]
