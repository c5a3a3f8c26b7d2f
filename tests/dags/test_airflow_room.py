"""Where the package meets Airflow: what fails, what is tried again, what is skipped and told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from outlook_lake.clock import CLOCK_ENV
from outlook_lake.errors import UsageError
from tests.support.certificates import certificate


class Told:
    """What a task leaves behind."""

    def __init__(self):
        self.said = {}

    def xcom_push(self, key, value):
        self.said[key] = value


NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def graph_time(tmp_path, monkeypatch):
    def set_to(moment: datetime) -> None:
        file = tmp_path / "clock.json"
        line = {"machine_at": time.time(), "graph_at": moment.timestamp(), "speed": 0.0}
        file.write_text(json.dumps(line))
        monkeypatch.setenv(CLOCK_ENV, str(file))

    return set_to


def test_a_task_whose_hour_ends_in_a_moment_comes_back_just_after_it(graph_time):
    from airflow.sdk.exceptions import AirflowRescheduleException

    from outlook_lake.airflow import not_over_yet

    graph_time(NINE + timedelta(minutes=60, seconds=5))
    before = datetime.now(UTC)
    with pytest.raises(AirflowRescheduleException) as asked:
        not_over_yet("2026-11-20T09", Told())
    # Over at 10:02:00, it is 10:00:05; a second is added so that it is over then.
    wait = (asked.value.reschedule_date - before).total_seconds()
    assert 115 < wait < 118


def test_a_task_whose_hour_is_far_from_over_is_skipped(graph_time):
    from airflow.sdk.exceptions import AirflowSkipException

    from outlook_lake.airflow import not_over_yet

    graph_time(NINE + timedelta(minutes=30))
    with pytest.raises(AirflowSkipException, match="2026-11-20T09 is not over yet"):
        not_over_yet("2026-11-20T09", told := Told())
    assert told.said == {"note": "2026-11-20T09 is not over yet in Graph's time"}


def test_an_interval_names_the_hour_it_begins_with():
    from outlook_lake.airflow import hour_of

    assert hour_of(NINE) == "2026-11-20T09"
    assert hour_of(None) is None


def test_hours_are_announced_once_each_whatever_tenants_they_belong_to():
    from outlook_lake.airflow import OUTLOOK_EVENTS, announce_hours

    class Event:
        def __init__(self):
            self.extra = None
            self.partitions = []

        def add_partitions(self, keys):
            self.partitions += keys

    events = {OUTLOOK_EVENTS: Event()}
    announce_hours(events, {"sealed": ["b.com/2026-11-20T10", "a.com/2026-11-20T09"]})
    announce_hours(events, {"sealed": []})
    assert events[OUTLOOK_EVENTS].partitions == ["2026-11-20T09", "2026-11-20T10"]
    assert events[OUTLOOK_EVENTS].extra == {"hours": 2}


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        pytest.param({"looks": 1868, "events": 730}, "1,868 looks, 730 events", id="counts"),
        pytest.param({"sealed": ["a", "b"], "rows": 0}, "2 sealed", id="a list is its length"),
        pytest.param({"not_over": True, "hour": "2026-11-20T09"}, "", id="words are left out"),
        pytest.param({"gone_unseen": 3}, "3 gone unseen", id="names are read as words"),
    ],
)
def test_a_note_says_what_was_done_and_nothing_that_was_not(counts, note):
    from outlook_lake.airflow import note_of

    assert note_of(counts) == note


def test_a_connection_becomes_the_credentials_of_its_tenant(monkeypatch, tmp_path):
    from outlook_lake.airflow import tenant_connection

    ca = tmp_path / "ca.pem"
    ca.write_text(certificate()[0])
    fields = {
        "conn_type": "msgraph",
        "login": "client",
        "password": "not-shown-anywhere",
        "host": "127.0.0.1",
        "schema": "http",
        "port": 8081,
        "extra": {
            "tenant_id": "0a0a0a0a-0000-4000-8000-000000000001",
            "domain_id": "contoso.example",
            "authority": "https://127.0.0.1:8082",
            "verify": str(ca),
        },
    }
    monkeypatch.setenv("AIRFLOW_CONN_OUTLOOK_TEST", json.dumps(fields))
    found = tenant_connection("outlook_test")
    assert found.domain_id == "contoso.example"
    assert found.credentials.graph_url == "http://127.0.0.1:8081"
    assert found.credentials.authority_url == "https://127.0.0.1:8082"
    assert found.credentials.verify == str(ca)
    assert "not-shown-anywhere" not in repr(found)


def test_a_connection_to_a_foreign_host_is_refused_before_its_secret_goes_anywhere(monkeypatch):
    from outlook_lake.airflow import tenant_connection

    fields = {
        "conn_type": "msgraph",
        "login": "client",
        "password": "not-shown-anywhere",
        "host": "graph.example.org",
        "extra": {"tenant_id": "0a0a0a0a-0000-4000-8000-000000000001"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_OUTLOOK_TEST", json.dumps(fields))
    with pytest.raises(UsageError, match="not a Graph host") as refused:
        tenant_connection("outlook_test")
    assert "not-shown-anywhere" not in str(refused.value)


def test_only_old_task_logs_are_removed_and_their_empty_folders(tmp_path, monkeypatch):
    from airflow.sdk import conf

    from outlook_lake.airflow import remove_old_task_logs

    logs = tmp_path / "logs"
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(logs))
    assert conf.get("logging", "base_log_folder") == str(logs)
    old = logs / "dag_id=a" / "run_id=1" / "task_id=t" / "attempt=1.log"
    new = logs / "dag_id=a" / "run_id=2" / "task_id=t" / "attempt=1.log"
    other = logs / "scheduler" / "old.log"
    for file in (old, new, other):
        file.parent.mkdir(parents=True)
        file.write_text("x")
    week_ago = time.time() - 8 * 86400
    for file in (old, other):
        os.utime(file, (week_ago, week_ago))
    assert remove_old_task_logs(days=7) == 1
    assert new.exists()
    assert other.exists()
    assert not (logs / "dag_id=a" / "run_id=1").exists()


@pytest.mark.slow
def test_a_component_that_serves_nothing_makes_no_receiver_and_no_keys(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'plugins'); import outlook; "
        "print([m for m in sys.modules if m.startswith('outlook_lake.receiver')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OUTLOOK_LAKE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert not (tmp_path / "home").exists()
