"""By Graph time and not by the machine's: hours start exports, quarters start subscriptions.

A small real HTTP server stands where Airflow's REST API is, and a clock file says what time it
is at Graph.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from outlook_lake.clock import CLOCK_ENV
from outlook_lake.demo.clockwork import Clockwork
from outlook_lake.demo.rest import AirflowApi
from tests.support.demo import eventually


class Airflow(ThreadingHTTPServer):
    """Keeps what was started; `active` DAGs have a run that has not ended; `queued` tasks wait."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.started: list[tuple[str, dict]] = []
        self.active: set[str] = set()
        self.queued: list[str] = []

    def of(self, dag_id):
        return [body for name, body in self.started if name == dag_id]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        dag_id = self.path.split("/")[4]
        if "taskInstances" in self.path:
            ids = self.server.queued if "state=queued" in self.path else []
            self.answer({"task_instances": [{"id": name} for name in ids]})
        else:
            self.answer({"total_entries": int(dag_id in self.server.active)})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.started.append((self.path.split("/")[4], body))
        self.answer({"dag_run_id": "run"})

    def answer(self, body):
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def airflow():
    server = Airflow()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def graph_time(tmp_path, monkeypatch):
    file = tmp_path / "clock.json"
    monkeypatch.setenv(CLOCK_ENV, str(file))

    def set_to(moment: datetime, speed: float = 0.0) -> None:
        fresh = tmp_path / "clock.new"
        line = {"machine_at": time.time(), "graph_at": moment.timestamp(), "speed": speed}
        fresh.write_text(json.dumps(line))
        fresh.replace(file)

    return set_to


@pytest.fixture
def start(airflow):
    made = []
    restarts = []

    def begin(**more) -> list[str]:
        api = AirflowApi(airflow.server_port)
        made.append(Clockwork(api, over_s=120, slots=7, restart=restarts.append, **more))
        made[-1].start()
        return restarts

    yield begin
    for clockwork in made:
        clockwork.stop()


NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_an_hour_is_exported_when_it_is_over_and_not_on_the_stroke(airflow, graph_time, start):
    graph_time(NINE + timedelta(minutes=50))
    start()
    graph_time(NINE + timedelta(minutes=61))
    time.sleep(1.3)
    assert airflow.of("outlook_export") == []
    graph_time(NINE + timedelta(minutes=62, seconds=1))
    eventually(lambda: bool(airflow.of("outlook_export")), 3)
    (run,) = airflow.of("outlook_export")
    assert run["data_interval_start"] == NINE.isoformat()
    assert run["data_interval_end"] == (NINE + timedelta(hours=1)).isoformat()
    assert "2026-11-20T09" in run["note"]


def test_every_quarter_of_graph_time_starts_subscriptions(airflow, graph_time, start):
    graph_time(NINE + timedelta(minutes=10))
    start()
    graph_time(NINE + timedelta(minutes=16))
    eventually(lambda: len(airflow.of("outlook_subscriptions")) == 1, 3)


def test_nothing_is_started_while_a_run_of_it_has_not_ended(airflow, graph_time, start):
    airflow.active = {"outlook_subscriptions"}
    graph_time(NINE + timedelta(minutes=10))
    start()
    graph_time(NINE + timedelta(minutes=16))
    time.sleep(1.5)
    assert airflow.of("outlook_subscriptions") == []
    airflow.active = set()
    eventually(lambda: len(airflow.of("outlook_subscriptions")) == 1, 3)


@pytest.mark.slow
def test_at_machine_time_the_schedules_of_airflow_are_left_alone(airflow, graph_time, start):
    graph_time(datetime.now(UTC) - timedelta(seconds=1), speed=1.0)
    start()
    time.sleep(2.5)
    assert airflow.started == []


@pytest.mark.slow
def test_tasks_that_stay_queued_though_there_is_room_restart_the_executor(
    airflow, graph_time, start
):
    airflow.queued = ["a task"]
    graph_time(NINE)
    restarts = start(hang_s=4.0)
    eventually(lambda: bool(restarts), 15)
    assert "did not start a task" in restarts[0]
