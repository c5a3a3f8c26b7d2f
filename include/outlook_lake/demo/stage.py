"""Brings everything up, and takes it down in the right order.

simulator ∥ database → API server (with the receiver) ∥ DAG processor → connection → scheduler,
triggerer → subscriptions → mailboxes live. Down: stop file, triggerer and DAG processor,
scheduler, API server last; at most 10 seconds.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from outlook_lake import clock
from outlook_lake.demo import parts
from outlook_lake.demo.figures import Figures, read_figures
from outlook_lake.demo.options import (
    START_BACK_H,
    Options,
    run_folder,
    working_day_begins_at,
)
from outlook_lake.demo.rest import AirflowApi, RestError, SimulatorApi
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.supervisor import PartFailedError, Supervisor
from outlook_lake.settings import Settings
from outlook_lake.state.database import Database

__all__ = ["Stage"]

DOMAIN = "contoso.example"
LONGEST_PAUSE_H = 6
"""A demo that was stopped for longer does not play the hours in between."""

TO_GET_READY = timedelta(hours=1)
"""Graph time before a replayed day begins, for subscribing and priming."""

PATIENCE_S = 240.0
"""Bringing up takes half a minute; beyond this something is wrong."""


class Stage:
    """The running parts of one demo. `down` may be called at any moment, also half-way up."""

    def __init__(self, settings: Settings, options: Options, screen: Screen) -> None:
        self.settings = settings
        self.options = options
        self.screen = screen
        self.airflow = AirflowApi(options.ports.airflow)
        self.simulator = SimulatorApi(options.ports.simulator)
        self.environment = parts.environment(settings, options)
        self.supervisor = Supervisor(run_folder(settings), self.environment, screen.say)
        self._db: Database | None = None

    def up(self) -> None:
        """Start everything; returns when every mailbox is live. Raises PartFailedError."""
        self.stop_file.unlink(missing_ok=True)
        airflow = {part.name: part for part in parts.airflow_parts()}
        with self.screen.stage("simulated Microsoft Graph and databases"):
            (self.settings.home / "simulator").mkdir(parents=True, exist_ok=True)
            self.supervisor.start(parts.simulator_part(self.settings, self.options))
            if self.options.standalone_receiver:
                self.supervisor.start(parts.receiver_part(self.options))
            self._migrate()
            self.wait(self.simulator.is_up, "the simulator to answer")
            tenant = self._tenant()
        with self.screen.stage("Airflow"):
            self.supervisor.start(airflow["api-server"])
            self.supervisor.start(airflow["dag-processor"])
            self.wait(self.airflow.is_up, "Airflow's API server to answer")
            self.airflow.put_connection(self._connection(tenant))
            self.supervisor.start(airflow["scheduler"])
            self.supervisor.start(airflow["triggerer"])
        with self.screen.stage("subscriptions and first enumeration"):
            self.wait(self._dags_are_known, "Airflow to know the DAGs")
            if not self.airflow.active_runs("outlook_subscriptions"):
                self.airflow.start_run("outlook_subscriptions", "The demo has started")
            self.wait(lambda: self.figures().all_live, "every mailbox to be live")

    def down(self) -> None:
        """Stop everything that was started, in order."""
        self.supervisor.end()
        self.stop_file.parent.mkdir(parents=True, exist_ok=True)
        self.stop_file.touch()
        self.supervisor.stop(["triggerer", "dag-processor"])
        self.supervisor.stop(["scheduler"])
        self.supervisor.stop(["api-server", "receiver"])
        with contextlib.suppress(RestError):
            self.simulator.move_clock(speed=0)  # Graph time waits for the next start
        self.supervisor.stop(["simulator"])
        self.stop_file.unlink(missing_ok=True)
        if self._db is not None:
            self._db.close()

    @property
    def stop_file(self) -> Path:
        """While it exists, drains end within two seconds."""
        return run_folder(self.settings) / "stop"

    @property
    def database(self) -> Database:
        """The state database, made and opened when it is first asked for."""
        if self._db is None:
            self._db = Database.open(self.settings)
        return self._db

    def figures(self) -> Figures:
        """Counts of this moment."""
        return read_figures(self.database, self.settings)

    def wait(self, is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until it is so. Raises PartFailedError when a part gave up, or after patience."""
        deadline = time.monotonic() + patience_s
        while not is_so():
            if self.supervisor.failure is not None:
                raise self.supervisor.failure
            if time.monotonic() > deadline:
                raise PartFailedError(
                    f"waited {patience_s:.0f} s for {what}; the logs in "
                    f"{self.supervisor.folder} say more"
                )
            time.sleep(0.2)

    def run_dag(self, dag_id: str, note: str, patience_s: float = 900.0) -> None:
        """Run a DAG to its end. Raises PartFailedError when it fails."""
        run_id = self.airflow.start_run(dag_id, note)
        state = ""

        def ended() -> bool:
            nonlocal state
            state = self.airflow.run_state(dag_id, run_id)
            return state in ("success", "failed")

        self.wait(ended, f"{dag_id} to end", patience_s)
        if state == "failed":
            raise PartFailedError(f"{dag_id} failed: see the run {run_id} in Airflow")

    def _dags_are_known(self) -> bool:
        return int(self.airflow.call("GET", "/api/v2/dags?limit=1")["total_entries"]) >= 6

    def _migrate(self) -> None:
        """Airflow's own database; nothing to do when this release has made it."""
        release = version("apache-airflow")
        stamp = self.settings.home / "airflow" / "migrated"
        if stamp.exists() and stamp.read_text() == release:
            return
        log = self.supervisor.folder / "migrate.log"
        with log.open("ab") as out:
            done = subprocess.run(
                parts.migrate_command(),
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise PartFailedError(
                "Airflow's database cannot be made; the log ends:\n"
                + self.supervisor.log_tail("migrate")
            )
        stamp.write_text(release)

    def _tenant(self) -> dict[str, Any]:
        """The simulated tenant; made at the first start, with everyone who will send mail."""
        known = self.simulator.tenants()
        if not known and self.options.traffic is not None:
            begins_at = working_day_begins_at(clock.machine_now())
            ahead = begins_at - TO_GET_READY
            self.simulator.move_clock(to=ahead.isoformat())
            self.simulator.traffic(wait=True, **self.options.traffic_plan(begins_at.date()))
        elif not known:
            self.simulator.make_tenant(DOMAIN, self.options.mailbox_count, self.options.seed)
        self._catch_up_with_a_pause()
        return self.simulator.tenants()[0]

    def _catch_up_with_a_pause(self) -> None:
        """After a pause of days, begin again a few hours back."""
        behind_s = float(self.simulator.clock()["behind_s"])
        if self.options.traffic is None and behind_s > LONGEST_PAUSE_H * 3600:
            self.simulator.move_clock(advance=f"PT{behind_s - START_BACK_H * 3600:.0f}S")

    def _connection(self, tenant: dict[str, Any]) -> dict[str, Any]:
        ports = self.options.ports
        extra = {
            "tenant_id": tenant["tenant_id"],
            "domain_id": tenant["domain"],
            "internal_domains": [tenant["domain"]],
            "authority": f"https://127.0.0.1:{ports.simulator_tls}",
            "verify": str(self.settings.home / "simulator" / "ca.pem"),
            "disable_instance_discovery": True,
            "allowed_hosts": "127.0.0.1",
        }
        return {
            "connection_id": parts.CONN_ID,
            "conn_type": "msgraph",
            "description": "The demo's simulated tenant",
            "host": "127.0.0.1",
            "schema": "http",
            "port": ports.simulator,
            "login": tenant["client_id"],
            "password": tenant["client_secret"],
            "extra": json.dumps(extra),
        }
