"""A real demo in a process of its own: Airflow, the simulator and everything between."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from benchmarks.reporting import free_ports
from outlook_lake.clock import CLOCK_ENV
from outlook_lake.demo import parts
from outlook_lake.demo.options import Options
from outlook_lake.demo.screen import Screen
from outlook_lake.demo.stage import Stage
from outlook_lake.settings import Settings

READS_S = 3.0
"""Nobody approves at once: Airflow 3.3 takes an answer that comes while the asking task is still
going to sleep for a failure, and asks again."""


class RunningDemo:
    """`stage` sees the demo's home and APIs; it started none of the demo's parts."""

    def __init__(self, home: Path, mailboxes: int) -> None:
        self.home = home
        self.options = Options(port=free_ports(6), mailboxes=mailboxes)
        self.log = home.parent / "demo.log"
        self.process = self.start(home)
        settings = dataclasses.replace(Settings.load({}), home=home)
        os.environ[CLOCK_ENV] = str(parts.clock_file(settings))
        self.stage = Stage(settings, self.options, Screen())

    def start(self, home: Path, *more: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a demo in this home, on these ports."""
        command = [sys.executable, "-m", "outlook_lake.demo", "--port", str(self.options.port)]
        command += ["--mailboxes", str(self.options.mailboxes), *more]
        environ = {name: v for name, v in os.environ.items() if not name.startswith("AIRFLOW")}
        with (log or self.log).open("wb") as out:
            return subprocess.Popen(
                command,
                env={**environ, "OUTLOOK_LAKE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
            )

    def said(self) -> str:
        """Everything it has said so far."""
        return self.log.read_text()

    def wait_said(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait until it has said this."""
        found: re.Match[str] | None = None

        def has_said() -> bool:
            nonlocal found
            found = re.search(pattern, self.said())
            assert found or self.process.poll() is None, self.said()[-3000:]
            return found is not None

        eventually(has_said, seconds, lambda: self.said()[-3000:])
        assert found is not None
        return found

    def parts(self) -> dict[str, int]:
        """Process ids of its parts, by name."""
        return {
            file.stem: int(file.read_text().split()[0])
            for file in (self.home / "run").glob("*.pid")
        }

    def processes(self) -> list[psutil.Process]:
        """Every process of every part."""
        sessions = set(self.parts().values())
        return [p for p in psutil.process_iter() if session_of(p.pid) in sessions]

    def interrupt(self) -> float:
        """Ctrl-C; returns how long it took to end, in seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - began

    def events(self, where: str, **params: Any) -> list[dict[str, Any]]:
        """Rows of `events_live`."""
        from outlook_lake.lake.views import open_lake

        with open_lake(self.stage.settings) as lake:
            query = f"SELECT * FROM events_live WHERE {where} ORDER BY tuid, seq"
            found: list[dict[str, Any]] = (
                lake.sql(query, params=params).to_arrow_table().to_pylist()
            )
            return found


def ended_run(
    demo: RunningDemo, dag_id: str, conf: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Trigger a DAG with a filled-in form and wait for its end; returns the run with its note."""
    api = demo.stage.airflow
    runs = f"/api/v2/dags/{dag_id}/dagRuns"
    made = api.call("POST", runs, {"logical_date": None, "conf": conf})
    path = f"{runs}/{quote(made['dag_run_id'], safe='')}"

    def has_ended() -> bool:
        return api.call("GET", path)["state"] in ("success", "failed")

    eventually(has_ended, seconds, lambda: api.call("GET", f"{path}/taskInstances"))
    run: dict[str, Any] = api.call("GET", path)
    return run


def task_states(demo: RunningDemo, dag_id: str, run: dict[str, Any]) -> dict[str, str]:
    """State by task id; mapped ones as `check 3`."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
    found = demo.stage.airflow.call("GET", f"{path}?limit=100")["task_instances"]
    return {
        f"{row['task_id']} {row['map_index']}" if row["map_index"] >= 0 else row["task_id"]: row[
            "state"
        ]
        for row in found
    }


def session_of(pid: int) -> int | None:
    """The session a process belongs to."""
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def eventually(
    is_so: Callable[[], bool], seconds: float, else_show: Callable[[], object] = lambda: ""
) -> None:
    """Wait until it is so; fails with what `else_show` shows."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, else_show()
        time.sleep(0.3)
