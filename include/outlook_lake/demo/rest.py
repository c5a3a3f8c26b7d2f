"""Small JSON client for what runs on loopback: Airflow's REST API and the simulator's control."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime
from typing import Any

from outlook_lake.errors import OutlookLakeError

__all__ = ["AirflowApi", "Rest", "RestError", "SimulatorApi"]


class RestError(OutlookLakeError):
    """An answer that is not a 2xx, or none (`status` 0)."""

    def __init__(self, what: str, status: int, detail: str) -> None:
        self.status = status
        super().__init__(f"{what}: {'HTTP ' + str(status) if status else 'no answer'} {detail}")


class Rest:
    """Requests below one base URL; never through a proxy."""

    def __init__(self, base: str, timeout_s: float = 20.0) -> None:
        self.base = base
        self.timeout_s = timeout_s
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def call(self, method: str, path: str, body: Any = None, timeout_s: float | None = None) -> Any:
        """The decoded answer (None when it has no body). Raises RestError."""
        return json.loads(self.raw(method, path, body, timeout_s) or b"null")

    def raw(
        self, method: str, path: str, body: Any = None, timeout_s: float | None = None
    ) -> bytes:
        """The undecoded answer. Raises RestError."""
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._open(request, timeout=timeout_s or self.timeout_s) as answer:
                read: bytes = answer.read()
                return read
        except urllib.error.HTTPError as error:
            raise RestError(
                f"{method} {path}", error.code, error.read(300).decode(errors="replace")
            ) from error
        except (OSError, ValueError) as error:
            raise RestError(f"{method} {path}", 0, type(error).__name__) from error


class AirflowApi(Rest):
    """What the demo asks of Airflow; the API server runs without a login on loopback."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}")

    def is_up(self) -> bool:
        """Whether the API server answers."""
        try:
            self.call("GET", "/api/v2/monitor/health", timeout_s=2)
        except RestError:
            return False
        return True

    def health(self) -> dict[str, str]:
        """Status by component: metadatabase, scheduler, triggerer, dag_processor."""
        answer = self.call("GET", "/api/v2/monitor/health", timeout_s=5)
        return {name: str(part.get("status")) for name, part in answer.items() if part}

    def put_connection(self, connection: dict[str, Any]) -> None:
        """Create the connection, or make it what it should be."""
        try:
            self.call("POST", "/api/v2/connections", connection)
        except RestError as error:
            if error.status != 409:
                raise
            name = connection["connection_id"]
            self.call("PATCH", f"/api/v2/connections/{name}", connection)

    def start_run(
        self,
        dag_id: str,
        note: str,
        *,
        interval: tuple[datetime, datetime] | None = None,
        conf: dict[str, Any] | None = None,
    ) -> str:
        """Start a run, named after its interval where one is given; returns the run's id.

        An interval that has its run already gets one without interval.
        """
        body: dict[str, Any] = {"logical_date": None, "note": note, "conf": conf or {}}
        if interval is not None:
            begin, end = (moment.isoformat() for moment in interval)
            body |= {
                "logical_date": begin,
                "data_interval_start": begin,
                "data_interval_end": end,
            }
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        try:
            return str(self.call("POST", path, body)["dag_run_id"])
        except RestError as error:
            if error.status == 409 and interval is not None:
                return self.start_run(dag_id, note, conf=conf)
            raise

    def run_state(self, dag_id: str, run_id: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        name = urllib.parse.quote(run_id, safe="")
        return str(self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{name}")["state"])

    def active_runs(self, dag_id: str) -> int:
        """Runs that are queued or running."""
        query = "state=queued&state=running&limit=1"
        answer = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns?{query}")
        return int(answer["total_entries"])

    def tasks(self, state: str) -> list[dict[str, Any]]:
        """Task instances of all DAGs in a state."""
        path = f"/api/v2/dags/~/dagRuns/~/taskInstances?state={state}&limit=100"
        found: list[dict[str, Any]] = self.call("GET", path)["task_instances"]
        return found


class SimulatorApi(Rest):
    """The simulator's control API."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}")

    def is_up(self) -> bool:
        """Whether the simulator answers."""
        try:
            self.clock()
        except RestError:
            return False
        return True

    def clock(self) -> dict[str, Any]:
        """The clock: Graph time, speed."""
        answer: dict[str, Any] = self.call("GET", "/simulator/clock", timeout_s=5)
        return answer

    def move_clock(self, **change: Any) -> dict[str, Any]:
        """`speed=60` or `advance="PT9H"`; never past machine time."""
        answer: dict[str, Any] = self.call("POST", "/simulator/clock", change)
        return answer

    def tenants(self) -> list[dict[str, Any]]:
        """Tenants with tenant_id, domain, client_id, client_secret."""
        found: list[dict[str, Any]] = self.call("GET", "/simulator/tenants?users=0")["tenants"]
        return found

    def make_tenant(self, domain: str, mailboxes: int, seed: int) -> dict[str, Any]:
        """A tenant with people: its id, client id, client secret, users."""
        body = {"domain": domain, "mailboxes": mailboxes, "seed": seed}
        answer: dict[str, Any] = self.call("POST", "/simulator/tenants", body, timeout_s=120)
        return answer

    def traffic(self, **plan: Any) -> dict[str, Any]:
        """Start traffic; `wait` prepares it, `go` lets it begin."""
        answer: dict[str, Any] = self.call("POST", "/simulator/traffic", plan, timeout_s=300)
        return answer

    def traffic_state(self) -> dict[str, Any]:
        """How far the traffic is."""
        answer: dict[str, Any] = self.call("GET", "/simulator/traffic")
        return answer

    def stats(self) -> dict[str, Any]:
        """Requests, deliveries, acknowledgements."""
        answer: dict[str, Any] = self.call("GET", "/simulator/stats")
        return answer

    def journal(self, after: int) -> list[dict[str, Any]]:
        """Journal rows with a number above `after`."""
        text = self.raw("GET", f"/simulator/journal?after={after}", timeout_s=60)
        return [json.loads(line) for line in text.splitlines() if line]
