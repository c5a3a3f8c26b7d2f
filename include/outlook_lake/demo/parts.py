"""The parts of a demo: their commands, and the environment they share."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

from outlook_lake.clock import CLOCK_ENV
from outlook_lake.demo.options import START_BACK_H, Options
from outlook_lake.demo.supervisor import Part
from outlook_lake.settings import Settings

__all__ = [
    "CONN_ID",
    "airflow_parts",
    "clock_file",
    "environment",
    "migrate_command",
    "project_root",
    "receiver_part",
    "simulator_part",
]

CONN_ID = "outlook_demo"
"""The connection of type `msgraph` to the simulated tenant."""


def project_root() -> Path:
    """The checkout: where dags/ and plugins/ are."""
    return Path(__file__).resolve().parents[3]


def clock_file(settings: Settings) -> Path:
    """Where the simulator writes its clock."""
    return settings.home / "simulator" / "clock.json"


def simulator_part(settings: Settings, options: Options) -> Part:
    """The simulated Microsoft Graph; its mailboxes, clock and journal survive a restart."""
    ports = options.ports
    command = [
        *(sys.executable, "-m", "graph_simulator"),
        *("--port", str(ports.simulator), "--tls-port", str(ports.simulator_tls)),
        *("--state", str(settings.home / "simulator")),
        *("--clock-file", str(clock_file(settings))),
        # A replayed day lies in the last whole week: far enough back, moved there later.
        *("--start-back", "P15D" if options.traffic else f"PT{START_BACK_H}H", "--speed", "1"),
        *("--seed", str(options.seed), "--mailboxes", "0"),
    ]
    return Part("simulator", command, patience_s=2.0)


def receiver_part(options: Options) -> Part:
    """The stand-alone webhook, for who wants it apart from Airflow."""
    command = [sys.executable, "-m", "outlook_lake.receiver"]
    port = str(options.ports.receiver)
    return Part("receiver", [*command, "--host", "127.0.0.1", "--port", port], patience_s=2.0)


def airflow_parts() -> list[Part]:
    """Airflow's four components, singly, in the order of starting."""

    def part(name: str, patience_s: float, *, keeps_children: bool = False) -> Part:
        return Part(
            name,
            [sys.executable, "-m", "airflow", name],
            patience_s=patience_s,
            keeps_children=keeps_children,
        )

    return [
        part("api-server", 2.0),
        part("dag-processor", 1.5),
        part("scheduler", 3.0, keeps_children=True),
        part("triggerer", 1.5),
    ]


def migrate_command() -> list[str]:
    """Make or migrate Airflow's own database."""
    return [sys.executable, "-m", "airflow", "db", "migrate"]


def environment(settings: Settings, options: Options) -> dict[str, str]:
    """What every part sees. Beside it nothing of Airflow's configuration is needed."""
    root = project_root()
    home = settings.home / "airflow"
    ports = options.ports
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIRFLOW") and name != "PYTHONDONTWRITEBYTECODE"
    }
    sections = {
        "CORE__DAGS_FOLDER": str(root / "dags"),
        "CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(settings.stream.lanes + 6),
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ports.airflow}/execution/",
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(ports.airflow),
        "API__WORKERS": "1",
        "API__BASE_URL": f"http://127.0.0.1:{ports.airflow}",
        "API__INSTANCE_NAME": "Outlook Activity Lake",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "4",
        # Tasks of a killed scheduler are noticed by this check alone (heartbeats are only asked
        # of a scheduler's own tasks); its default of 300 s would stop the stream for so long.
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "LOGGING__WORKER_LOG_SERVER_PORT": str(ports.task_logs),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports.trigger_logs),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        **_secrets(home / "secrets.json"),
    }
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": value for name, value in sections.items()},
        "OUTLOOK_LAKE_HOME": str(settings.home),
        "OUTLOOK_LAKE_RECEIVER_NOTIFICATION_URL": _notification_url(options),
        "OUTLOOK_LAKE_TENANTS_CONNECTIONS": CONN_ID,
        CLOCK_ENV: str(clock_file(settings)),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
    }


def _notification_url(options: Options) -> str:
    if options.standalone_receiver:
        return f"http://127.0.0.1:{options.ports.receiver}/notifications"
    return f"http://127.0.0.1:{options.ports.airflow}/outlook/notifications"


def _secrets(file: Path) -> dict[str, str]:
    """Keys of this home's Airflow, made once and kept in a file only the user can read."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = {
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "API__SECRET_KEY": secrets.token_urlsafe(48),
        }
        fresh = file.with_suffix(".tmp")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(made))
        fresh.replace(file)
    read: dict[str, str] = json.loads(file.read_text())
    return read
